"""Rotations that cover all orientations, and fast rotation of averages by all of them."""

from itertools import product

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn import functional

from cryosam.averaging.fourier import FourierFrame, in_parts

__all__ = ["RotationBank", "uniform_rotations"]


class RotationBank:
    """Rotates any number of averages by the same rotations, several times faster than `FourierFrame.turned`.

    The places in a spectrum at which coefficients are read, and the weights of interpolation, depend only on the
    rotations, so they are computed once.

    Parameters
    ----------
    frame
        The Fourier coefficients that are compared.
    rotations
        Rotations that are applied to each average.
    """

    def __init__(self, frame: FourierFrame, rotations: Rotation) -> None:
        self.frame = frame
        self.rotations = rotations
        self._corners = [_corners(frame.sources(some), 2 * frame.edge) for some in in_parts(rotations)]

    def turned(self, average: Float[Tensor, "e e e"]) -> Complex[Tensor, "r k"]:
        """Coefficients of an average in all rotations."""
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
    """For each of n results, the weighted sum of eight rows of a table."""
    if table.device.type == "mps":  # some versions do not support `embedding_bag`
        return (table[index.long()] * weights[..., None]).sum(dim=1)
    return functional.embedding_bag(index, table, mode="sum", per_sample_weights=weights)
