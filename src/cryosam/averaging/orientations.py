"""Particles compared with averages in all orientations, at the detail that these tell apart."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Complex, Float, Int
from torch import Tensor

from cryosam.arrays import Scores
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
from cryosam.tomogram import Voxels

__all__ = ["OrientationSearch", "Parts", "PriorAverage"]

_SIZE_PX = 12  # pixels a diameter at most: larger particles are sampled more coarsely
_DETAIL = 0.3  # of a diameter, the finest that is compared
_SHIFT_PX = 2.0  # that a particle may lie off its centre
_FOLDS = 4  # of averaged boxes: each is compared with an average of the other folds
Parts = tuple[Float[Tensor, "n e e e"], Float[Tensor, "n e e e"]]
"""Boxes turned back onto an average, and where in Fourier space each then has information."""


@dataclass(frozen=True, eq=False)
class OrientationSearch:
    """Compares particles of one size with averages, in all orientations and at small shifts.

    Parameters
    ----------
    cut
        Boxes around particles.
    bank
        All rotations.
    shifts
        ``(m, 3)`` whole pixels.
    diameter
        Of the particles, in voxels.
    config
        Rotations and tilts.
    device
        Where it is computed.
    """

    cut: Subtomograms
    bank: "RotationBank"
    shifts: Float[np.ndarray, "m 3"]
    diameter: float
    config: AveragingConfig
    device: str

    @classmethod
    def of(cls, tomogram: Voxels, diameter: float, config: AveragingConfig, device: str = "cpu") -> "OrientationSearch":
        """For particles of a diameter in voxels, in a normalised tomogram (protein bright)."""
        detail = max(config.resolution, _DETAIL * diameter)
        cut = Subtomograms.of(
            tomogram, diameter, size_px=_SIZE_PX, detail=detail, max_tilt=config.max_tilt, device=device
        )
        bank = RotationBank(cut.frame, uniform_rotations(config.n_rotations))
        return cls(cut, bank, shifts_within(_SHIFT_PX), diameter, config, device)

    def with_rotations(self, n: int) -> "OrientationSearch":
        """The same in about n orientations."""
        return replace(self, bank=RotationBank(self.cut.frame, uniform_rotations(n)))

    @cached_property
    def phases(self) -> Complex[Tensor, "m k"]:
        """Of the shifts."""
        return self.cut.frame.phases(self.shifts)

    def find(self, template: Float[Tensor, "e e e"], spectra: Complex[Tensor, "n k"], n_best: int = 1) -> BestPoses:
        """How boxes, of which the spectra are given, compare with a template."""
        return self.cut.frame.search(self.bank.turned(template), spectra, self.phases, n_best)

    def rotate_to_reference(
        self, boxes: Float[Tensor, "n e e e"], found: BestPoses, chosen: Int[np.ndarray, " n"]
    ) -> Parts:
        """The chosen boxes, turned back from how they were found to lie."""
        rotations, shifts = self.bank.rotations[found.rotation[chosen]], self.shifts[found.shift[chosen]]
        return rotate_to_reference(self.cut.frame, boxes, rotations, shifts)

    def compare_held_out(
        self,
        parts: Parts,
        spectra: Complex[Tensor, "n k"],
        random: np.random.Generator,
        prior: "PriorAverage | None" = None,
    ) -> Scores:
        """Correlation of each of n > 1 boxes, in its best orientation, with an average of others.

        Noise that is averaged resembles itself: with an average that they are a part of, all boxes would correlate.

        Parameters
        ----------
        parts
            The boxes, turned back.
        spectra
            Of the boxes as they lie.
        random
            Divides the boxes into folds.
        prior
            A part of every average.
        """
        frame, n = self.cut.frame, len(spectra)
        folds = np.array_split(random.permutation(n), min(_FOLDS, n))
        correlations = np.zeros(n)
        for fold in folds:
            rest = np.setdiff1d(np.arange(n), fold)
            average = wedge_weighted_average(frame, *(part[rest] for part in parts))
            average = average if prior is None else prior.blend(frame, average, len(rest))
            correlations[fold] = self.find(average, spectra[fold]).correlations
        return correlations


@dataclass(frozen=True, eq=False)
class PriorAverage:
    """An average of other particles of the kind, from elsewhere.

    Parameters
    ----------
    box
        The average.
    weight
        So many particles it counts for.
    """

    box: Float[Tensor, "e e e"]
    weight: float

    def blend(self, frame: FourierFrame, average: Float[Tensor, "e e e"], n: int) -> Float[Tensor, "e e e"]:
        """An average of n boxes and of those behind this one, in whatever units the two are."""
        size, other = (frame.spectra(box[None]).norm().clamp(min=1e-12) for box in (average, self.box))
        return (n * average + self.weight * size / other * self.box) / (n + self.weight)
