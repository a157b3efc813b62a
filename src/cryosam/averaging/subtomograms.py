"""Subtomograms: boxes around particles, cut out of a tomogram for comparison in Fourier space."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from cryosam.arrays import Points
from cryosam.averaging.fourier import BOXES_TOGETHER, FourierFrame, sample_at
from cryosam.missing_wedge import MissingWedge
from cryosam.results import Average
from cryosam.tomogram import Voxels

__all__ = ["Subtomograms", "cut_boxes"]

_N_BACKGROUND = 200  # random boxes from which the spectrum of the background is estimated


@dataclass(frozen=True, eq=False)
class Subtomograms:
    """Cuts boxes around particles of one size out of a tomogram.

    Parameters
    ----------
    voxels
        Normalised voxels of the tomogram.
    step
        Voxels per pixel of a box.
    frame
        The Fourier coefficients that are compared.
    background
        ``(m, edge, edge, edge)`` boxes at random positions.
    """

    voxels: Voxels
    step: float
    frame: FourierFrame
    background: Float[Tensor, "m e e e"]

    @classmethod
    def of(
        cls, tomogram: Voxels, diameter: float, *, size_px: int, detail: float, wedge: MissingWedge, device: str
    ) -> "Subtomograms":
        """Boxes for particles of a diameter in voxels.

        Parameters
        ----------
        tomogram
            Normalised tomogram, protein bright.
        diameter
            Diameter of the particles, in voxels.
        size_px
            Largest number of pixels per diameter; a pixel is never smaller than a voxel.
        detail
            Finest detail that is compared, in voxels.
        wedge
            Tells which frequencies the tilt series sampled.
        device
            Device for the computation.
        """
        step = max(1.0, diameter / size_px)
        frame = FourierFrame.around(diameter / step, detail / step, wedge, device)
        margin = np.minimum(frame.edge * step / 2, (np.array(tomogram.shape) - 1) / 2)
        random = np.random.default_rng(0)
        somewhere = random.uniform(margin, np.array(tomogram.shape) - 1 - margin, (_N_BACKGROUND, 3))
        background = frame.masked(cut_boxes(tomogram, somewhere, frame.edge, step, device))
        return cls(tomogram, step, frame.whitened(background), background)

    def cut(self, points: Points) -> Float[Tensor, "n e e e"]:
        """Masked boxes around points ``(n, 3)`` in voxels."""
        return self.frame.masked(
            cut_boxes(self.voxels, points, self.frame.edge, self.step, str(self.frame.mask.device))
        )

    def resample(self, average: Average) -> Float[Tensor, "e e e"]:
        """Resample an average to the box and pixel size of this frame."""
        edge, device = len(average.data), self.frame.mask.device
        pixels = torch.arange(self.frame.edge, device=device, dtype=torch.float32) - self.frame.edge // 2
        grid = torch.stack(torch.meshgrid(pixels, pixels, pixels, indexing="ij"), dim=-1)
        data = torch.from_numpy(np.ascontiguousarray(average.data, dtype=np.float32)).to(device)
        places = (self.step / average.step) * grid + edge // 2
        is_inside = ((places >= 0) & (places <= edge - 1)).all(dim=-1)
        return self.frame.masked(sample_at(data[None, None], places[None])[:, 0] * is_inside)[0]

    def spectra(self, points: Points) -> Complex[Tensor, "n k"]:
        """Weighted Fourier coefficients of the boxes around points."""
        parts = (points[start : start + BOXES_TOGETHER] for start in range(0, len(points), BOXES_TOGETHER))
        return torch.cat([self.frame.spectra(self.cut(part)) for part in parts])


def cut_boxes(voxels: Voxels, points: Points, edge: int, step: float, device: str) -> Float[Tensor, "n e e e"]:
    """Boxes around points, with a pixel every ``step`` voxels; outside the volume, the nearest voxel's value.

    Only the region of each box is read, so the volume need not fit into the memory of the machine or the device.
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
    for axis in range(3):  # the grid is parallel to the volume: interpolating axis by axis is the same, and faster
        before, after = (torch.from_numpy(ends[axis] - low[axis, 0]).to(device) for ends in (low, high))
        shares = torch.from_numpy((places - low)[axis].astype(np.float32)).to(device)
        shares = shares.view([-1 if a == axis else 1 for a in range(3)])
        box = torch.lerp(box.index_select(axis, before), box.index_select(axis, after), shares)
    return box
