"""Particles compared with averages in all orientations, at the detail that these tell apart."""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from cryosam.arrays import Scores
from cryosam.config import AlignmentConfig
from cryosam.subtomograms import Found, Frame, Subtomograms, in_parts, merge, shifts_within, turn_back
from cryosam.tomogram import Voxels

__all__ = ["OrientationSearch", "Parts", "Prior", "Turner", "uniform_rotations"]

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
    turner
        All rotations.
    shifts
        ``(m, 3)`` whole pixels.
    """

    cut: Subtomograms
    turner: "Turner"
    shifts: Float[np.ndarray, "m 3"]

    @classmethod
    def of(cls, tomogram: Voxels, diameter: float, config: AlignmentConfig, device: str = "cpu") -> "OrientationSearch":
        """For particles of a diameter in voxels, in a normalised tomogram (protein bright)."""
        detail = max(config.resolution, _DETAIL * diameter)
        cut = Subtomograms.of(
            tomogram, diameter, size_px=_SIZE_PX, detail=detail, max_tilt=config.max_tilt, device=device
        )
        return cls(cut, Turner(cut.frame, uniform_rotations(config.n_rotations)), shifts_within(_SHIFT_PX))

    def with_rotations(self, n: int) -> "OrientationSearch":
        """The same in about n orientations."""
        return replace(self, turner=Turner(self.cut.frame, uniform_rotations(n)))

    @cached_property
    def phases(self) -> Complex[Tensor, "m k"]:
        """Of the shifts."""
        return self.cut.frame.phases(self.shifts)

    def find(self, template: Float[Tensor, "e e e"], spectra: Complex[Tensor, "n k"], n_best: int = 1) -> Found:
        """How boxes, of which the spectra are given, compare with a template."""
        return self.cut.frame.search(self.turner.turned(template), spectra, self.phases, n_best)

    def turn_back(self, boxes: Float[Tensor, "n e e e"], found: Found, chosen: Int[np.ndarray, " n"]) -> Parts:
        """The chosen boxes, turned back from how they were found to lie."""
        rotations, shifts = self.turner.rotations[found.rotation[chosen]], self.shifts[found.shift[chosen]]
        return turn_back(self.cut.frame, boxes, rotations, shifts)

    def compare_held_out(
        self,
        parts: Parts,
        spectra: Complex[Tensor, "n k"],
        random: np.random.Generator,
        prior: "Prior | None" = None,
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
            average = merge(frame, *(part[rest] for part in parts))
            average = average if prior is None else prior.blend(frame, average, len(rest))
            correlations[fold] = self.find(average, spectra[fold]).correlations
        return correlations


@dataclass(frozen=True, eq=False)
class Prior:
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

    def blend(self, frame: Frame, average: Float[Tensor, "e e e"], n: int) -> Float[Tensor, "e e e"]:
        """An average of n boxes and of those behind this one, in whatever units the two are."""
        size, other = (frame.spectra(box[None]).norm().clamp(min=1e-12) for box in (average, self.box))
        return (n * average + self.weight * size / other * self.box) / (n + self.weight)


class Turner:
    """Turns averages in the same ways again and again: `Frame.turned`, several times faster.

    From where in a spectrum each coefficient is read, and with what weights, depends on the rotations alone.

    Parameters
    ----------
    frame
        What of a box is compared.
    rotations
        In which averages are turned.
    """

    def __init__(self, frame: Frame, rotations: Rotation) -> None:
        self.frame = frame
        self.rotations = rotations
        self._corners = [_corners(frame.sources(some), 2 * frame.edge) for some in in_parts(rotations)]

    def turned(self, average: Float[Tensor, "e e e"]) -> Complex[Tensor, "r k"]:
        """Coefficients of an average, turned in all ways."""
        spectrum = self.frame.padded_spectrum(average).flatten(0, 2)
        values = torch.cat([_weighted_sums(spectrum, index, weights) for index, weights in self._corners])
        return torch.view_as_complex(values).view(len(self.rotations), -1) * self.frame.weights


def uniform_rotations(n: int) -> Rotation:
    """Rotations that cover all orientations evenly: super-Fibonacci spirals (Alexa, CVPR 2022).

    Neighbours are about ``(8 pi^2 / n)^(1/3)`` radians apart.

    Examples
    --------
    >>> len(uniform_rotations(600))
    600
    """
    s = np.arange(n) + 0.5
    phi, psi = np.sqrt(2), 1.533751168755204288118041
    inner, outer, alpha, beta = np.sqrt(s / n), np.sqrt(1 - s / n), 2 * np.pi * s / phi, 2 * np.pi * s / psi
    circles = [inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)]
    return Rotation.from_quat(np.stack(circles, axis=1))


def _corners(places: Float[Tensor, "r k 3"], edge: int) -> tuple[Int[Tensor, "rk 8"], Float[Tensor, "rk 8"]]:
    """Flat indices of the eight voxels around each place in a cube, and their weights in linear interpolation."""
    inside = places.flatten(0, 1).clamp(0, edge - 1)
    low = inside.floor().clamp(max=edge - 2)
    upper = inside - low
    first = ((low[:, 0] * edge + low[:, 1]) * edge + low[:, 2]).int()  # exact: below 2^24
    index, weights = [], []
    for z, y, x in product((0, 1), repeat=3):
        index.append(first + (z * edge + y) * edge + x)
        shares = [upper[:, axis] if is_upper else 1 - upper[:, axis] for axis, is_upper in enumerate((z, y, x))]
        weights.append(shares[0] * shares[1] * shares[2])
    return torch.stack(index, dim=1), torch.stack(weights, dim=1)


def _weighted_sums(
    table: Float[Tensor, "v c"], index: Int[Tensor, "n 8"], weights: Float[Tensor, "n 8"]
) -> Float[Tensor, "n c"]:
    """For each of n the weighted sum of eight rows of a table."""
    if table.device.type == "mps":  # which does not know the function below in every version
        return (table[index.long()] * weights[..., None]).sum(dim=1)
    return functional.embedding_bag(index, table, mode="sum", per_sample_weights=weights)
