"""Subtomograms in Fourier space: cut out, compared in many orientations, averaged.

Boxes are compared in a band of frequencies where the tilt series has information, whitened by the spectrum of the
background. The correlations of all rotations, shifts and particles are then one product of matrices.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryosam.arrays import Points
from cryosam.averaging.fourier import _TOGETHER_BOXES, FourierFrame, _sample
from cryosam.results import Average
from cryosam.tomogram import Voxels

__all__ = ["Subtomograms"]

_N_BACKGROUND = 200  # boxes that tell the spectrum of the background


@dataclass(frozen=True, eq=False)
class Subtomograms:
    """Where boxes around particles of one size are cut from.

    Parameters
    ----------
    voxels
        Of the tomogram, normalised.
    step
        Voxels a pixel of a box.
    frame
        What of a box is compared.
    background
        ``(m, edge, edge, edge)`` boxes without regard to what is there.
    """

    voxels: Voxels
    step: float
    frame: "FourierFrame"
    background: Float[Tensor, "m e e e"]

    @classmethod
    def of(
        cls, tomogram: Voxels, diameter: float, *, size_px: int, detail: float, max_tilt: float, device: str
    ) -> "Subtomograms":
        """Boxes for particles of a diameter in voxels.

        Parameters
        ----------
        tomogram
            Normalised: protein bright.
        diameter
            Of the particles, in voxels.
        size_px
            Pixels a diameter, at most; a pixel is never smaller than a voxel.
        detail
            Finest that is compared, in voxels.
        max_tilt
            Degrees of the tilt series, in either direction, about the y axis.
        device
            Where to compute.
        """
        step = max(1.0, diameter / size_px)
        frame = FourierFrame.around(diameter / step, detail / step, max_tilt, device)
        margin = np.minimum(frame.edge * step / 2, (np.array(tomogram.shape) - 1) / 2)
        random = np.random.default_rng(0)
        somewhere = random.uniform(margin, np.array(tomogram.shape) - 1 - margin, (_N_BACKGROUND, 3))
        background = frame.masked(_boxes(tomogram, somewhere, frame.edge, step, device))
        return cls(tomogram, step, frame.whitened(background), background)

    def cut(self, points: Points) -> Float[Tensor, "n e e e"]:
        """Boxes around points ``(n, 3)`` in voxels, masked."""
        return self.frame.masked(_boxes(self.voxels, points, self.frame.edge, self.step, str(self.frame.mask.device)))

    def resample(self, average: Average) -> Float[Tensor, "e e e"]:
        """An average as a box of this frame."""
        edge, device = len(average.data), self.frame.mask.device
        pixels = torch.arange(self.frame.edge, device=device, dtype=torch.float32) - self.frame.edge // 2
        grid = torch.stack(torch.meshgrid(pixels, pixels, pixels, indexing="ij"), dim=-1)
        data = torch.from_numpy(np.ascontiguousarray(average.data, dtype=np.float32)).to(device)
        places = (self.step / average.step) * grid + edge // 2
        is_inside = ((places >= 0) & (places <= edge - 1)).all(dim=-1)
        return self.frame.masked(_sample(data[None, None], places[None])[:, 0] * is_inside)[0]

    def spectra(self, points: Points) -> Complex[Tensor, "n k"]:
        """Weighted coefficients of the boxes around points."""
        parts = (points[start : start + _TOGETHER_BOXES] for start in range(0, len(points), _TOGETHER_BOXES))
        return torch.cat([self.frame.spectra(self.cut(part)) for part in parts])


def _boxes(voxels: Voxels, points: Points, edge: int, step: float, device: str) -> Float[Tensor, "n e e e"]:
    """Boxes around points, a pixel every ``step`` voxels; beyond the faces the nearest voxel's value.

    Only what a box covers is taken from the volume, which need not fit into memory, or onto the device.
    """
    offsets = step * (np.arange(edge) - edge // 2)
    boxes = [_box(voxels, point, offsets, device) for point in points]
    return torch.stack(boxes) if boxes else torch.zeros(0, edge, edge, edge, device=device)


def _box(
    voxels: Voxels, point: Float[np.ndarray, " 3"], offsets: Float[np.ndarray, " e"], device: str
) -> Float[Tensor, "e e e"]:
    """Values at offsets from a point along each axis, by linear interpolation."""
    last = np.array(voxels.shape)[:, None] - 1
    places = np.clip(point[:, None] + offsets, 0, last)
    low = np.minimum(np.floor(places), np.maximum(last - 1, 0)).astype(int)
    high = np.minimum(low + 1, last)
    z, y, x = (slice(int(a), int(b) + 1) for a, b in zip(low[:, 0], high[:, -1], strict=True))
    box = torch.from_numpy(np.ascontiguousarray(voxels.crop((z, y, x)))).to(device)
    for axis in range(3):  # the grid has the axes of the volume: one axis after the other is the same, and quicker
        before, after = (torch.from_numpy(ends[axis] - low[axis, 0]).to(device) for ends in (low, high))
        shares = torch.from_numpy((places - low)[axis].astype(np.float32)).to(device)
        shares = shares.view([-1 if a == axis else 1 for a in range(3)])
        box = torch.lerp(box.index_select(axis, before), box.index_select(axis, after), shares)
    return box
