"""The steps of a long computation as one progress: a share of the whole that never falls, and the time left."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MASKS", "SEARCH", "SIMULATION", "Progressed", "Step", "Steps"]

_LEAST_SHARE, _LEAST_SECONDS = 0.03, 2.0  # from which the time left is estimated


@dataclass(frozen=True)
class Step:
    """One step.

    Parameters
    ----------
    name
        What is shown; neighbouring steps with the same name are shown as one.
    stage
        Name of the stage that is reported during the step.
    weight
        Typical share of the time.
    """

    name: str
    stage: str
    weight: float


SEARCH = (
    Step("looking at the click", "starting", 0.03),
    Step("looking at the click", "segmenting", 0.035),
    Step("describing the tomogram", "describing", 0.085),
    Step("finding similar places", "matching", 0.01),
    Step("segmenting them", "segmenting", 0.38),
    Step("averaging", "averaging", 0.08),
    Step("searching again", "matching", 0.02),
    Step("searching again", "segmenting", 0.26),
    Step("refining", "refining", 0.10),
)
"""A search for one kind; its stages are those of `cryosam.scene.RunOptions.progress`."""

MASKS = (Step("segmenting", "segmenting", 1.0),)
"""Masks at given points."""

SIMULATION = (Step("placing particles", "placing particles", 0.3), Step("recording", "recording", 0.7))
"""A simulated tomogram."""

_SAME_STAGE = {"features": "describing"}  # the models that describe in two dimensions report another name


@dataclass(frozen=True)
class Progressed:
    """How far a computation is.

    Parameters
    ----------
    step
        Name of the current step.
    number, n_steps
        Number of the step from 1, and of all steps.
    share
        Share of the whole, 0 to 1.
    seconds_left
        Estimated time to the end; None if it is too early to tell.
    """

    step: str
    number: int
    n_steps: int
    share: float = 0.0
    seconds_left: float | None = None


class Steps:
    """Follows the reports of a computation.

    Parameters
    ----------
    plan
        The steps in order; some may be left out.
    n_repeats
        How often the plan is gone through, for example once for each kind. The last steps of one repetition may come
        after the others: then the share stays where it is.

    Examples
    --------
    >>> steps = Steps(SEARCH)
    >>> steps.update("matching", 1, 1).step, round(steps.update("segmenting", 30, 60).share, 3)
    ('finding similar places', 0.35)
    """

    def __init__(self, plan: Sequence[Step], n_repeats: int = 1) -> None:
        self._plan, self._n_repeats = plan, n_repeats
        self._names = list(dict.fromkeys(step.name for step in plan))
        self._start = time.monotonic()
        self._repeat = self._at = 0
        self.now = self._describe(0.0)

    def update(self, stage: str, done: int, total: int) -> Progressed:
        """Take note of a report, and return how far the computation is."""
        stage = _SAME_STAGE.get(stage, stage)
        if stage != self._plan[self._at].stage:
            self._advance(stage)
        is_known = stage == self._plan[self._at].stage
        within = done / total if is_known and total else 0.0
        before = sum(step.weight for step in self._plan[: self._at])
        share = (self._repeat + before + within * self._plan[self._at].weight) / self._n_repeats
        self.now = self._describe(max(self.now.share, min(share, 1.0)))
        return self.now

    def _advance(self, stage: str) -> None:
        """Go to the next step with this stage, if need be of the next repetition; stay if there is none."""
        later = [i for i in range(self._at + 1, len(self._plan)) if self._plan[i].stage == stage]
        first = [i for i in range(len(self._plan) // 2) if self._plan[i].stage == stage][:1]
        if not later and first and self._repeat + 1 < self._n_repeats:
            self._repeat += 1
            later = first
        if later:
            self._at = later[0]

    def _describe(self, share: float) -> Progressed:
        name, seconds = self._plan[self._at].name, time.monotonic() - self._start
        is_known = share >= _LEAST_SHARE and seconds >= _LEAST_SECONDS
        left = seconds * (1 - share) / share if is_known else None
        return Progressed(name, self._names.index(name) + 1, len(self._names), share, left)
