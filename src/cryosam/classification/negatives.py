"""Negative clicks: rule out the candidates under them, and those that resemble these."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from cryosam.classification.two_kinds import divide
from cryosam.instances.prompted import Prompted
from cryosam.matching.candidates import Candidates
from cryosam.matching.similarity import build_query
from cryosam.scene import Scene

__all__ = ["rule_out"]

_PLAUSIBLE = 0.2  # fraction of the threshold: candidates below it are not compared with those under negative clicks


def rule_out(
    scene: Scene,
    candidates: Candidates,
    clicks: Float[np.ndarray, "k 3"],
    prompted: Prompted,
    negatives: Float[np.ndarray, "m 3"],
) -> Candidates:
    """Rule out the candidates under negative clicks, and those that resemble these more than the kind.

    If the kind has an average, the candidates are divided between the kind and the candidates under the negative
    clicks, by comparison with an average of each. Otherwise their features are compared.

    Parameters
    ----------
    scene
        Scene of the search; warnings are recorded in it.
    candidates
        Candidates, best first.
    clicks, prompted
        ``(k, 3)`` clicks on the kind, and the objects under them.
    negatives
        ``(m, 3)`` clicks on objects that are not of the kind.
    """
    if len(negatives) == 0:
        return candidates
    clicked = candidates.clicked(clicks)
    clicked = clicked[clicked >= 0]
    under = candidates.under(negatives)
    for click, candidate in zip(negatives, under, strict=True):
        if candidate in clicked:
            scene.record.warn(
                "negative_on_clicked",
                "negative point {point} lies on the particle that was clicked, so it was ignored",
                click,
            )
        elif candidate < 0 and candidates.average is not None:
            scene.record.warn(
                "negative_on_nothing",
                "no candidate lies under negative point {point}, so it has no effect",
                click,
            )
    negative = np.setdiff1d(under[under >= 0], clicked)
    is_negative = np.isin(np.arange(len(candidates.points)), negative)
    marked = replace(candidates, is_ruled_out=candidates.is_ruled_out | is_negative)
    if candidates.average is None:
        return marked.without(_is_like_negatives(scene, marked, clicks, prompted, negatives))
    is_plausible = candidates.scores >= _PLAUSIBLE * candidates.threshold
    if not is_plausible[negative].any():
        return marked.ranked()
    positive = np.unique(clicked) if len(clicked) else np.array([int(np.argmax(candidates.scores))])
    divided = _divide(scene, marked, positive, negative, np.flatnonzero(is_plausible))
    n_lost = np.count_nonzero(candidates.is_accepted) - np.count_nonzero(divided.is_accepted)
    scene.record.note(n_like_negatives=int(n_lost))
    return divided


def _is_like_negatives(
    scene: Scene,
    candidates: Candidates,
    clicks: Float[np.ndarray, "k 3"],
    prompted: Prompted,
    negatives: Float[np.ndarray, "m 3"],
) -> Bool[np.ndarray, " n"]:
    """Which candidates have features that are more similar to those of a negative click than to those of the kind."""
    field = scene.features(prompted.diameter)
    query = build_query(field, clicks, prompted.trusted_masks, scene.config.matching.query)
    similarity = field.similarity_at(query, candidates.points)
    like = [similarity < field.similarity_at(negative, candidates.points) for negative in field.sample(negatives)]
    return np.any(like, axis=0)


def _divide(
    scene: Scene,
    candidates: Candidates,
    positive: Int[np.ndarray, " p"],
    negative: Int[np.ndarray, " q"],
    plausible: Int[np.ndarray, " r"],
) -> Candidates:
    """Lower the probability of candidates that resemble the average of the negative ones more than the kind's."""
    chosen = np.union1d(plausible, np.concatenate([positive, negative]))
    sides = np.searchsorted(chosen, positive), np.searchsorted(chosen, negative)
    with scene.record.timed("aligning"):
        division = divide(scene.orientations(candidates.diameter), candidates.points[chosen], *sides)
    if division is None or candidates.probability is None:
        scene.record.warn(
            "negatives_like_nothing",
            "detections that resemble the negative clicks could not be told from the kind: only the particles under "
            "negative clicks were left out",
        )
        return candidates.ranked()
    probability = candidates.probability.copy()
    probability[chosen] *= division.probabilities
    return replace(candidates, probability=probability, average=division.average).ranked()
