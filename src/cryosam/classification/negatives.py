"""What lies under a negative click, and what is like it, is not of the kind."""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from cryosam.classification.two_kinds import divide
from cryosam.instances.prompted import Prompted
from cryosam.matching.candidates import Candidates
from cryosam.matching.similarity import build_query
from cryosam.scene import Scene

__all__ = ["rule_out"]

_PLAUSIBLE = 0.2  # of the threshold: what is worth telling from what a negative click lies on


def rule_out(
    scene: Scene,
    candidates: Candidates,
    clicks: Float[np.ndarray, "k 3"],
    prompted: Prompted,
    negatives: Float[np.ndarray, "m 3"],
) -> Candidates:
    """The candidates without those that lie under a negative click, and those that are like them.

    Where the kind has an average, the candidates are divided between it and an average of what is under the negative
    clicks; elsewhere their features tell.

    Parameters
    ----------
    scene
        That has the candidates; what could not be done is recorded there.
    candidates
        Best first.
    clicks, prompted
        ``(k, 3)`` on the kind, and what lies under them.
    negatives
        ``(m, 3)`` on what is not of the kind.
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
                "negative point {point} lies on the particle that was clicked, and was left out",
                click,
            )
        elif candidate < 0 and candidates.average is not None:
            scene.record.warn(
                "negative_on_nothing",
                "no candidate lies under negative point {point}, so that it changes nothing",
                click,
            )
    negative = np.setdiff1d(under[under >= 0], clicked)
    is_negative = np.isin(np.arange(len(candidates.points)), negative)
    told = replace(candidates, is_ruled_out=candidates.is_ruled_out | is_negative)
    if candidates.average is None:
        return told.without(_is_like_negatives(scene, told, clicks, prompted, negatives))
    is_plausible = candidates.scores >= _PLAUSIBLE * candidates.threshold
    if not is_plausible[negative].any():
        return told.ranked()
    positive = np.unique(clicked) if len(clicked) else np.array([int(np.argmax(candidates.scores))])
    divided = _divide(scene, told, positive, negative, np.flatnonzero(is_plausible))
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
    """Which candidates have features that are more like a negative click's than like the kind's."""
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
    """Without those that are more like an average of the negative ones than like one of the kind."""
    chosen = np.union1d(plausible, np.concatenate([positive, negative]))
    sides = np.searchsorted(chosen, positive), np.searchsorted(chosen, negative)
    with scene.record.timed("aligning"):
        division = divide(scene.orientations(candidates.diameter), candidates.points[chosen], *sides)
    if division is None or candidates.probability is None:
        scene.record.warn(
            "negatives_like_nothing",
            "no other detection could be told to be like the negative clicks: only what they lie on was left out",
        )
        return candidates.ranked()
    probability = candidates.probability.copy()
    probability[chosen] *= division.probabilities
    return replace(candidates, probability=probability, average=division.average).ranked()
