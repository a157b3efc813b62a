"""The clicked filament made straight: its box, its mean cross-section, and the repeat along its axis."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from cryosam.arrays import Volume
from cryosam.intensities import MAD_TO_DEVIATION
from cryosam.io.filament_files import transport_frames
from cryosam.structure_results import Filament
from cryosam.structures.binned import BinnedTomogram
from cryosam.structures.tracing import Curve

__all__ = ["Straightened", "find_repeat", "straighten"]

_LEAST_REPEATS = 8.0  # a repeat is looked for only where the filament is this many times as long
_LEAST_CONTRAST = 10.0  # robust standard deviations by which a layer line stands out of its surroundings
_SURROUNDINGS = 9  # frequencies to both sides, of which the median is the background of a layer line


@dataclass(frozen=True, eq=False)
class Straightened:
    """A filament as if it were straight.

    Parameters
    ----------
    box
        ``(n, h, w)`` float32, protein bright: cross-sections one voxel apart along the filament, its axis in the
        middle; the filament lies along the first axis. Frames are carried along without twist.
    cross_section
        ``(h, w)`` mean along the filament.
    repeat_angstrom
        Distance after which the density along the filament repeats; NaN if none stands out of the noise.
    """

    box: Volume
    cross_section: Float[np.ndarray, "h w"]
    repeat_angstrom: float


def straighten(tomogram: BinnedTomogram, filament: Filament, reach_angstrom: float | None = None) -> Straightened:
    """Sample the tomogram in planes normal to a filament.

    Parameters
    ----------
    tomogram
        In which the filament was found, at its own voxel size.
    filament
        Its line.
    reach_angstrom
        Half of the edge of the planes; 1.5 times the radius if left out.
    """
    voxel_size = tomogram.voxel_size_angstrom
    reach = max(int(np.ceil((reach_angstrom or 1.5 * filament.radius_angstrom) / voxel_size)), 2)
    line = Curve(filament.points, np.zeros(len(filament.points), dtype=bool)).at(1.0)
    low = np.maximum(np.floor(line.points.min(axis=0)).astype(int) - 2 * reach, 0)
    high = np.minimum(np.ceil(line.points.max(axis=0)).astype(int) + 2 * reach + 1, tomogram.shape)
    crop = tomogram.voxels.crop((slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])))
    frames = transport_frames(line.tangents)
    across = np.arange(-reach, reach + 1.0)
    plane = np.stack(np.meshgrid([0.0], across, across, indexing="ij"), axis=-1).reshape(-1, 3)
    box = np.empty((len(line.points), len(across), len(across)), dtype=np.float32)
    middle = float(np.median(crop))
    for index, (point, frame) in enumerate(zip(line.points, frames, strict=True)):
        places = (frame.apply(plane) + point - low).T
        values = ndimage.map_coordinates(crop, places, order=1, mode="constant", cval=middle, output=np.float32)
        box[index] = values.reshape(box.shape[1:])
    near = np.hypot(across[:, None], across[None, :]) <= filament.radius_angstrom / voxel_size + 1
    return Straightened(box, box.mean(axis=0), find_repeat(box[:, near], voxel_size))


def find_repeat(columns: Float[np.ndarray, "n k"], voxel_size_angstrom: float) -> float:
    """The repeat along columns of density: the strongest layer line, if it stands out.

    Parameters
    ----------
    columns
        ``(n, k)`` densities along the filament at ``k`` places of its cross-section.
    voxel_size_angstrom
        Distance of densities along the filament.

    Returns
    -------
    repeat_angstrom
        NaN if nothing stands out, or the filament is too short.

    Examples
    --------
    >>> along = np.arange(400)
    >>> noise = np.random.default_rng(0).normal(size=(400, 20))
    >>> round(find_repeat(noise + np.sin(2 * np.pi * along / 8)[:, None], 10.0))
    80
    >>> find_repeat(noise, 10.0)
    nan
    """
    n = len(columns)
    if n < 4 * _LEAST_REPEATS:
        return float("nan")
    window = np.hanning(n)[:, None]
    power = (np.abs(np.fft.rfft((columns - columns.mean(axis=0)) * window, axis=0)) ** 2).mean(axis=1)
    power = np.log(np.maximum(power, 1e-12))
    background = ndimage.median_filter(power, 2 * _SURROUNDINGS + 1, mode="nearest")
    excess = power - background
    first = int(_LEAST_REPEATS)
    spread = max(MAD_TO_DEVIATION * float(np.median(np.abs(excess[first:]))), 1e-9)
    best = first + int(np.argmax(excess[first:]))
    if excess[best] < _LEAST_CONTRAST * spread:
        return float("nan")
    around = np.arange(max(best - 1, 0), min(best + 2, len(power)))
    weight = np.exp(power[around])
    return float(n * voxel_size_angstrom / ((around * weight).sum() / weight.sum()))
