"""The average of one class of particles, and the correlation of all particles with it."""

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor

from cryosam.arrays import Points
from cryosam.averaging.correlation import fisher_z
from cryosam.averaging.fourier import wedge_weighted_average
from cryosam.averaging.orientations import OrientationSearch, Parts

__all__ = ["ClassAverage", "noise_free_correlation"]

_LEAST_RELIABILITY = 0.01
_HALVINGS = 3  # number of random divisions of the members into halves, to estimate the noise in their average


class ClassAverage:
    """A class: its members, their average, and the correlation of all particles with the average.

    Parameters
    ----------
    search
        Compares particles of the class's diameter.
    points
        ``(n, 3)`` centres z, y, x of all particles, in voxels.
    spectra
        ``(n, k)`` spectra of the boxes around them.
    first
        ``(edge, edge, edge)`` template for the first comparison, before there are members: a box or an average.

    Examples
    --------
    >>> from cryosam.config import AveragingConfig
    >>> from cryosam.tomogram import Tomogram
    >>> rng = np.random.default_rng(0)
    >>> volume = rng.normal(0, 0.02, (40, 60, 60)).astype(np.float32)
    >>> centres = np.array([[20.0, 15, 15], [20, 15, 45], [20, 45, 15], [20, 45, 45]])
    >>> for z, y, x in centres[:3].astype(int):
    ...     volume[z - 2 : z + 3, y - 2 : y + 3, x - 5 : x + 6] += 1
    >>> search = OrientationSearch.of(Tomogram(volume), 8.0, AveragingConfig())
    >>> group = ClassAverage(search, centres, search.cut.spectra(centres), search.cut.cut(centres[:1])[0])
    >>> bool(group.gather(np.arange(3))[:3].min() > group.fisher_z[3])
    True
    """

    def __init__(
        self,
        search: OrientationSearch,
        points: Points,
        spectra: Complex[Tensor, "n k"],
        first: Float[Tensor, "e e e"],
    ) -> None:
        self._search, self._points, self._spectra = search, points, spectra
        self._found = search.find(first, spectra)
        self._parts: Parts | None = None
        self.average = first
        self.members: Int[np.ndarray, " m"] = np.zeros(0, dtype=int)
        self.fisher_z: Float[np.ndarray, " n"] = fisher_z(self._found.correlations)
        """Fisher's z of each particle's correlation with the average; members are compared with one without them."""

    def gather(self, members: Int[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
        """Replace the members (at least one), average them in their current poses, and return the new `fisher_z`."""
        self.members = members
        self._parts = self._search.rotate_to_reference(
            self._search.cut.cut(self._points[members]), self._found, members
        )
        self.average = wedge_weighted_average(self._search.cut.frame, *self._parts)
        self._found = self._search.find(self.average, self._spectra)
        correlations = self._found.correlations.copy()
        if len(members) > 1:
            random = np.random.default_rng(0)
            correlations[members] = self._search.compare_held_out(self._parts, self._spectra[members], random)
        self.fisher_z = fisher_z(correlations)
        return self.fisher_z

    def compare(self, spectra: Complex[Tensor, "m k"]) -> Float[np.ndarray, " m"]:
        """Fisher's z of the correlations of other boxes with the average."""
        return fisher_z(self._search.find(self.average, spectra).correlations)

    def placed(self) -> tuple[Rotation, Float[np.ndarray, "n 3"]]:
        """Poses of all particles: rotations of the average, and shifts z, y, x from the centre in pixels."""
        return self._search.bank.rotations[self._found.rotation], self._search.shifts[self._found.shift]

    def reliability(self) -> float:
        """Expected correlation of the average with another one of as many particles, from averages of halves."""
        frame, found, random = self._search.cut.frame, [], np.random.default_rng(0)
        if self._parts is None:
            raise ValueError("nothing has been averaged yet")
        for _ in range(_HALVINGS):
            order = random.permutation(len(self.members))
            halves = (wedge_weighted_average(frame, *(part[order[k::2]] for part in self._parts)) for k in range(2))
            first, second = frame.spectra(torch.stack(list(halves)))
            found.append(float((first.conj() * second).sum().real / (first.norm() * second.norm())))
        half = max(float(np.mean(found)), _LEAST_RELIABILITY)
        return 2 * half / (1 + half)

    def correlation_with(self, other: "ClassAverage") -> float:
        """Correlation of two averages, in their best orientation."""
        spectra = self._search.cut.frame.spectra(other.average[None])
        return float(self._search.find(self.average, spectra).correlations[0])


def noise_free_correlation(first: ClassAverage, second: ClassAverage) -> float:
    """Correlation of the averages of two classes, corrected for noise (Spearman 1904); about 1 for the same kind."""
    return first.correlation_with(second) / float(np.sqrt(first.reliability() * second.reliability()))
