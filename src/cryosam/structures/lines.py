"""A bank of line integrals: how much a volume looks like a line, at each voxel, in any direction."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from cryosam.arrays import Points, Progress, Scores, Volume
from cryosam.geometry import half_sphere
from cryosam.intensities import MAD_TO_DEVIATION

__all__ = ["LineMap", "integrate_lines", "line_steps", "mean_along", "null_level"]

_SAMPLE = 100_000  # voxels from which the deviation of a direction is measured
_WORKERS = 2


@dataclass(frozen=True, eq=False)
class LineMap:
    """The strongest line through each voxel.

    Parameters
    ----------
    strength
        ``(z, y, x)`` mean along the line, in robust standard deviations of all lines of that direction.
    direction
        ``(z, y, x)`` index of its direction.
    opposite
        Strength of the strongest line of the inverted volume: what chance and imaging give.
    opposite_direction
        Index of its direction.
    tangents
        ``(n, 3)`` unit vectors of the directions.
    deviations
        ``(n,)`` robust standard deviation of the mean along a line, for each direction.
    """

    strength: Volume
    direction: Int[np.ndarray, "z y x"]
    opposite: Volume
    opposite_direction: Int[np.ndarray, "z y x"]
    tangents: Points
    deviations: Scores


def line_steps(length: int, n: int) -> Int[np.ndarray, "k 3"]:
    """Whole steps from the middle of a line of ``2 length`` voxels to its end, in about ``n`` directions.

    Examples
    --------
    >>> line_steps(4, 3).tolist()
    [[1, -4, 1], [2, 2, -3], [3, 1, 2]]
    """
    steps = np.rint(half_sphere(n) * length).astype(int)
    return np.array(sorted({tuple(each) for each in steps.tolist()}))


def integrate_lines(volume: Volume, half_length: int, n_directions: int, progress: Progress | None = None) -> LineMap:
    """Take the mean along lines around each voxel, in all directions, and keep the strongest.

    A line of 2, 4, 8, ... voxels is the sum of two lines of half the length, so that a direction costs few additions.
    The background of each direction has its own deviation: the wedge favours some.

    Parameters
    ----------
    volume
        ``(z, y, x)``; zero outside.
    half_length
        Half of the length of the lines in voxels; the next power of two counts.
    n_directions
        About how many directions over half a sphere.
    progress
        Called for each direction.
    """
    half = 2 ** max(int(np.ceil(np.log2(max(half_length, 1)))), 0)
    steps = line_steps(half, n_directions)
    padded = np.pad(volume.astype(np.float32, copy=False), half)
    stride = max(1, int((volume.size / _SAMPLE) ** (1 / 3)))
    strength = np.full(volume.shape, -np.inf, dtype=np.float32)
    opposite = strength.copy()
    direction, opposite_direction = (np.zeros(volume.shape, dtype=np.int16) for _ in range(2))
    deviations = np.zeros(len(steps))

    def integrate(index: int) -> Volume:
        line = _line(padded, steps[index], half)
        sample = line[::stride, ::stride, ::stride]
        deviations[index] = max(MAD_TO_DEVIATION * float(np.median(np.abs(sample - np.median(sample)))), 1e-9)
        line /= deviations[index]
        return line

    with ThreadPoolExecutor(_WORKERS) as pool:
        for start in range(0, len(steps), _WORKERS):
            some = range(start, min(start + _WORKERS, len(steps)))
            for index, line in zip(some, pool.map(integrate, some), strict=True):
                _keep(line, index, strength, direction)
                _keep(np.negative(line, out=line), index, opposite, opposite_direction)
                if progress is not None:
                    progress("lines", index + 1, len(steps))
    tangents = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    return LineMap(strength, direction, opposite, opposite_direction, tangents, deviations)


def _keep(line: Volume, index: int, strongest: Volume, direction: Int[np.ndarray, "z y x"]) -> None:
    """Update the strongest and its direction."""
    np.putmask(direction, line > strongest, np.int16(index))
    np.maximum(strongest, line, out=strongest)


def _line(padded: Float[np.ndarray, "pz py px"], step: Int[np.ndarray, " 3"], half: int) -> Volume:
    """Mean over the line from ``-step`` to ``step`` around each voxel of a volume that is padded by ``half``."""
    out, n = padded.copy(), 1
    while n < 2 * half:
        shift = np.rint(step * (n / half)).astype(int)
        here, there = _overlap(shift, out.shape)
        following = out.copy()
        following[here] += out[there]
        out, n = following, 2 * n
    start = [half - int(s) for s in step]  # the line that is centred on a voxel starts at minus the step
    shape = [m - 2 * half for m in padded.shape]
    return out[tuple(slice(a, a + m) for a, m in zip(start, shape, strict=True))] / np.float32(n)


def _overlap(shift: Int[np.ndarray, " 3"], shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a voxel and the one at a shift from it are both inside."""
    here = tuple(slice(max(-s, 0), n - max(s, 0)) for s, n in zip(shift.tolist(), shape, strict=True))
    there = tuple(slice(max(s, 0), n - max(-s, 0)) for s, n in zip(shift.tolist(), shape, strict=True))
    return here, there


def mean_along(
    volume: Volume, centres: Float[np.ndarray, "n 3"], tangents: Points, steps: Float[np.ndarray, " k"]
) -> Scores:
    """Mean of a volume along a straight piece, for each of several points; only what is inside counts."""
    places = centres[:, None, :] + tangents[:, None, :] * steps[None, :, None]
    is_inside = ((places >= 0) & (places <= np.array(volume.shape) - 1)).all(axis=-1)
    values = ndimage.map_coordinates(volume, np.moveaxis(places, -1, 0), order=1, mode="nearest", output=np.float32)
    return np.asarray((values * is_inside).sum(axis=1) / np.maximum(is_inside.sum(axis=1), 1), dtype=float)


def null_level(strength: Scores, null: Float[np.ndarray, " k"], false_share: float, least: int) -> float:
    """The level above which the inverted volume has at most a share of the places of the volume; both descend."""
    if not len(strength):
        return np.inf
    n_null = np.searchsorted(-null, -strength, side="right")
    is_fine = n_null <= false_share * np.arange(1, len(strength) + 1)
    # where chance outnumbers even the strongest, these are looked at all the same: their length decides
    last = int(np.flatnonzero(is_fine)[-1]) if is_fine.any() else 0
    return float(strength[max(last, min(least, len(strength)) - 1)])
