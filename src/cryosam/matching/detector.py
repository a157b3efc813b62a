"""Learned detection: where particles of about one size are centred, whatever their kind.

Peaks of a correlation lie wherever a profile fits, often beside a particle whose form is not round. The network was
trained to say where the centre is, and to pass over membranes, filaments, gold and noise.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

from cryosam.arrays import Points, Scores
from cryosam.backends.detector_network import OUTPUT_STRIDE, PX_PER_DIAMETER, DetectorNetwork, load_detector_network
from cryosam.geometry import level_to_voxel
from cryosam.matching.coarse import block_means, stride_for
from cryosam.matching.peaks import thin
from cryosam.tomogram import Voxels

__all__ = ["Detections", "DetectorView", "detect"]

_LARGEST = 6.0  # standard deviations at which voxels are clipped: gold counts no more than that
_LONGEST = 4.0  # diameters: longer periods are gradients, and are damped
_LEAST_AMPLITUDE = 1e-3  # of the strongest shell: what a filter has removed is not brought back
_TILE, _MARGIN = (96, 160, 160), 16  # pixels that are searched at once, and around them; multiples of eight
_DEEPEST = 8  # pixels per cell of the network's coarsest level
_LEAST_LOG_ODDS = -8.0  # of a peak: one in three thousand


@dataclass(frozen=True, eq=False)
class DetectorView:
    """A tomogram as the network sees it.

    Parameters
    ----------
    volume
        ``(2, z, y, x)`` whitened and plain density, in units of its standard deviation.
    step
        Voxels of the tomogram per pixel, along z, y, x.
    """

    volume: Float[Tensor, "2 z y x"]
    step: Float[np.ndarray, " 3"]

    @classmethod
    def of(cls, tomogram: Voxels, diameter: float, device: str = "cpu") -> "DetectorView":
        """A normalised tomogram (protein bright) for particles of a diameter in voxels."""
        pixel = diameter / PX_PER_DIAMETER
        stride = stride_for(pixel)
        cells = torch.from_numpy(block_means(tomogram, stride)).to(device)
        shape = tuple(max(1, round(n * stride / pixel)) for n in cells.shape)
        resized = functional.interpolate(cells[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0]
        step = np.array(cells.shape) * stride / np.array(shape)
        return cls(_white_and_plain(resized), step)

    @torch.inference_mode()
    def detect(self, network: DetectorNetwork, min_distance: float) -> "Detections":
        """Where a network sees centres, none closer than ``min_distance`` voxels to a better one."""
        found = self._output(network)
        log_odds, offset = found[0], found[1:]
        highest = functional.max_pool3d(log_odds[None, None], 3, stride=1, padding=1)[0, 0]
        is_peak = (log_odds == highest) & (log_odds > _LEAST_LOG_ODDS)
        cells = (torch.nonzero(is_peak) + offset[:, is_peak].T).cpu().numpy().astype(float)
        values = log_odds[is_peak].cpu().numpy().astype(float)
        points = (level_to_voxel(cells, OUTPUT_STRIDE) + 0.5) * self.step - 0.5
        order = np.argsort(-values, kind="stable")
        order = order[thin(points[order], min_distance)]
        return Detections(points[order], values[order])

    def _output(self, network: DetectorNetwork) -> Float[Tensor, "4 oz oy ox"]:
        """What a network says of each cell of its output, tile by tile."""
        shape = self.volume.shape[1:]
        found = self.volume.new_empty((4, *(-(-n // OUTPUT_STRIDE) for n in shape)))
        for start in product(*(range(0, n, edge) for n, edge in zip(shape, _TILE, strict=True))):
            first = [max(0, a - _MARGIN) for a in start]
            last = [min(n, a + edge + _MARGIN) for n, a, edge in zip(shape, start, _TILE, strict=True)]
            part = self.volume[:, *(slice(a, b) for a, b in zip(first, last, strict=True))]
            short = [-(b - a) % _DEEPEST for a, b in zip(first, last, strict=True)]
            output = network(functional.pad(part, (0, short[2], 0, short[1], 0, short[0]))[None])[0]
            inner, outer = [], []
            for a, f, n, edge in zip(start, first, found.shape[1:], _TILE, strict=True):
                low, high = a // OUTPUT_STRIDE, min(n, (a + edge) // OUTPUT_STRIDE)
                outer.append(slice(low, high))
                inner.append(slice(low - f // OUTPUT_STRIDE, high - f // OUTPUT_STRIDE))
            found[:, *outer] = output[:, *inner]
        return found


@dataclass(frozen=True, eq=False)
class Detections:
    """Where particles are centred, best first.

    Parameters
    ----------
    points
        ``(n, 3)`` z, y, x in voxels.
    log_odds
        ``(n,)`` logarithm of the odds that a particle is centred there, in the tomograms of the training.
    """

    points: Points
    log_odds: Scores


def detect(tomogram: Voxels, diameter: float, min_distance: float, device: str = "cpu") -> Detections:
    """Where particles of about a diameter are centred; none closer than a distance to a better one.

    Parameters
    ----------
    tomogram
        Normalised tomogram, protein bright.
    diameter, min_distance
        In voxels.
    device
        Device for the computation.
    """
    return DetectorView.of(tomogram, diameter, device).detect(_network(device), min_distance)


@lru_cache(maxsize=2)
def _network(device: str) -> DetectorNetwork:
    """The network of the package on a device."""
    return load_detector_network().to(device)


def _white_and_plain(volume: Float[Tensor, "z y x"]) -> Float[Tensor, "2 z y x"]:
    """A volume without its long periods, whitened and plain, in units of standard deviations."""
    volume = volume - volume.median()
    spread = (1.4826 * volume.abs().median()).clamp(min=1e-12)
    volume = (volume / spread).clamp(-_LARGEST, _LARGEST)
    z, y, x = volume.shape
    padded = tuple(int(next_fast_len(n + int(PX_PER_DIAMETER), real=True)) for n in volume.shape)
    spectrum = torch.fft.rfftn(volume, s=padded)
    frequencies = [torch.fft.fftfreq(n, device=volume.device) for n in padded[:2]]
    frequencies.append(torch.fft.rfftfreq(padded[2], device=volume.device))
    fz, fy, fx = (f.square() for f in frequencies)
    square = fz[:, None, None] + fy[:, None] + fx
    spectrum = spectrum * (1 - torch.exp(-square * (_LONGEST * PX_PER_DIAMETER) ** 2))
    n = max(padded)
    shell = (square.sqrt() * n).long()
    power = torch.zeros(int(shell.max()) + 1, device=volume.device)
    power.index_add_(0, shell.flatten(), spectrum.abs().square().flatten())
    amplitude = (power / torch.bincount(shell.flatten()).clamp(min=1)).sqrt()
    amplitude = amplitude.clamp(min=_LEAST_AMPLITUDE * float(amplitude.max()) + 1e-20)
    plain = torch.fft.irfftn(spectrum, s=padded)[:z, :y, :x]
    white = torch.fft.irfftn(spectrum / amplitude[shell], s=padded)[:z, :y, :x]
    both = torch.stack([white, plain])
    return (both / both.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)).clamp(-_LARGEST, _LARGEST)
