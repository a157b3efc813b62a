"""The clicked filament made straight: its density, its average, its radius, and the repeat along its axis.

A repeat is a layer line: a frequency along the axis at which the columns of the straightened density have more power
than at the frequencies around it. How much more chance gives is seen in the same density with its cross-sections
shuffled, and along lines beside the filament.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from cryosam.arrays import Points, Volume
from cryosam.io.filament_files import transport_frames
from cryosam.structure_results import Filament, Repeat, Straightened
from cryosam.structures.binned import BinnedTomogram
from cryosam.structures.tracing import Curve

__all__ = ["find_repeat", "straighten"]

_LEAST_REPEATS = 8  # a repeat is looked for only if the filament is this many times as long
_SURROUNDINGS = 9  # frequencies to both sides, of which the median is the background of a layer line
_N_SHUFFLED = 99  # chance then has a probability of at most 1 % to exceed all of them
_N_BESIDE = 12  # lines beside the filament
_BESIDE = 2.5  # radii of the filament from its axis to theirs
_MOST_COLUMNS = 400  # neighbouring ones say the same
_AROUND = 1.5  # radii: half of the edge of the planes
_TOGETHER = 64  # planes that are cut at a time

Columns = Float[np.ndarray, "n k"]


def straighten(tomogram: BinnedTomogram, filament: Filament, number: int = 1) -> Straightened:
    """Sample the tomogram in planes normal to a filament, one voxel apart.

    Parameters
    ----------
    tomogram
        In which the filament was found.
    filament
        Its line. Parts of it that were inferred count neither for the average nor for the repeat.
    number
        Of the filament in its result, from 1.
    """
    voxel_size = tomogram.voxel_size_angstrom
    radius = filament.radius_angstrom / voxel_size
    reach = max(int(np.ceil(_AROUND * radius)), 2)
    line = Curve(filament.points, np.zeros(len(filament.points), dtype=bool)).at(1.0)
    step = line.length / max(len(line.points) - 1, 1)
    beside = _BESIDE * radius + 2
    crop, low = _crop(tomogram, line.points, reach + beside)
    cut = _Planes(crop, line.points - low, transport_frames(line.tangents).as_matrix())
    across = np.arange(-reach, reach + 1.0)
    places = np.stack(np.meshgrid(across, across, indexing="ij"), axis=-1).reshape(-1, 2)
    box = cut.at(places).reshape(-1, len(across), len(across))
    is_measured = ~filament.inferred.contains(line.points)
    near = places[np.linalg.norm(places, axis=1) <= radius + 1]
    near = near[:: -(-len(near) // _MOST_COLUMNS)]
    angles = 2 * np.pi * np.arange(_N_BESIDE) / _N_BESIDE
    lines = [near + beside * np.array([np.sin(angle), np.cos(angle)]) for angle in angles]
    repeat = find_repeat(
        _without(cut.at(near), is_measured), step * voxel_size, [cut.at(each) for each in lines if cut.has(each)]
    )
    spacing = repeat.angstrom / voxel_size / step if repeat.is_seen else 1.0
    average = _average(box, is_measured, spacing)
    return Straightened(number, box, average, filament.radius_angstrom, _densest(average) * voxel_size, repeat)


def find_repeat(columns: Columns, spacing_angstrom: float, beside: list[Columns] | None = None) -> Repeat:
    """Look for a repeat along columns of density: the strongest layer line, compared with what chance gives.

    Parameters
    ----------
    columns
        ``(n, k)`` densities along a filament at ``k`` places of its cross-section.
    spacing_angstrom
        Distance of densities along the filament.
    beside
        The same along other lines of the tomogram, where chance is looked for besides in the shuffled columns.

    Examples
    --------
    >>> along = np.arange(400)
    >>> noise = np.random.default_rng(0).normal(size=(400, 20))
    >>> found = find_repeat(noise + np.sin(2 * np.pi * along / 8)[:, None], 10.0)
    >>> round(found.angstrom), found.is_seen, find_repeat(noise, 10.0).is_seen
    (80, True, False)
    """
    n = len(columns)
    if n < 4 * _LEAST_REPEATS:
        return Repeat(float("nan"), float("nan"), float("nan"), 0)
    excess = _excess(columns)
    best = _LEAST_REPEATS + int(np.argmax(excess[_LEAST_REPEATS:]))
    around = np.arange(best - 1, min(best + 2, len(excess)))
    weight = np.exp(excess[around])
    rng = np.random.default_rng(0)
    nulls = [columns[rng.permutation(n)] for _ in range(_N_SHUFFLED)] + (beside or [])
    chance = max(float(_excess(null)[_LEAST_REPEATS:].max()) for null in nulls)
    angstrom = float(n * spacing_angstrom / ((around * weight).sum() / weight.sum()))
    return Repeat(angstrom, float(np.exp(excess[best])), float(np.exp(chance)), len(nulls))


def _excess(columns: Columns) -> Float[np.ndarray, " f"]:
    """Logarithm of the mean power of columns at each frequency, above the median of the frequencies around it."""
    window = np.hanning(len(columns))[:, None]
    spectrum = np.fft.rfft((columns - columns.mean(axis=0)) * window, axis=0)
    power = np.log(np.maximum((np.abs(spectrum) ** 2).mean(axis=1), 1e-12))
    return np.asarray(power - ndimage.median_filter(power, 2 * _SURROUNDINGS + 1, mode="nearest"), dtype=float)


class _Planes:
    """Planes normal to a line through a volume."""

    def __init__(self, volume: Volume, line: Points, frames: Float[np.ndarray, "n 3 3"]) -> None:
        self._volume, self._line, self._frames = volume, line, frames
        self._outside = float(np.median(volume))

    def at(self, places: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "n k"]:
        """Densities at places y, x of each plane, in voxels from the line; what lies outside has the median."""
        parts = []
        for start in range(0, len(self._line), _TOGETHER):
            points = self._places(places, slice(start, start + _TOGETHER))
            parts.append(
                ndimage.map_coordinates(
                    self._volume, points, order=1, mode="constant", cval=self._outside, output=np.float32
                )
            )
        return np.concatenate(parts).astype(float)

    def has(self, places: Float[np.ndarray, "k 2"]) -> bool:
        """Whether nearly all of these places lie in the volume."""
        points = self._places(places[::8], slice(None, None, 4)).reshape(3, -1).T
        return bool(((points >= 0) & (points <= np.array(self._volume.shape) - 1)).all(axis=1).mean() > 0.9)

    def _places(self, places: Float[np.ndarray, "k 2"], part: slice) -> Float[np.ndarray, "3 m k"]:
        """Coordinates of the same places in some of the planes."""
        offsets = np.einsum("nij,kj->ink", self._frames[part][:, :, 1:], places)
        return np.asarray(offsets + self._line[part].T[:, :, None], dtype=float)


def _crop(tomogram: BinnedTomogram, points: Points, reach: float) -> tuple[Volume, Float[np.ndarray, " 3"]]:
    """The part of a tomogram around a line, and where it begins."""
    low = np.maximum(np.floor(points.min(axis=0) - 1.5 * reach).astype(int), 0)
    high = np.minimum(np.ceil(points.max(axis=0) + 1.5 * reach).astype(int) + 1, tomogram.shape)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return tomogram.voxels.crop((z, y, x)), low.astype(float)


def _without(columns: Columns, is_measured: Bool[np.ndarray, " n"]) -> Columns:
    """Columns whose densities that were not measured are replaced by the mean of the others."""
    if is_measured.all() or not is_measured.any():
        return columns
    return np.where(is_measured[:, None], columns, columns[is_measured].mean(axis=0))


def _average(box: Float[np.ndarray, "n h w"], is_measured: Bool[np.ndarray, " n"], spacing: float) -> Volume:
    """Mean of stretches as long as the box is wide, whose starts are a spacing apart."""
    length = min(box.shape[1], len(box))
    total, n_added = np.zeros((length, *box.shape[1:])), 0
    mean = box[is_measured].mean(axis=0) if is_measured.any() else box.mean(axis=0)
    for start in np.arange(0, len(box) - length + 1e-6, spacing):
        first, share = int(start), start - int(start)
        stop = first + length + (share > 0)
        if stop > len(box) or not is_measured[first:stop].all():
            continue
        part = box[first : first + length]
        total += part if not share else (1 - share) * part + share * box[first + 1 : first + 1 + length]
        n_added += 1
    return (total / n_added if n_added else np.broadcast_to(mean, total.shape)).astype(np.float32)


def _densest(average: Volume) -> float:
    """Radius in voxels of the densest ring around the axis; 0 for a solid filament."""
    plane = average.mean(axis=0)
    distance = np.hypot(*(np.indices(plane.shape) - (np.array(plane.shape)[:, None, None] - 1) / 2))
    ring = np.rint(distance).astype(int)
    means = np.bincount(ring.ravel(), plane.ravel()) / np.bincount(ring.ravel())
    return float(np.argmax(means[: plane.shape[0] // 2 + 1]))
