"""Whether the cross-section of something long is that of a kind of filament, or that of a sheet."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree

from cryosam.arrays import Images, Points, Scores, Volume
from cryosam.geometry import half_sphere
from cryosam.structures.cross_sections import PlaneImaging, cut_across, rings, stripes
from cryosam.structures.radial_profile import RadialProfile

__all__ = ["Agreement", "CrossSections", "runs"]

_DIRECTIONS = 600  # a tangent is rounded to one of them, 4 degrees away or less
_ANGLES = 12  # of sheets in the plane
_OFFSETS = np.arange(-2.0, 3.0)  # voxels, of the lines that make up a sheet
_RIDGE = 1e-6  # of the energy of all rings: keeps a fit possible where the wedge or the border leaves a ring none
_TOGETHER = 64  # cross-sections that are cut at a time


@dataclass(frozen=True, eq=False)
class Agreement:
    """How well cross-sections fit.

    Parameters
    ----------
    similarity
        ``(n,)`` correlation of each with the kind's profile, as the wedge leaves it; in [-1, 1].
    sheet
        ``(n,)`` the same for the sheet that fits best, less what it fits in noise.
    """

    similarity: Scores
    sheet: Scores

    def passes(self, least: float, liker: float = 1.0) -> Bool[np.ndarray, " n"]:
        """Which are similar enough, and ``liker`` times as much like the kind as like a sheet."""
        return (self.similarity >= least) & (self.similarity > liker * self.sheet)

    def averaged(self, n: float) -> "Agreement":
        """Means over about ``n`` cross-sections, which follow each other."""
        size = 2 * max(round(n / 2), 0) + 1
        similarity, sheet = (
            ndimage.uniform_filter1d(each, size, mode="nearest") for each in (self.similarity, self.sheet)
        )
        return Agreement(similarity, sheet)


@dataclass(frozen=True, eq=False)
class CrossSections:
    """The cross-section of a kind of filament in all directions.

    Parameters
    ----------
    white
        Whitened volume.
    imaging
        Of that volume.
    profile
        Radial profile of the kind.
    margin
        How far beyond the outer radius cross-sections are compared, voxels: a sheet goes on there.
    """

    white: Volume
    imaging: PlaneImaging
    profile: RadialProfile
    margin: float
    _models: dict[int, tuple[Float[np.ndarray, " p"], Float[np.ndarray, "a k p"]]] = field(default_factory=dict)

    @cached_property
    def _tangents(self) -> Points:
        return half_sphere(_DIRECTIONS)

    @cached_property
    def _nearest(self) -> cKDTree:
        return cKDTree(np.concatenate([self._tangents, -self._tangents]))

    @property
    def reach(self) -> int:
        """Radius of the cross-sections in voxels."""
        return int(np.ceil(self.profile.outer_radius + self.margin))

    @cached_property
    def _disc(self) -> Bool[np.ndarray, "h w"]:
        return np.hypot(*(np.indices((2 * self.reach + 1,) * 2) - self.reach)) <= self.reach

    def compare(self, centres: Points, tangents: Points, slack: int = 1, sign: int = 1) -> Agreement:
        """Compare the cross-sections around points.

        Parameters
        ----------
        centres, tangents
            ``(n, 3)`` z, y, x in voxels, and unit vectors.
        slack
            The best place within so many voxels of the centre counts.
        sign
            -1 for the inverted volume.
        """
        _, index = self._nearest.query(tangents)
        index = np.asarray(index) % _DIRECTIONS
        parts = [np.zeros((0, 2))]
        for start in range(0, len(centres), _TOGETHER):
            some = slice(start, start + _TOGETHER)
            images = cut_across(
                self.white, centres[some], self._tangents[index[some]], self.reach + slack, self.imaging.half_length
            )
            pairs = zip(sign * images, index[some].tolist(), strict=True)
            parts.append(np.array([self._compare(*each, slack) for each in pairs]))
        similarity, sheet = np.concatenate(parts).T
        return Agreement(similarity, sheet)

    def explained_along(self, centres: Points, tangents: Points) -> float:
        """How much of the one radial profile that fits all cross-sections along a line is the kind's.

        Noise spoils each cross-section, and is averaged out along the line. What is left of a difference is one of the
        structure: a microtubule has its wall where actin has its neighbours in a bundle, and is empty in the middle.

        Parameters
        ----------
        centres, tangents
            ``(n, 3)`` z, y, x in voxels, and unit vectors.

        Returns
        -------
        explained
            Fraction, in [0, 1], of the energy of the line's profile, as imaging leaves it; 0 without points, or where
            the line's profile is more like the kind's opposite.
        """
        _, nearest = self._nearest.query(tangents)
        index = np.asarray(nearest) % _DIRECTIONS
        shapes = {i: self._image(rings(self.reach), self._tangents[i]) for i in np.unique(index).tolist()}
        energy, seen = np.zeros((self.reach, self.reach)), np.zeros(self.reach)
        for start in range(0, len(centres), _TOGETHER):
            some = slice(start, start + _TOGETHER)
            images = cut_across(
                self.white, centres[some], self._tangents[index[some]], self.reach, self.imaging.half_length
            )
            for image, i in zip(images[:, self._disc], index[some].tolist(), strict=True):
                energy += shapes[i] @ shapes[i].T
                seen += shapes[i] @ image
        fitted = np.linalg.solve(energy + _RIDGE * (np.trace(energy) + _RIDGE) * np.eye(self.reach), seen)
        kind = self._density
        product, own, ours = (float(a @ energy @ b) for a, b in ((kind, fitted), (fitted, fitted), (kind, kind)))
        return max(product, 0.0) ** 2 / max(own * ours, 1e-12)

    def _compare(self, image: Float[np.ndarray, "h w"], direction: int, slack: int) -> tuple[float, float]:
        """Similarity to the kind and to a sheet, at the place where the former is largest."""
        kind, sheets = self._model(direction)
        size = 2 * self.reach + 1
        moved = [
            image[i : i + size, j : j + size][self._disc] for i in range(2 * slack + 1) for j in range(2 * slack + 1)
        ]
        parts = np.array(moved)
        length = np.maximum(np.linalg.norm(parts, axis=1), 1e-9)
        similarity = parts @ kind / length
        best = int(np.argmax(similarity))
        explained = ((sheets @ (parts[best] / length[best])) ** 2).sum(axis=1).max()
        by_chance = (len(_OFFSETS) + 1) / np.count_nonzero(self._disc)
        return float(similarity[best]), float(np.sqrt(max(explained - by_chance, 0.0)))

    def _model(self, direction: int) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, "a k p"]]:
        """The kind's cross-section with length 1, and orthonormal bases of sheets, in one direction."""
        if direction not in self._models:
            tangent = self._tangents[direction]
            kind = self._image(np.tensordot(self._density, rings(self.reach), 1)[None], tangent)[0]
            angles = np.pi * np.arange(_ANGLES) / _ANGLES
            sheets = [self._image(stripes(self.reach, angle, _OFFSETS), tangent) for angle in angles]
            bases = np.array([np.linalg.qr(each.T)[0].T for each in sheets])
            self._models[direction] = kind / max(float(np.linalg.norm(kind)), 1e-9), bases
        return self._models[direction]

    @property
    def _density(self) -> Scores:
        """The profile at 0, 1, ... up to the reach."""
        return np.interp(np.arange(self.reach), np.arange(len(self.profile.density)), self.profile.density, right=0.0)

    def _image(self, shapes: Images, tangent: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "n p"]:
        return self.imaging.image(shapes, tangent)[:, self._disc]


def runs(passes: Bool[np.ndarray, " n"], most_gap: int) -> list[tuple[int, int]]:
    """Stretches of True; shorter gaps of False between them belong to them.

    Examples
    --------
    >>> runs(np.array([True, False, True, False, False, True]), 1)
    [(0, 3), (5, 6)]
    """
    padded = np.concatenate([[False], passes, [False]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(padded) == 1), np.flatnonzero(np.diff(padded) == -1)
    runs: list[tuple[int, int]] = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if runs and start - runs[-1][1] <= most_gap:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
    return runs
