"""Learned descriptors: a vector for each place of a tomogram, by which particles of one kind are recognised.

A box around the place, in proportion to the diameter of the particles, goes through a small 3D network. Two boxes with
similar vectors hold particles of one kind, however these are turned.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cryosam.arrays import Points
from cryosam.averaging.subtomograms import cut_boxes
from cryosam.backends.descriptor_network import (
    BOX_PX,
    PX_PER_DIAMETER,
    VECTOR_LENGTH,
    DescriptorNetwork,
    load_descriptor_network,
)
from cryosam.geometry import voxel_to_level
from cryosam.matching.coarse import block_means, stride_for
from cryosam.tomogram import Tomogram, Voxels

__all__ = ["DescribedBoxes", "Descriptors", "Resemblance", "Vector", "Vectors"]

Vector = Float[np.ndarray, " v"]
"""Describes a place; its length is 1."""

Vectors = Float[np.ndarray, "n v"]
"""One vector of length 1 per place."""

_MEMBERS = (8, 16, 32)  # most places from whose mean vector the next ones are found, one after the other
_FEWEST = 4  # places that `closest` finds at least, if there are as many
_STEPS = 2  # the places found first, and those that resemble their mean, which says more than one place
_SIZES = (1.0, 1.25)  # of the boxes, relative to those of the training: masks tend to end within a particle
_OUTER_PX = 32  # edge of the box that is whitened; its inner part is described
_INNER_PX = 24  # edge of the part that the filter does not blur with the other end of the box
_N_RANDOM = 150  # random boxes in which the spectrum and the contrast of the tomogram are measured
_TOGETHER = 64  # boxes that go through the network at once
_LARGEST = 6.0  # standard deviations at which voxels are clipped: gold counts no more than that
_LEAST_AMPLITUDE = 1e-3  # of the strongest shell: what a filter has removed is not brought back


@dataclass(frozen=True, eq=False)
class Resemblance:
    """Vectors of places, and what their similarity says about their kinds.

    Parameters
    ----------
    vectors
        One vector of length 1 per place.
    factor, offset
        The factor times a similarity plus the offset is the logarithm of the odds that two places hold particles of one
        kind, as in the tomograms of the training.
    """

    vectors: Vectors
    factor: float
    offset: float

    def mean(self, members: Int[np.ndarray, " k"]) -> Vector:
        """Mean vector of some members, of length 1."""
        total = self.vectors[members].sum(axis=0)
        mean: Vector = total / max(float(np.linalg.norm(total)), 1e-9)
        return mean

    def similarity(self, members: Int[np.ndarray, " k"]) -> Float[np.ndarray, " n"]:
        """Similarity, in [-1, 1], of each place to the mean vector of some members; of a member, to that of the others.

        Parameters
        ----------
        members
            Indices of places, at least one.

        Examples
        --------
        >>> Resemblance(np.eye(3)[[0, 0, 1]], 10.0, -6.0).similarity(np.array([0, 1]))
        array([1., 1., 0.])
        """
        found = self.vectors @ self.mean(members)
        if len(members) > 1:
            rest = self.vectors[members].sum(axis=0) - self.vectors[members]
            length = np.maximum(np.linalg.norm(rest, axis=1), 1e-9)
            found[members] = (self.vectors[members] * rest).sum(axis=1) / length
        similarity: Float[np.ndarray, " n"] = found.astype(float)
        return similarity

    def log_odds(self, members: Int[np.ndarray, " k"]) -> Float[np.ndarray, " n"]:
        """Logarithm of the odds that each place is of the kind of some members, by its similarity to them.

        Examples
        --------
        >>> Resemblance(np.eye(3)[[0, 0, 1]], 10.0, -6.0).log_odds(np.array([0, 1]))
        array([ 4.,  4., -6.])
        """
        return self.factor * self.similarity(members) + self.offset

    def nearest(self, seeds: Int[np.ndarray, " k"], possible: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " m"]:
        """Places that resemble some seeds most, best first: a few, then those that resemble these, and so on.

        The number grows only while the odds are even or better. All seeds are among them.

        Parameters
        ----------
        seeds
            Indices of places that are of the kind, at least one.
        possible
            ``(n,)`` True for places that may be of the kind.

        Examples
        --------
        >>> angles = np.array([0.0, 0.1, 0.2, 1.5])
        >>> vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> Resemblance(vectors, 10.0, -6.0).nearest(np.array([1]), np.arange(4) != 0)
        array([1, 2, 3])
        """
        members, n_seeds = seeds, len(seeds)
        n_possible = int(np.count_nonzero(possible | np.isin(np.arange(len(possible)), seeds)))
        for most in _MEMBERS:
            log_odds = np.where(possible, self.log_odds(members), -np.inf)
            log_odds[seeds] = np.inf
            n = int(np.clip(np.count_nonzero(log_odds > 0), max(_MEMBERS[0], n_seeds), max(most, n_seeds)))
            members = np.argsort(-log_odds, kind="stable")[: min(n, n_possible)]
        return members

    def closest(
        self, start: Int[np.ndarray, " k"], possible: Bool[np.ndarray, " n"], most: int
    ) -> Int[np.ndarray, " m"]:
        """Places that resemble a start most, best first: a few, or up to ``most`` whose odds are even or better.

        In contrast to `nearest`, places of the start are left out if they do not resemble the others.

        Parameters
        ----------
        start
            Indices of places that are of the kind, at least one.
        possible
            ``(n,)`` True for places that may be of the kind.
        most
            Largest number of places.

        Examples
        --------
        >>> angles = np.array([0.0, 0.1, 0.2, 1.5])
        >>> vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> Resemblance(vectors, 10.0, -6.0).closest(np.array([1]), np.arange(4) != 0, 8)
        array([2, 1, 3])
        """
        members = start
        for _ in range(_STEPS):
            odds = np.where(possible, self.log_odds(members), -np.inf)
            n = int(np.clip(np.count_nonzero(odds > 0), min(_FEWEST, most), most))
            members = np.argsort(-odds, kind="stable")[: min(n, np.count_nonzero(possible))]
        return members


@dataclass(frozen=True, eq=False)
class DescribedBoxes:
    """Cuts boxes out of a tomogram as the network expects them, and describes them.

    Parameters
    ----------
    cells
        The tomogram, or means of blocks of its voxels where the pixels of a box are at least 1.7 voxels.
    stride
        Voxels per cell.
    step
        Cells per pixel of a box.
    whitening
        ``(o, o, h)`` filter on the half spectrum of a box, which makes the power of all frequencies equal.
    deviations
        Typical standard deviations of boxes, whitened and plain: the units of the boxes.
    network
        Describes boxes.
    """

    cells: Voxels
    stride: int
    step: float
    whitening: Float[Tensor, "o o h"]
    deviations: tuple[float, float]
    network: DescriptorNetwork

    @classmethod
    def of(cls, tomogram: Voxels, diameter: float, device: str = "cpu") -> "DescribedBoxes":
        """Boxes around particles of a diameter in voxels, in a normalised tomogram (protein bright)."""
        stride = _stride(diameter)
        return cls.in_cells(_cells(tomogram, stride), stride, diameter, device)

    @classmethod
    def in_cells(cls, cells: Voxels, stride: int, diameter: float, device: str) -> "DescribedBoxes":
        """The same in cells of ``stride`` voxels; the diameter is in voxels of the tomogram."""
        step = diameter / PX_PER_DIAMETER
        random = np.random.default_rng(0)
        shape = np.array(cells.shape)
        margin = np.minimum(_OUTER_PX * step / stride / 2, (shape - 1) / 2)
        somewhere = random.uniform(margin, shape - 1 - margin, (_N_RANDOM, 3))
        boxes = _centred(cut_boxes(cells, somewhere, _OUTER_PX, step / stride, device))
        is_filled = boxes.std(dim=(1, 2, 3)) > 0  # the margins of a rotated or masked volume are empty
        boxes = boxes[is_filled] if is_filled.any() else boxes
        whitening = _whitening(boxes)
        white = _inner(_filtered(boxes, whitening), _INNER_PX)
        of_white, of_boxes = (float(each.std(dim=(1, 2, 3)).median()) + 1e-12 for each in (white, boxes))
        return cls(cells, stride, step / stride, whitening, (of_white, of_boxes), _network(device))

    def cut(self, points: Points, edge: int = BOX_PX) -> Float[Tensor, "n 2 b b b"]:
        """Boxes of some pixels around points ``(n, 3)`` in voxels, whitened and plain."""
        device = str(self.whitening.device)
        boxes = _centred(cut_boxes(self.cells, voxel_to_level(points, self.stride), _OUTER_PX, self.step, device))
        white, plain = _filtered(boxes, self.whitening) / self.deviations[0], boxes / self.deviations[1]
        return _inner(torch.stack([white, plain], dim=1), edge).clamp(-_LARGEST, _LARGEST)

    @torch.inference_mode()
    def vectors(self, points: Points) -> Vectors:
        """Vectors of the boxes around points ``(n, 3)`` in voxels."""
        found = [np.zeros((0, VECTOR_LENGTH), dtype=np.float32)]
        for start in range(0, len(points), _TOGETHER):
            boxes = self.cut(points[start : start + _TOGETHER]).contiguous(memory_format=torch.channels_last_3d)
            found.append(self.network(boxes).cpu().numpy())
        return np.concatenate(found)


@dataclass(frozen=True, eq=False)
class Descriptors:
    """Describes places of a tomogram by boxes of several sizes, because the diameter of a mask is uncertain.

    Parameters
    ----------
    boxes
        The boxes of each size.
    """

    boxes: tuple[DescribedBoxes, ...]

    @classmethod
    def of(cls, tomogram: Voxels, diameter: float, device: str = "cpu") -> "Descriptors":
        """Descriptors of particles of a diameter in voxels, in a normalised tomogram (protein bright).

        Examples
        --------
        >>> from cryosam.tomogram import Tomogram
        >>> volume = np.random.default_rng(0).normal(size=(30, 40, 40)).astype(np.float32)
        >>> descriptors = Descriptors.of(Tomogram(volume), 10.0)
        >>> descriptors.resemblance(np.array([[15.0, 20, 20], [14, 12, 25]])).vectors.shape
        (2, 128)
        """
        diameters = [size * diameter for size in _SIZES]
        strides = [_stride(each) for each in diameters]
        cells = {stride: _cells(tomogram, stride) for stride in set(strides)}
        return cls(
            tuple(
                DescribedBoxes.in_cells(cells[stride], stride, each, device)
                for stride, each in zip(strides, diameters, strict=True)
            )
        )

    def resemblance(self, points: Points) -> Resemblance:
        """The vectors of places ``(n, 3)`` in voxels, and what their similarity means."""
        factor, offset = self.boxes[0].network.odds.tolist()
        vectors = np.concatenate([each.vectors(points) for each in self.boxes], axis=1) / np.sqrt(len(self.boxes))
        return Resemblance(vectors.astype(np.float32), float(np.exp(factor)), offset)


def _stride(diameter: float) -> int:
    """Voxels per cell for particles of a diameter in voxels."""
    return stride_for(diameter / PX_PER_DIAMETER)


def _cells(tomogram: Voxels, stride: int) -> Voxels:
    """The tomogram in cells of some voxels."""
    return tomogram if stride == 1 else Tomogram(block_means(tomogram, stride))


@lru_cache(maxsize=2)
def _network(device: str) -> DescriptorNetwork:
    """The network of the package on a device."""
    return load_descriptor_network().folded().to(device)


def _centred(boxes: Float[Tensor, "n e e e"]) -> Float[Tensor, "n e e e"]:
    """Boxes minus their means."""
    return boxes - boxes.mean(dim=(1, 2, 3), keepdim=True)


def _inner(boxes: Float[Tensor, "... e e e"], edge: int) -> Float[Tensor, "... i i i"]:
    """The middle of boxes."""
    first = (boxes.shape[-1] - edge) // 2
    part = slice(first, first + edge)
    return boxes[..., part, part, part]


def _filtered(boxes: Float[Tensor, "n e e e"], whitening: Float[Tensor, "o o h"]) -> Float[Tensor, "n e e e"]:
    """Boxes after a filter on their half spectra."""
    axes = (1, 2, 3)
    return torch.fft.irfftn(torch.fft.rfftn(boxes, dim=axes) * whitening, s=boxes.shape[1:], dim=axes)


def _whitening(boxes: Float[Tensor, "n e e e"]) -> Float[Tensor, "e e h"]:
    """Filter that divides by the amplitude of each shell: the root of its mean, of medians over the boxes."""
    edge = boxes.shape[-1]
    window = torch.sin(torch.pi * (torch.arange(edge, device=boxes.device) + 0.5) / edge)
    power = torch.fft.rfftn(boxes * (window[:, None, None] * window[:, None] * window), dim=(1, 2, 3)).abs().square()
    power = power.median(dim=0).values
    full, half = torch.fft.fftfreq(edge, device=boxes.device), torch.fft.rfftfreq(edge, device=boxes.device)
    length = torch.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2)
    shell = (length * edge).round().long().clamp(max=edge // 2)
    total = power.new_zeros(edge // 2 + 1).index_add_(0, shell.flatten(), power.flatten())
    amplitude = (total / torch.bincount(shell.flatten()).clamp(min=1)).sqrt()
    amplitude[0] = amplitude[1]
    found = 1 / amplitude.clamp(min=_LEAST_AMPLITUDE * float(amplitude.max()) + 1e-20)[shell]
    found[0, 0, 0] = 0
    return found
