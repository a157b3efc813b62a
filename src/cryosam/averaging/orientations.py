"""Comparison of particles with averages in all orientations, at a coarse detail."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Complex, Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor

from cryosam.arrays import Points, Scores
from cryosam.averaging.correlation import fisher_z
from cryosam.averaging.fourier import (
    BestPoses,
    FourierFrame,
    rotate_to_reference,
    shifts_within,
    wedge_weighted_average,
)
from cryosam.averaging.rotations import RotationBank, uniform_rotations
from cryosam.averaging.subtomograms import Subtomograms
from cryosam.config import AveragingConfig
from cryosam.missing_wedge import MissingWedge
from cryosam.tomogram import Voxels

__all__ = ["OrientationSearch", "Parts", "PriorAverage", "held_out_folds"]

_SIZE_PX = 12  # largest number of pixels per diameter: larger particles are sampled more coarsely
_DETAIL = 0.3  # finest detail that is compared, as a fraction of the diameter
_SHIFT_PX = 2.0  # largest distance of a particle from the centre of its box
_FOLDS = 4  # of averaged boxes: each box is compared with an average of the other folds
Parts = tuple[Float[Tensor, "n e e e"], Float[Tensor, "n e e e"]]
"""Boxes rotated into the orientation of an average, and the region of Fourier space that each covers."""


@dataclass(frozen=True, eq=False)
class OrientationSearch:
    """Compares particles of one size with averages, in all orientations and at small shifts.

    Parameters
    ----------
    cut
        Cuts boxes around particles.
    bank
        The rotations that are compared.
    shifts
        ``(m, 3)`` the shifts that are compared, in whole pixels.
    diameter
        Diameter of the particles, in voxels.
    config
        Number of rotations and finest detail.
    device
        Device for the computation.
    wedge
        Tells which frequencies the tilt series sampled.
    """

    cut: Subtomograms
    bank: RotationBank
    shifts: Float[np.ndarray, "m 3"]
    diameter: float
    config: AveragingConfig
    device: str
    wedge: MissingWedge

    @classmethod
    def of(
        cls,
        tomogram: Voxels,
        diameter: float,
        config: AveragingConfig,
        device: str = "cpu",
        wedge: MissingWedge = MissingWedge(),  # noqa: B008  # frozen
    ) -> "OrientationSearch":
        """Orientation search for particles of a diameter in voxels, in a normalised tomogram (protein bright)."""
        detail = max(config.resolution, _DETAIL * diameter)
        cut = Subtomograms.of(tomogram, diameter, size_px=_SIZE_PX, detail=detail, wedge=wedge, device=device)
        bank = RotationBank(cut.frame, uniform_rotations(config.n_rotations))
        return cls(cut, bank, shifts_within(_SHIFT_PX), diameter, config, device, wedge)

    def with_rotations(self, n: int) -> "OrientationSearch":
        """The same search with n rotations."""
        return replace(self, bank=RotationBank(self.cut.frame, uniform_rotations(n)))

    def within(self, volume: Voxels) -> "OrientationSearch":
        """The same search, with the same weights, in another volume."""
        return replace(self, cut=replace(self.cut, voxels=volume))

    @cached_property
    def phases(self) -> Complex[Tensor, "m k"]:
        """Phase factors of the shifts."""
        return self.cut.frame.phases(self.shifts)

    def find(self, template: Float[Tensor, "e e e"], spectra: Complex[Tensor, "n k"], n_best: int = 1) -> BestPoses:
        """Find the best poses of a template for boxes, which are given by their spectra."""
        return self.cut.frame.search(self.bank.turned(template), spectra, self.phases, n_best)

    def moved(
        self, template: Float[Tensor, "e e e"], points: Points
    ) -> tuple[Points, Rotation, Float[np.ndarray, " n"]]:
        """Points moved to where a template matches best; its rotations and Fisher's z there."""
        last = np.array(self.cut.voxels.shape) - 1.0
        found = self.find(template, self.cut.spectra(points))
        there = np.clip(points + self.cut.step * self.shifts[found.shift], 0, last)
        return there, self.bank.rotations[found.rotation], fisher_z(found.correlations)

    def rotate_to_reference(
        self, boxes: Float[Tensor, "n e e e"], found: BestPoses, chosen: Int[np.ndarray, " n"]
    ) -> Parts:
        """Rotate boxes into the orientation of the average; ``chosen`` are the indices of their poses in ``found``."""
        rotations, shifts = self.bank.rotations[found.rotation[chosen]], self.shifts[found.shift[chosen]]
        return rotate_to_reference(self.cut.frame, boxes, rotations, shifts)

    def compare_held_out(
        self,
        parts: Parts,
        spectra: Complex[Tensor, "n k"],
        random: np.random.Generator,
        prior: "PriorAverage | None" = None,
    ) -> Scores:
        """Correlation of each of n > 1 boxes, in its best orientation, with an average of other boxes.

        A box is excluded from the average with which it is compared, because its own noise in the average would
        correlate with it.

        Parameters
        ----------
        parts
            The boxes, rotated into the orientation of the average.
        spectra
            Spectra of the boxes in their original orientations.
        random
            Divides the boxes into folds.
        prior
            An average from another tomogram that is blended into every average.
        """
        frame, n = self.cut.frame, len(spectra)
        correlations = np.zeros(n)
        for fold, rest in held_out_folds(n, random):
            average = wedge_weighted_average(frame, *(part[rest] for part in parts))
            average = average if prior is None else prior.blend(frame, average, len(rest))
            correlations[fold] = self.find(average, spectra[fold]).correlations
        return correlations


def held_out_folds(n: int, random: np.random.Generator) -> list[tuple[Int[np.ndarray, " k"], Int[np.ndarray, " m"]]]:
    """Divide n particles at random into four folds, or n if there are fewer.

    Returns
    -------
    folds
        Indices of the particles of each fold, and of all others.

    Examples
    --------
    >>> [(len(fold), len(rest)) for fold, rest in held_out_folds(6, np.random.default_rng(0))]
    [(2, 4), (2, 4), (1, 5), (1, 5)]
    """
    folds = np.array_split(random.permutation(n), min(_FOLDS, n))
    return [(fold, np.setdiff1d(np.arange(n), fold)) for fold in folds]


@dataclass(frozen=True, eq=False)
class PriorAverage:
    """An average of particles of the kind from another tomogram.

    Parameters
    ----------
    box
        The average.
    weight
        Number of particles that it counts for.
    """

    box: Float[Tensor, "e e e"]
    weight: float

    def blend(self, frame: FourierFrame, average: Float[Tensor, "e e e"], n: int) -> Float[Tensor, "e e e"]:
        """Weighted mean of an average of n boxes and this one, which is first scaled to the same norm."""
        size, other = (frame.spectra(box[None]).norm().clamp(min=1e-12) for box in (average, self.box))
        return (n * average + self.weight * size / other * self.box) / (n + self.weight)
