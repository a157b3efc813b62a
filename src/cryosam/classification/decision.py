"""From candidates to probabilities: an average of the kind, classes that compete with it, and what is in doubt."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from cryosam.arrays import Points
from cryosam.classification.classes import classify
from cryosam.classification.kind_average import Alignment, Known, align
from cryosam.classification.thresholds import limit_false_discovery
from cryosam.matching.candidates import Candidates
from cryosam.scene import Scene

__all__ = ["average_kind", "decide", "judge", "warn_of_doubts", "with_threshold"]

_EVEN_ODDS = 0.5
_DOUBTFUL = 3.8  # standard deviations between the kind and everything else


def average_kind(
    scene: Scene, candidates: Candidates, seeds: Int[np.ndarray, " k"], reference: Known | None
) -> Alignment:
    """Average the candidates most like the seeds, and compare all with the average.

    Parameters
    ----------
    scene
        That has the candidates.
    candidates
        With prior scores.
    seeds
        Indices of candidates that are of the kind; at least one where there is no reference.
    reference
        What another tomogram tells of the kind.
    """
    with scene.record.timed("aligning"):
        return align(
            scene.orientations(candidates.diameter),
            candidates.points,
            seeds,
            scene.config.averaging,
            prior_score=candidates.possible_prior,
            known=reference,
            progress=scene.options.progress,
        )


def judge(
    scene: Scene, candidates: Candidates, aligned: Alignment, clicks: Points, reliance: float = 1.0
) -> Candidates:
    """The candidates with the probabilities that their comparison with an average gives them, best first.

    Parameters
    ----------
    scene
        What is found out is recorded there.
    candidates
        In the order in which they were compared.
    aligned
        How they compare.
    clicks
        ``(k, 3)`` on particles of the kind.
    reliance
        Of the probabilities, which are multiples of it.
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
        threshold=_EVEN_ODDS * reliance,
    ).ranked()


def decide(
    scene: Scene, candidates: Candidates, aligned: Alignment, seeds: Int[np.ndarray, " k"], clicks: Points
) -> Candidates:
    """The candidates with their final probabilities, best first: as their classes tell them, where there are seeds.

    Parameters
    ----------
    scene, candidates, aligned, clicks
        As in `judge`.
    seeds
        Indices of candidates that are of the kind; none where a saved query says what is searched for.
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
    """The same with the threshold that the settings ask for; without one, with its own."""
    matching, threshold = scene.config.matching, candidates.threshold
    if matching.threshold is not None:
        threshold = matching.threshold
    elif candidates.average is not None and matching.max_false_discovery is not None:
        threshold = limit_false_discovery(candidates.scores, matching.max_false_discovery)
    return replace(candidates, threshold=threshold)


def warn_of_doubts(scene: Scene, candidates: Candidates, clicks: Points, advice: str) -> None:
    """Warn where the average may be of something else, or nothing is as sure as the settings ask for.

    Parameters
    ----------
    scene
        Has the settings, and records the warnings.
    candidates
        With probabilities.
    clicks
        ``(k, 3)`` on particles of the kind.
    advice
        What a user can do where the kind hardly stands apart.
    """
    _warn_of_clicks(scene, candidates, clicks)
    record, share = scene.record, scene.config.matching.max_false_discovery
    if (record.report.separation or 0.0) < _DOUBTFUL:
        record.warn(
            "hardly_apart",
            "particles of this kind hardly stand apart from others, so that probabilities and counts are in doubt; "
            f"look at the detections, {advice}",
        )
    best = float(candidates.scores.max())
    n_found = np.count_nonzero(candidates.is_accepted)
    if share is not None and n_found and limit_false_discovery(candidates.scores, share) > best:
        record.warn(
            "none_sure_enough",
            f"none of {n_found} detections is sure enough for a share of {share:g} false ones: the best has probability"
            f" {best:.2f}; without that limit they are shown",
        )


def _warn_of_clicks(scene: Scene, candidates: Candidates, clicks: Points) -> None:
    """Warn of clicked particles that are not among those found, or not like them."""
    record = scene.record
    clicked = candidates.clicked(clicks)
    for click in clicks[clicked < 0]:
        record.warn(
            "click_not_compared",
            "what was clicked at {point} could not be compared: it is no candidate, or may not be searched",
            click,
        )
    probability, typical = record.report.click_probability, record.report.most_typical
    if probability is not None and typical is not None and probability < candidates.threshold:
        better = ",".join(f"{c:.0f}" for c in typical)
        record.warn(
            "click_unlike_average",
            "the clicked particle is not like the average of those found, which may be of another kind; a better click "
            f"may be {better}",
        )
        return
    for click in clicks[(clicked >= 0) & (candidates.scores[clicked] < candidates.threshold)]:
        record.warn(
            "click_unlike_average",
            "what was clicked at {point} is not like the average of those found: it may be of another kind",
            click,
        )
