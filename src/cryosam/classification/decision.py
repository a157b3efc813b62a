"""From candidates to probabilities: the average of the kind, 3D classification, the threshold, and warnings."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int

from cryosam.arrays import Points
from cryosam.averaging.class_average import ClassAverage
from cryosam.classification.classes import classify
from cryosam.classification.kind_average import Alignment, Known, align
from cryosam.classification.thresholds import limit_false_discovery
from cryosam.classification.vector_groups import share_above
from cryosam.matching.candidates import Candidates
from cryosam.scene import Scene

__all__ = ["DOUBTFUL", "average_kind", "decide", "judge", "matching", "warn_of_doubts", "with_threshold"]

_EVEN_ODDS = 0.5
DOUBTFUL = 3.8  # standard deviations between the kind and everything else, below which there is a warning


def average_kind(
    scene: Scene, candidates: Candidates, seeds: Int[np.ndarray, " k"], reference: Known | None
) -> Alignment:
    """Average the candidates that resemble the seeds most, and compare all candidates with the average.

    Parameters
    ----------
    scene
        Scene of the search.
    candidates
        Candidates with prior scores.
    seeds
        Indices of candidates that are of the kind; at least one if there is no reference.
    reference
        What is known of the kind from another tomogram.
    """
    resemblance = None
    if len(seeds) and scene.config.averaging.uses_descriptors:
        with scene.record.timed("descriptors"):
            resemblance = scene.descriptors(candidates.diameter).resemblance(candidates.points)
    with scene.record.timed("aligning"):
        return align(
            scene.orientations(candidates.diameter),
            candidates.points,
            seeds,
            prior_score=candidates.possible_prior,
            resemblance=resemblance,
            known=reference,
            progress=scene.options.progress,
        )


def judge(
    scene: Scene, candidates: Candidates, aligned: Alignment, clicks: Points, reliance: float = 1.0
) -> Candidates:
    """Give the candidates the probabilities from their comparison with an average, and sort them, best first.

    Parameters
    ----------
    scene
        Scene of the search; measurements are recorded in it.
    candidates
        Candidates in the order in which they were compared.
    aligned
        Their comparison with the average.
    clicks
        ``(k, 3)`` on particles of the kind.
    reliance
        Factor by which the probabilities have been multiplied; the threshold is multiplied by it too.
    """
    possible = candidates.scores > 0
    z, y, x = candidates.points[int(np.argmax(np.where(possible, aligned.correlations, -1)))]
    scene.record.note(most_typical=(float(z), float(y), float(x)), separation=aligned.evidence.separation)
    clicked = candidates.clicked(clicks)
    if (clicked >= 0).any():
        best = float(aligned.evidence.probabilities[clicked[clicked >= 0]].max())
        scene.record.note(click_probability=best)
    return replace(
        candidates,
        average=aligned.average,
        correlation=aligned.correlations,
        probability=aligned.evidence.probabilities,
        vectors=aligned.vectors,
        threshold=_EVEN_ODDS * reliance,
    ).ranked()


def decide(
    scene: Scene, candidates: Candidates, aligned: Alignment, seeds: Int[np.ndarray, " k"], clicks: Points
) -> Candidates:
    """Give the candidates their final probabilities, best first; if there are seeds, from 3D classification.

    Parameters
    ----------
    scene, candidates, aligned, clicks
        As in `judge`.
    seeds
        Indices of candidates that are of the kind; none if a saved query defines the kind.
    """
    reliance = 1.0
    if len(seeds) and scene.config.classification.is_on:
        with scene.record.timed("classifying"):
            aligned, reliance = classify(
                scene.orientations(candidates.diameter),
                candidates.points,
                aligned,
                seeds,
                scene.config.averaging,
                candidates.possible_prior,
            )
    return judge(scene, candidates, aligned, clicks, reliance)


def with_threshold(scene: Scene, candidates: Candidates) -> Candidates:
    """The candidates with the threshold that the settings ask for, if any; otherwise with their own."""
    matching, threshold = scene.config.matching, candidates.threshold
    if matching.threshold is not None:
        threshold = matching.threshold
    elif candidates.average is not None and matching.max_false_discovery is not None:
        threshold = limit_false_discovery(candidates.scores, matching.max_false_discovery)
    return replace(candidates, threshold=threshold)


def matching(scene: Scene, candidates: Candidates) -> float:
    """How often an accepted candidate matches an average of the accepted ones better than a refused one does.

    Parameters
    ----------
    scene
        Scene of the search; times are recorded in it.
    candidates
        Candidates, best first; without an average of theirs it is 0.
    """
    search, points = scene.orientations(candidates.diameter), candidates.points
    if candidates.average is None:
        return 0.0
    with scene.record.timed("aligning"):
        first = torch.from_numpy(candidates.average.data).to(search.device)
        group = ClassAverage(search, points, search.cut.spectra(points), first)
        z = group.gather(np.flatnonzero(candidates.is_accepted)[: scene.config.averaging.max_members])
    return share_above(z, candidates.is_accepted) or 0.0


def warn_of_doubts(scene: Scene, candidates: Candidates, clicks: Points, advice: str) -> None:
    """Warn if the average may be of another kind, or if no candidate is as probable as the settings ask for.

    Parameters
    ----------
    scene
        Scene of the search; warnings are recorded in it.
    candidates
        Candidates with probabilities.
    clicks
        ``(k, 3)`` on particles of the kind.
    advice
        What a user can do if the kind is poorly separated from everything else.
    """
    _warn_of_clicks(scene, candidates, clicks)
    record, share = scene.record, scene.config.matching.max_false_discovery
    if (record.report.separation or 0.0) < DOUBTFUL:
        record.warn(
            "hardly_apart",
            "particles of this kind are poorly separated from everything else, so probabilities and counts are "
            f"uncertain; check the detections, {advice}",
        )
    best = float(candidates.scores.max())
    n_found = np.count_nonzero(candidates.is_accepted)
    if share is not None and n_found and limit_false_discovery(candidates.scores, share) > best:
        record.warn(
            "none_sure_enough",
            f"none of {n_found} detections is probable enough for a share of {share:g} false ones: the best has "
            f"probability {best:.2f}; leave out that limit to get them",
        )


def _warn_of_clicks(scene: Scene, candidates: Candidates, clicks: Points) -> None:
    """Warn of clicked particles that are no candidates, or that do not resemble the average."""
    record = scene.record
    clicked = candidates.clicked(clicks)
    for click in clicks[clicked < 0]:
        record.warn(
            "click_not_compared",
            "the particle clicked at {point} could not be compared with the average: it is not a candidate, or lies "
            "outside the searched region",
            click,
        )
    probability, typical = record.report.click_probability, record.report.most_typical
    if probability is not None and typical is not None and probability < candidates.threshold:
        better = ",".join(f"{c:.0f}" for c in typical)
        record.warn(
            "no_click_like_average",
            "the clicked particle does not resemble the average of those found, which may be of another kind; a better "
            f"click may be {better}",
        )
        return
    for click in clicks[(clicked >= 0) & (candidates.scores[clicked] < candidates.threshold)]:
        record.warn(
            "click_unlike_average",
            "the particle clicked at {point} does not resemble the average of those found: it may be of another kind",
            click,
        )
