"""What lies under a negative click, and what is like it, is not of the kind."""

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from cryosam.classification.two_kinds import divide
from cryosam.matching.candidates import Candidates
from cryosam.matching.similarity import build_query
from cryosam.prompts import PointPrompts, spell
from cryosam.run import Run

__all__ = ["rule_out"]

_PLAUSIBLE = 0.2  # of the threshold: what is worth telling from what a negative click lies on


def rule_out(run: Run, prompts: PointPrompts, found: Candidates) -> Candidates:
    """The candidates; those that are under a negative click, or like what is, get the score 0.

    Where the kind has an average, the candidates are divided between it and an average of what is under the negative
    clicks; elsewhere their features tell.

    Parameters
    ----------
    run
        That found the candidates; what could not be done is said there.
    prompts
        Clicks on the kind, and on what is not of it.
    found
        The candidates.
    """
    if len(prompts.negative) == 0:
        return found
    clicked = found.clicked(prompts.positive)
    clicked = clicked[clicked >= 0]
    under = found.under(prompts.negative)
    for click, candidate in zip(prompts.negative, under, strict=True):
        if candidate in clicked:
            run.say(f"negative point {spell(click)} lies on the particle that was clicked, and was left out")
        elif candidate < 0 and found.average is not None:
            run.say(f"no candidate lies under negative point {spell(click)}, so that it changes nothing")
    negative = np.setdiff1d(under[under >= 0], clicked)
    scores = found.scores.copy()
    scores[negative] = 0
    told = replace(found, scores=scores)
    if found.average is None:
        return _unlike(run, prompts, told)
    is_plausible = found.scores >= _PLAUSIBLE * found.threshold
    if not is_plausible[negative].any():
        return told.ranked(scores)
    positive = np.unique(clicked) if len(clicked) else np.array([int(np.argmax(found.scores))])
    divided = _divide(run, told, positive, negative, np.flatnonzero(is_plausible))
    n_lost = np.count_nonzero(found.is_accepted) - np.count_nonzero(divided.is_accepted)
    run.provenance["like_negatives"] = float(n_lost)
    return divided


def _unlike(run: Run, prompts: PointPrompts, found: Candidates) -> Candidates:
    """Without those whose features are more like a negative click's than like the kind's."""
    field = run.describe(found.prompted.diameter)
    query = build_query(field, prompts.positive, found.prompted.trusted_masks, run.config.matching.query)
    similarity = field.similarity_at(query, found.points)
    unlike = [similarity >= field.similarity_at(negative, found.points) for negative in field.sample(prompts.negative)]
    return found.ranked(np.where(np.all(unlike, axis=0), found.scores, 0))


def _divide(
    run: Run,
    found: Candidates,
    positive: Int[np.ndarray, " p"],
    negative: Int[np.ndarray, " q"],
    plausible: Int[np.ndarray, " r"],
) -> Candidates:
    """Without those that are more like an average of the negative ones than like one of the kind."""
    chosen = np.union1d(plausible, np.concatenate([positive, negative]))
    sides = np.searchsorted(chosen, positive), np.searchsorted(chosen, negative)
    with run.timed("aligning"):
        division = divide(run.orientations(found.diameter), found.points[chosen], *sides)
    if division is None:
        run.say("no other detection could be told to be like the negative clicks: only what they lie on was left out")
        return found.ranked(found.scores)
    scores = found.scores.copy()
    scores[chosen] *= division.probabilities
    return replace(found.ranked(scores), average=division.average)
