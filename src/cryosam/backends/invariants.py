"""Dense 3D descriptors that do not depend on the orientation of a particle; they need no weights.

At each Gaussian scale: the density, the gradient's length, the Laplacian, the Frobenius norm of the Hessian and the
local standard deviation. All are rotation-invariant combinations of derivatives (Florack et al., Image and Vision
Computing 10, 1992), so a particle looks the same in every orientation, up to the missing wedge.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cryosam.arrays import Volume

__all__ = ["Invariants"]

_TRUNCATE = 3.5
_CELLS = 3.0  # least number of cells per scale, on grids coarser than the finest


class Invariants:
    """Rotation-invariant descriptors at several Gaussian scales (a `VolumeDescriptor`).

    Parameters
    ----------
    scales
        Standard deviations in voxels.
    device
        Device to compute on.

    Examples
    --------
    >>> fine, coarse = Invariants(scales=(1.5, 12.0)).parts(stride=2)
    >>> fine.stride, coarse.stride
    (2, 4)
    >>> coarse.describe(np.random.default_rng(0).random((9, 10, 11), dtype=np.float32)).shape
    torch.Size([5, 9, 10, 11])
    """

    def __init__(self, scales: Sequence[float] = (1.5, 2.4, 3.7, 5.8, 9.0), device: str = "cpu") -> None:
        self.scales = tuple(scales)
        self.device = torch.device(device)

    @property
    def digest(self) -> str:
        """Digest of the settings."""
        return hashlib.sha256(f"invariants-2 {self.scales}".encode()).hexdigest()

    @property
    def n_channels(self) -> int:
        """Numbers per cell: five per scale."""
        return 5 * len(self.scales)

    def parts(self, stride: int) -> "list[_Scales]":
        """The scales, grouped by the grid on which they are computed; see `VolumeDescriptor.parts`."""
        by_stride: dict[int, list[float]] = {stride: []}
        for scale in self.scales:
            own = stride
            while scale >= _CELLS * 2 * own:
                own *= 2
            by_stride.setdefault(own, []).append(scale)
        return [_Scales(own, tuple(scales), self.device) for own, scales in by_stride.items()]


@dataclass(frozen=True)
class _Scales:
    """Invariants at the scales that are computed on one grid (a `DescriptorPart`)."""

    stride: int
    scales: tuple[float, ...]
    device: torch.device

    @property
    def n_channels(self) -> int:
        """Numbers per cell."""
        return 5 * len(self.scales)

    @property
    def halo(self) -> int:
        """Width, in cells, of the margin around a block that its descriptors depend on."""
        return max((_radius(self._in_cells(scale)) for scale in self.scales), default=0)

    def describe(self, means: Volume) -> Float[Tensor, "c cz cy cx"]:
        """Descriptors at the centres of cells, computed from the cells' mean densities."""
        density = torch.from_numpy(np.ascontiguousarray(means)).to(self.device)
        described = [channel for s in self.scales for channel in _scale_invariants(density, self._in_cells(s))]
        return torch.stack(described) if described else density.new_zeros(0, *density.shape)

    def _in_cells(self, scale: float) -> float:
        """Standard deviation of the Gaussian to apply, in cells; the blur by averaging over a cell is subtracted."""
        blurred = (self.stride**2 - 1) / 12  # variance of the blur by averaging, in square voxels
        return float(max(scale**2 - blurred, 0.25) ** 0.5 / self.stride)


def _radius(sigma: float) -> int:
    """Radius of a kernel, in cells."""
    return max(2, int(np.ceil(_TRUNCATE * sigma)))


def _kernel(sigma: float, order: int, like: Tensor) -> Float[Tensor, " k"]:
    """Sampled derivative of a Gaussian, scale-normalised (times sigma**order), exact on polynomials of that order."""
    radius = _radius(sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    gauss = torch.exp(-0.5 * (x / sigma) ** 2)
    gauss /= gauss.sum()
    if order == 0:
        kernel = gauss
    elif order == 1:
        kernel = x * gauss
        kernel *= sigma / (kernel * x).sum()
    else:
        kernel = (x**2 - (gauss * x**2).sum()) * gauss
        kernel *= 2 * sigma**2 / (kernel * x**2).sum()
    return kernel.to(like)


def _filter(volume: Float[Tensor, "z y x"], kernel: Float[Tensor, " k"], axis: int) -> Float[Tensor, "z y x"]:
    """Correlate along one axis; the edge voxel is repeated outside.

    This is a product with a band matrix, which needs no copies and is faster than a convolution at these lengths.
    """
    n, radius = volume.shape[axis], len(kernel) // 2
    rows = torch.arange(n, device=volume.device)
    band = volume.new_zeros(n, n)
    for offset, weight in zip(range(-radius, radius + 1), kernel, strict=True):
        band[rows, (rows + offset).clamp(0, n - 1)] += weight
    if axis == 2:
        return volume @ band.T
    return band @ volume if axis == 1 else (band @ volume.flatten(1)).view(volume.shape)


def _scale_invariants(density: Float[Tensor, "z y x"], sigma: float) -> list[Float[Tensor, "z y x"]]:
    """Five invariants at one scale, ``sigma`` in cells."""
    kernels = [_kernel(sigma, order, density) for order in range(3)]
    derivative: dict[tuple[int, ...], Tensor] = {}
    for oz in range(3):
        along_z = _filter(density, kernels[oz], 0)
        for oy in range(3 - oz):
            along_zy = _filter(along_z, kernels[oy], 1)
            for ox in range(3 - oz - oy):
                derivative[oz, oy, ox] = _filter(along_zy, kernels[ox], 2)
    smooth = derivative[0, 0, 0]
    gradient = sum(derivative[o] ** 2 for o in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    pure = [derivative[o] for o in ((2, 0, 0), (0, 2, 0), (0, 0, 2))]
    mixed = [derivative[o] for o in product((0, 1), repeat=3) if sum(o) == 2]
    hessian = sum(d**2 for d in pure) + 2 * sum(d**2 for d in mixed)
    square = density**2
    for axis in range(3):
        square = _filter(square, kernels[0], axis)
    deviation = (square - smooth**2).clamp_min(0).sqrt()
    magnitudes = [torch.as_tensor(gradient).sqrt(), torch.as_tensor(hessian).sqrt(), deviation]
    return [smooth, pure[0] + pure[1] + pure[2], *magnitudes]
