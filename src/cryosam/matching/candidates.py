"""The candidates for one kind."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from cryosam.arrays import Points, Scores
from cryosam.masks import InstanceMask
from cryosam.matching.descriptors import Vectors
from cryosam.results import Average, ScoreMap

__all__ = ["Candidates", "centres"]


@dataclass(frozen=True, eq=False)
class Candidates:
    """All candidates for one kind, best first.

    Parameters
    ----------
    points, masks
        ``(n, 3)`` z, y, x in voxels, and one mask per point.
    similarity
        ``(n,)`` in [0, 1]: similarity of each candidate's feature to the query, negative values set to 0.
    prior_score
        ``(n,)`` in [0, 1]: the similarity, corrected by what the mask shows, before any average was made; 0 if the mask
        is empty or lies outside the search area.
    is_ruled_out
        ``(n,)`` whether a candidate cannot be of the kind, regardless of its scores.
    diameter
        Diameter of the kind, in voxels.
    score_map
        The similarity to the query in every cell.
    threshold
        Lowest score at which a candidate is accepted.
    correlation
        ``(n,)`` in [-1, 1]: correlation with an average from which the candidate is excluded; None without an average.
    probability
        ``(n,)`` in [0, 1]: probability of being of the kind; None without an average.
    average
        Average of the candidates that most resemble the clicked one; None if there are too few.
    vectors
        Learned vectors of the candidates; None if they were not described.
    """

    points: Points
    masks: tuple[InstanceMask, ...]
    similarity: Scores
    prior_score: Scores
    is_ruled_out: Bool[np.ndarray, " n"]
    diameter: float
    score_map: ScoreMap
    threshold: float
    correlation: Float[np.ndarray, " n"] | None = None
    probability: Scores | None = None
    average: Average | None = None
    vectors: Vectors | None = None

    @property
    def scores(self) -> Scores:
        """``(n,)`` in [0, 1]: the probability, or without an average the prior score; 0 if ruled out."""
        known = self.prior_score if self.probability is None else self.probability
        return np.where(self.is_ruled_out, 0.0, known)

    @property
    def possible_prior(self) -> Scores:
        """``(n,)`` the prior score, 0 if ruled out."""
        return np.where(self.is_ruled_out, 0.0, self.prior_score)

    @property
    def is_accepted(self) -> Bool[np.ndarray, " n"]:
        """Whether each candidate is accepted: its score is at least the threshold, and it is not ruled out."""
        return (self.scores >= self.threshold) & (self.scores > 0)

    def take(self, rows: Int[np.ndarray, " k"]) -> "Candidates":
        """The candidates in some rows, in the order of ``rows``."""
        return replace(
            self,
            points=self.points[rows],
            masks=tuple(self.masks[i] for i in rows),
            similarity=self.similarity[rows],
            prior_score=self.prior_score[rows],
            is_ruled_out=self.is_ruled_out[rows],
            correlation=None if self.correlation is None else self.correlation[rows],
            probability=None if self.probability is None else self.probability[rows],
            vectors=None if self.vectors is None else self.vectors[rows],
        )

    def ranked(self) -> "Candidates":
        """The same candidates, best first."""
        return self.take(np.argsort(-self.scores, kind="stable"))

    def without(self, is_ruled_out: Bool[np.ndarray, " n"]) -> "Candidates":
        """The same candidates, best first, with further ones ruled out."""
        return replace(self, is_ruled_out=self.is_ruled_out | is_ruled_out).ranked()

    def clicked(self, clicks: Points) -> Int[np.ndarray, " k"]:
        """Index of the candidate nearest to each click on a particle, within a diameter; -1 if there is none."""
        return self._nearest(clicks, self.diameter)

    def under(self, clicks: Points) -> Int[np.ndarray, " k"]:
        """Index of the candidate on which each click lies; -1 if there is none.

        It is the nearest of the candidates whose masks contain the click, otherwise the nearest within half a diameter.
        """
        found = self._nearest(clicks, self.diameter / 2)
        for k, click in enumerate(clicks):
            holding = [i for i, mask in enumerate(self.masks) if mask.n_voxels and mask.holds(click)]
            if holding:
                found[k] = holding[int(np.linalg.norm(self.points[holding] - click, axis=1).argmin())]
        return found

    def _nearest(self, clicks: Points, reach: float) -> Int[np.ndarray, " k"]:
        """Index of the candidate nearest to each point; -1 if none is within reach."""
        if not len(self.points):
            return np.full(len(clicks), -1)
        distances = np.linalg.norm(self.points[:, None] - clicks, axis=2)
        nearest: Int[np.ndarray, " k"] = np.where(distances.min(axis=0) <= reach, distances.argmin(axis=0), -1)
        return nearest


def centres(points: Points, masks: Sequence[InstanceMask]) -> Points:
    """Centroid of each mask; the point itself if its mask is empty."""
    found = [point if mask.n_voxels == 0 else mask.centroid for point, mask in zip(points, masks, strict=True)]
    return np.array(found, dtype=float).reshape(-1, 3)
