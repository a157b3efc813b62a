"""What was looked at for one kind (DESIGN 1.2)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from cryosam.arrays import Points, Scores
from cryosam.instances.prompted import Prompted
from cryosam.masks import InstanceMask
from cryosam.results import Average, ScoreMap

__all__ = ["Candidates", "centres"]


@dataclass(frozen=True, eq=False)
class Candidates:
    """What was looked at for one kind, best first.

    Parameters
    ----------
    points, scores, masks
        ``(n, 3)``, ``(n,)`` and n of the candidates.
    prompted
        What lies under the clicks.
    diameter
        Of the kind, in voxels.
    score_map
        The similarity to the query at every cell.
    threshold
        Least score of what is accepted.
    average
        Of those most like the clicked one, or None where there are too few; with it the scores are probabilities.
    evidence
        With the average: correlation with one that the candidate is no part of, and likeness in other ways.
    """

    points: Points
    scores: Scores
    masks: tuple[InstanceMask, ...]
    prompted: Prompted
    diameter: float
    score_map: ScoreMap
    threshold: float
    average: Average | None = None
    evidence: Float[np.ndarray, "n 2"] | None = None

    def ranked(self, scores: Scores) -> "Candidates":
        """The same with other scores, in their order."""
        order = np.argsort(-scores, kind="stable")
        masks = tuple(self.masks[i] for i in order)
        evidence = None if self.evidence is None else self.evidence[order]
        return replace(self, points=self.points[order], scores=scores[order], masks=masks, evidence=evidence)

    @property
    def is_accepted(self) -> Bool[np.ndarray, " n"]:
        """Whether each is of the kind: its score is at least the threshold, and it was not ruled out."""
        return (self.scores >= self.threshold) & (self.scores > 0)

    def clicked(self, clicks: Points) -> Int[np.ndarray, " k"]:
        """Index of the candidate nearest to each click on a particle, within a diameter; -1 where there is none."""
        return self._nearest(clicks, self.diameter)

    def under(self, clicks: Points) -> Int[np.ndarray, " k"]:
        """Index of the candidate on which each click lies; -1 where there is none.

        It is the nearest of those whose masks hold the click, else the nearest within half a diameter.
        """
        found = self._nearest(clicks, self.diameter / 2)
        for k, click in enumerate(clicks):
            holding = [i for i, mask in enumerate(self.masks) if mask.n_voxels and mask.holds(click)]
            if holding:
                found[k] = holding[int(np.linalg.norm(self.points[holding] - click, axis=1).argmin())]
        return found

    def _nearest(self, clicks: Points, reach: float) -> Int[np.ndarray, " k"]:
        """Index of the candidate nearest to each point, -1 where none is within reach."""
        if not len(self.points):
            return np.full(len(clicks), -1)
        distances = np.linalg.norm(self.points[:, None] - clicks, axis=2)
        nearest: Int[np.ndarray, " k"] = np.where(distances.min(axis=0) <= reach, distances.argmin(axis=0), -1)
        return nearest


def centres(points: Points, masks: Sequence[InstanceMask]) -> Points:
    """Centroid of each mask; the point itself where the mask is empty."""
    found = [point if mask.n_voxels == 0 else mask.centroid for point, mask in zip(points, masks, strict=True)]
    return np.array(found, dtype=float).reshape(-1, 3)
