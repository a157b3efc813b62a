"""Where a volume has sheets: ridges of plate-like density, and how well they support each other.

A voxel is a ridge if the second derivatives are those of a plate (one strongly negative eigenvalue, the others small)
and the maximum along the plate's normal lies in the voxel (Steger 1998). Ridges then vote for each other, as in tensor
voting (Medioni 2000): two support each other if one smooth surface can pass through both. The same is done in the
inverted volume; what it holds is noise, and tells how much support noise gives.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import fft, ndimage
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Progress, Scores, Volume
from cryosam.config import RidgeSettings
from cryosam.structures.binned import Binned

__all__ = ["Ridges", "membrane_saliency", "supported_ridges", "without_phases"]

_LEAST_VOTE = 0.01
"""Weaker votes are not counted: most pairs do not agree, and would take the memory."""


@dataclass(frozen=True, eq=False)
class Ridges:
    """Ridges of a volume, in its own voxels.

    Parameters
    ----------
    points, normals
        ``(n, 3)`` z, y, x in voxels of the binned volume, at most one in a voxel, and unit normals of either sign.
    saliency
        ``(n,)`` support by other ridges; 1 is that of a flat sheet as strong as the median of all ridges.
    low
        Saliency above which the inverted volume has at most the settings' share of the volume's ridges; at most the
        median of what is above ``noise``, because real surfaces have bright and dark sides.
    noise
        Saliency above which noise with the volume's power spectrum has at most that share: a lower level.
    shape
        Of the binned volume.
    """

    points: Points
    normals: Points
    saliency: Scores
    low: float
    noise: float
    shape: tuple[int, int, int]

    def above(self, level: float) -> "Ridges":
        """The ridges whose saliency is at least ``level``."""
        return self.where(self.saliency >= level)

    def where(self, keep: Bool[np.ndarray, " n"]) -> "Ridges":
        """The ridges that are kept."""
        return Ridges(self.points[keep], self.normals[keep], self.saliency[keep], self.low, self.noise, self.shape)


def membrane_saliency(
    volume: Binned, settings: RidgeSettings | None = None, *, progress: Progress | None = None
) -> Ridges:
    """Find the ridges of a volume and how well each is supported.

    Parameters
    ----------
    volume
        Protein bright; 15 to 35 angstrom a voxel suit the default settings.
    settings
        How ridges are found.
    progress
        Called as ``progress("ridges", done, total)``.

    Examples
    --------
    >>> data = np.random.default_rng(0).normal(size=(24, 80, 32)).astype(np.float32)
    >>> data[:, 14] += 4
    >>> ridges = membrane_saliency(Binned(data, 1, 20.0))
    >>> bool((np.abs(ridges.above(ridges.low).points[:, 1] - 14) < 1).mean() > 0.9)
    True
    """
    settings = settings or RidgeSettings()
    report = progress or (lambda *_: None)
    report("ridges", 0, 2)
    points, normals, strength, level = _ridges(volume.data, volume.voxel_size_angstrom, settings)
    saliency = _saliency(points, normals, strength, volume, settings)
    report("ridges", 1, 2)
    if not len(points):
        return Ridges(points, normals, saliency, np.inf, np.inf, volume.data.shape)

    def supported(data: Volume) -> tuple[Points, Scores]:
        at, _, support, _ = supported_ridges(replace(volume, data=data), settings, level)
        return at, support

    with ThreadPoolExecutor(2) as pool:  # much of the work is in functions that let other threads run
        inverted, random = pool.map(supported, (-volume.data, without_phases(volume.data)))
    null_points, null = inverted
    noise = _low_level(saliency, random[1], settings.false_share)
    report("ridges", 2, 2)
    fringe = _are_fringes(null_points, null, points, saliency, settings.fringe_angstrom / volume.voxel_size_angstrom)
    above = saliency[saliency >= noise]
    low = min(
        _low_level(saliency, null[~fringe], settings.false_share), float(np.median(above)) if len(above) else noise
    )
    scale = float(np.median(strength))
    return Ridges(points, normals, saliency / scale, max(low, noise) / scale, noise / scale, volume.data.shape)


def supported_ridges(
    volume: Binned, settings: RidgeSettings, level: float | None = None
) -> tuple[Points, Points, Scores, float]:
    """Ridges of a volume: points, normals, and the support of each by the others, in the units of the volume.

    Parameters
    ----------
    volume, settings
        As for `membrane_saliency`.
    level
        How much like a plate a voxel must be; returned as well. If it is not given, the settings' share of the voxels
        passes.
    """
    points, normals, strength, level = _ridges(volume.data, volume.voxel_size_angstrom, settings, level)
    return points, normals, _saliency(points, normals, strength, volume, settings), level


def without_phases(data: Volume) -> Volume:
    """A volume of noise with the same power spectrum."""
    spectrum = fft.rfftn(data)
    white = fft.rfftn(np.random.default_rng(0).standard_normal(data.shape, dtype=np.float32))
    spectrum = np.abs(spectrum) * (white / (np.abs(white) + np.float32(1e-6)))
    return fft.irfftn(spectrum, s=data.shape).astype(np.float32)


def _ridges(
    data: Volume, voxel_size: float, settings: RidgeSettings, level: float | None = None
) -> tuple[Points, Points, Scores, float]:
    """Points on ridges, normals and strength, from the voxels that are most like a plate, and the least strength."""
    smooth = []
    for sigma in settings.sigmas_angstrom:
        width = max(sigma / voxel_size, 0.7)  # below, a Gaussian on voxels has no second derivative to speak of
        smooth.append(ndimage.gaussian_filter(data, width, mode="nearest") * np.float32(width**2))
    plate = np.zeros(data.shape, dtype=np.float32)
    which = np.zeros(data.shape, dtype=np.uint8)
    for z in range(1, data.shape[0] - 1):
        for number, each in enumerate(smooth):
            strength = _plate(each[z - 1 : z + 2])
            better = strength > plate[z, 1:-1, 1:-1]
            plate[z, 1:-1, 1:-1][better] = strength[better]
            which[z, 1:-1, 1:-1][better] = number
    if level is None:
        inner = plate[1:-1:2, 1:-1:2, 1:-1:2]
        level = max(float(np.quantile(inner, 1 - settings.share)), 0.0) if inner.size else np.inf
    chosen = plate > level
    found = []
    for number, each in enumerate(smooth):
        at = np.argwhere(chosen & (which == number))
        for part in np.array_split(at, max(len(at) // 100_000, 1)):
            offset, normals = _maximum(each, part)
            inside = np.abs(offset) <= settings.offset
            points = part + offset[:, None] * normals
            found.append((points[inside], normals[inside], plate[tuple(part[inside].T)]))
    points, normals, strengths = (np.concatenate(each) for each in zip(*found, strict=True))
    return *_one_in_a_voxel(points, normals, strengths.astype(float), data.shape), level


def _plate(three: Volume) -> Float[np.ndarray, "h w"]:
    """How much like a bright plate the inner voxels of the middle one of three sections are: -e3 - |e2|, at least 0."""
    zz, yy, xx, zy, zx, yx = _second_derivatives(three)
    third = (zz + yy + xx) / 3
    zz, yy, xx = zz - third, yy - third, xx - third
    square = (zz**2 + yy**2 + xx**2 + 2 * (zy**2 + zx**2 + yx**2)) / 6
    radius = np.sqrt(square) + np.float32(1e-12)
    half_determinant = (zz * (yy * xx - yx**2) - zy * (zy * xx - yx * zx) + zx * (zy * yx - yy * zx)) / (2 * radius**3)
    angle = np.arccos(np.clip(half_determinant, -1, 1)) / 3
    first = third + 2 * radius * np.cos(angle)
    last = third + 2 * radius * np.cos(angle + np.float32(2 * np.pi / 3))
    middle = 3 * third - first - last
    return np.maximum(-last - np.abs(middle), 0)


def _second_derivatives(three: Volume) -> tuple[Float[np.ndarray, "h w"], ...]:
    """zz, yy, xx, zy, zx, yx of the inner voxels of the middle one of three sections, by central differences."""
    below, here, above = three
    mid = here[1:-1, 1:-1]
    zz = (above + below)[1:-1, 1:-1] - 2 * mid
    yy = here[2:, 1:-1] + here[:-2, 1:-1] - 2 * mid
    xx = here[1:-1, 2:] + here[1:-1, :-2] - 2 * mid
    rise = above - below
    zy = (rise[2:, 1:-1] - rise[:-2, 1:-1]) / 4
    zx = (rise[1:-1, 2:] - rise[1:-1, :-2]) / 4
    yx = (here[2:, 2:] - here[2:, :-2] - here[:-2, 2:] + here[:-2, :-2]) / 4
    return zz, yy, xx, zy, zx, yx


def _maximum(smooth: Volume, at: Int[np.ndarray, "n 3"]) -> tuple[Scores, Points]:
    """Distance of the maximum along the normal from each voxel, and the normal: the direction that bends most."""
    flat = smooth.reshape(-1)
    _, height, width = smooth.shape
    step = np.array([height * width, width, 1])
    index = at @ step

    def value(move: Int[np.ndarray, " 3"]) -> Scores:
        return flat[index + int(move @ step)].astype(float)

    hessian = np.empty((len(at), 3, 3))
    gradient = np.empty((len(at), 3))
    axes = np.eye(3, dtype=int)
    for a in range(3):
        ahead, behind = value(axes[a]), value(-axes[a])
        gradient[:, a] = (ahead - behind) / 2
        hessian[:, a, a] = ahead + behind - 2 * value(0 * axes[a])
        for b in range(a):
            both, other = axes[a] + axes[b], axes[a] - axes[b]
            hessian[:, a, b] = hessian[:, b, a] = (value(both) + value(-both) - value(other) - value(-other)) / 4
    bends, directions = np.linalg.eigh(hessian)
    normals = directions[:, :, 0]
    along = np.einsum("ni,ni->n", gradient, normals)
    return -along / np.minimum(bends[:, 0], -1e-12), normals


def _one_in_a_voxel(
    points: Points, normals: Points, strengths: Scores, shape: tuple[int, ...]
) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m 3"], Float[np.ndarray, " m"]]:
    """The strongest point of each voxel, in the order of voxels."""
    flat = np.ravel_multi_index(tuple(_voxels(points, shape).T), shape)
    order = np.lexsort((-strengths, flat))
    first = order[np.unique(flat[order], return_index=True)[1]]
    return points[first], normals[first], strengths[first]


def _voxels(points: Points, shape: tuple[int, ...]) -> Int[np.ndarray, "n 3"]:
    return np.clip(np.round(points).astype(int), 0, np.array(shape) - 1)


def _saliency(points: Points, normals: Points, strength: Scores, volume: Binned, settings: RidgeSettings) -> Scores:
    """Support of each ridge by the others, after all rounds of voting."""
    votes = list(_votes(points, normals, volume, settings))
    support = strength
    for _ in range(settings.n_rounds):
        total = np.zeros(len(points))
        for first, second, weight in votes:
            total += np.bincount(first, weight * support[second], len(points))
            total += np.bincount(second, weight * support[first], len(points))
        support = total / _flat_support(volume.voxel_size_angstrom, settings)
    return support


_Votes = tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Float[np.ndarray, " n"]]


def _votes(points: Points, normals: Points, volume: Binned, settings: RidgeSettings) -> Iterator[_Votes]:
    """Pairs of ridges within reach, and how well they agree; a pair is given once.

    Ridges are at most one in a voxel, so that the neighbours at each offset are read from a volume of their numbers.
    """
    reach = settings.reach_angstrom / volume.voxel_size_angstrom
    decay = settings.decay_angstrom / volume.voxel_size_angstrom
    margin = int(reach)
    at = _voxels(points, volume.data.shape) + margin
    numbers = np.full([n + 2 * margin for n in volume.data.shape], -1, dtype=np.int32)
    numbers[tuple(at.T)] = np.arange(len(points))
    index = np.ravel_multi_index(tuple(at.T), numbers.shape)
    _, height, width = numbers.shape
    step = np.array([height * width, width, 1])
    flat, place, direction = numbers.reshape(-1), points.astype(np.float32), normals.astype(np.float32)
    for offset in _half_ball(reach):
        second = flat[index + int(offset @ step)]
        first = np.flatnonzero(second >= 0).astype(np.int32)
        second = second[first]
        apart = place[second] - place[first]
        square = np.einsum("ni,ni->n", apart, apart)
        apart /= np.sqrt(square + np.float32(1e-6))[:, None]
        mine = np.einsum("ni,ni->n", apart, direction[first])
        other = np.einsum("ni,ni->n", apart, direction[second])
        both = np.einsum("ni,ni->n", direction[first], direction[second])
        # the normal that a circle through both points has at the second one, if it has the first one's at the first
        parallel = np.clip(both - 2 * mine * other, -1, 1) ** settings.power
        tangential = ((1 - mine**2) * (1 - other**2)) ** (settings.power / 2)
        weight = parallel * tangential * np.exp(-square / np.float32(2 * decay**2))
        keep = weight > _LEAST_VOTE
        yield first[keep], second[keep], weight[keep]


def _half_ball(radius: float) -> Int[np.ndarray, "n 3"]:
    """Offsets within a radius, one of each pair of opposite ones."""
    reach = int(radius)
    offsets = np.argwhere(np.ones((2 * reach + 1,) * 3)) - reach
    offsets = offsets[(offsets**2).sum(axis=1) <= radius**2]
    return offsets[len(offsets) // 2 + 1 :]


def _flat_support(voxel_size: float, settings: RidgeSettings) -> float:
    """Support that a point in an endless flat sheet gets, in which there is one ridge for each voxel of its area."""
    decay, reach = settings.decay_angstrom / voxel_size, settings.reach_angstrom / voxel_size
    return float(2 * np.pi * decay**2 * (1 - np.exp(-(reach**2) / (2 * decay**2))))


def _are_fringes(
    points: Points,
    saliency: Scores,
    real: Float[np.ndarray, "m 3"],
    real_saliency: Float[np.ndarray, " m"],
    distance: float,
) -> Bool[np.ndarray, " n"]:
    """Which ridges of the inverted volume lie beside a ridge of the volume that is at least twice as salient."""
    is_fringe = np.zeros(len(points), dtype=bool)
    # octave by octave, so that one query serves all ridges of a saliency
    for level in real_saliency.max(initial=0.0) * 0.5 ** np.arange(1, 12):
        strong = real_saliency >= 2 * level
        mine = ~is_fringe & (saliency < level)
        if strong.any() and mine.any():
            near = cKDTree(real[strong]).query(points[mine], distance_upper_bound=distance)[0]
            is_fringe[np.flatnonzero(mine)[np.isfinite(near)]] = True
    return is_fringe


def _low_level(saliency: Scores, null: Float[np.ndarray, " m"], false_share: float) -> float:
    """Least level above which noise gives at most a share of the ridges; infinite if there is none."""
    levels = np.sort(saliency)
    false = len(null) - np.searchsorted(np.sort(null), levels)
    fails = np.flatnonzero(false > false_share * np.arange(len(levels), 0, -1))
    first = int(fails[-1]) + 1 if len(fails) else 0
    return float(levels[first]) if first < len(levels) else np.inf
