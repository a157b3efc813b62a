"""Density across a sheet: the profile along its normal, which tells its kind and its thickness."""

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from cryosam.arrays import Points, Volume
from cryosam.structures.binned import BinnedTomogram

__all__ = ["across", "alike", "mean_profile", "measured_thickness", "patch_means", "patches", "thickness"]

_MOST_POINTS = 3000
"""Points of a sheet from which its thickness is measured."""

_SLAB = 32
"""Voxels along z that are read together."""

_LEAST_STEP = 4.0
"""Angstrom, finest step of a profile."""

Profile = Float[np.ndarray, " k"]
Profiles = Float[np.ndarray, "m k"]


def across(data: Volume, points: Points, normals: Points, offsets: Profile) -> Float[np.ndarray, "n k"]:
    """Density at offsets from points along their normals; NaN outside the volume.

    Parameters
    ----------
    data
        ``(z, y, x)``.
    points, normals
        ``(n, 3)`` z, y, x in voxels of the volume, and unit normals.
    offsets
        ``(k,)`` voxels.

    Examples
    --------
    >>> data = np.zeros((9, 5, 5), dtype=np.float32)
    >>> data[4] = 1
    >>> across(data, np.array([[4.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 0.0]]), np.array([-1.0, 0.0, 0.5])).tolist()
    [[0.0, 1.0, 0.5]]
    """
    at = points[:, None, :] + offsets[None, :, None] * normals[:, None, :]
    flat = at.reshape(-1, 3)
    values = ndimage.map_coordinates(data, flat.T, order=1, mode="nearest", output=np.float64)
    is_out = ((flat < -0.5) | (flat > np.array(data.shape) - 0.5)).any(axis=1)
    values[is_out] = np.nan
    return values.reshape(at.shape[:2])


def patches(points: Points, edge: float) -> Int[np.ndarray, " n"]:
    """Number, from 0, of the cube of this edge in which each point lies.

    Examples
    --------
    >>> patches(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 9.0], [1.0, 1.0, 1.0]]), 5.0).tolist()
    [0, 1, 0]
    """
    cells = np.floor(points / edge).astype(int)
    return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)


def patch_means(profiles: Float[np.ndarray, "n k"], numbers: Int[np.ndarray, " n"], least: int) -> Profiles:
    """Mean profile of each patch that has at least so many points; offsets outside the volume are left out."""
    n = int(numbers.max(initial=-1)) + 1
    known = np.isfinite(profiles)
    total = np.stack([np.bincount(numbers, np.where(k, p, 0), n) for p, k in zip(profiles.T, known.T, strict=True)], 1)
    count = np.stack([np.bincount(numbers, k, n) for k in known.T], 1)
    enough = np.bincount(numbers, minlength=n) >= least
    return (total / np.where(count > 0, count, np.nan))[enough]


def alike(profiles: Profiles, model: Float[np.ndarray, " k"]) -> Float[np.ndarray, " m"]:
    """Correlation of each profile with a model, in [-1, 1], over the offsets that both have; 0 if that is undefined."""
    known = np.isfinite(profiles) & np.isfinite(model)
    number = np.maximum(known.sum(axis=1), 1)

    def centred(values: Profiles) -> Profiles:
        values = np.where(known, values, 0)
        return np.where(known, values - (values.sum(axis=1) / number)[:, None], 0)

    a, b = centred(profiles), centred(np.broadcast_to(model, profiles.shape))
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.where(size > 0, (a * b).sum(axis=1) / np.where(size > 0, size, 1), 0.0)


def measured_thickness(
    tomogram: BinnedTomogram, points: Points, normals: Points, reach_angstrom: float
) -> tuple[float, float]:
    """Thickness and full width of a sheet, in angstrom, from the tomogram's own voxels; see `thickness`.

    Parameters
    ----------
    tomogram
        The tomogram.
    points, normals
        ``(n, 3)`` on the sheet, z, y, x in voxels of the tomogram; some thousand of them are used.
    reach_angstrom
        Half of the length of the profile.
    """
    every = -(-len(points) // _MOST_POINTS)
    points, normals = points[::every], normals[::every]
    step = max(tomogram.voxel_size_angstrom / 2, _LEAST_STEP)
    n = round(reach_angstrom / step)
    offsets = np.arange(-n, n + 1) * step / tomogram.voxel_size_angstrom
    margin = offsets[-1] + 1
    profiles = []
    for number in np.unique(slab := (points[:, 0] // _SLAB).astype(int)):
        mine = slab == number
        low = np.clip(np.floor(points[mine].min(axis=0) - margin), 0, np.array(tomogram.shape) - 1).astype(int)
        high = np.minimum(np.ceil(points[mine].max(axis=0) + margin).astype(int) + 1, tomogram.shape)
        z, y, x = (slice(int(a), max(int(b), int(a) + 1)) for a, b in zip(low, high, strict=True))
        profiles.append(across(tomogram.voxels.crop((z, y, x)), points[mine] - low, normals[mine], offsets))
    return thickness(mean_profile(np.concatenate(profiles)), step)


def thickness(profile: Profile, step: float) -> tuple[float, float]:
    """Distance of two leaflets, or the width of one peak; and the full width of the peak or of both together.

    The width is that at half the height above the lower of the two valleys beside the peak. Two leaflets are counted
    where the middle lies below both peaks by a tenth of their height.

    Parameters
    ----------
    profile
        At equal steps, with the sheet in the middle.
    step
        Any unit; the answer has the same.

    Returns
    -------
    thickness, width
        NaN if there is no peak in the middle.

    Examples
    --------
    >>> x = np.arange(-15.0, 16.0)
    >>> distance, width = thickness(np.exp(-((x - 4) ** 2) / 4) + np.exp(-((x + 4) ** 2) / 4), 5.0)
    >>> round(distance), round(width)
    (40, 57)
    >>> round(thickness(np.exp(-(x**2) / 18), 5.0)[0])
    35
    """
    middle, n = len(profile) // 2, len(profile)
    reach = n // 4
    inner = profile[middle - reach : middle + reach + 1]
    if not np.isfinite(inner).all():
        return float("nan"), float("nan")
    peaks = [i for i in range(middle - reach, middle + reach + 1) if _is_peak(profile, i)]
    if not peaks:
        return float("nan"), float("nan")
    left = max((i for i in peaks if i <= middle), key=lambda i: profile[i], default=peaks[0])
    right = max((i for i in peaks if i >= middle), key=lambda i: profile[i], default=peaks[-1])
    base = min(np.nanmin(profile[: left + 1]), np.nanmin(profile[right:]))
    if right - left >= 2:
        dip, lower = profile[left : right + 1].min(), min(profile[left], profile[right])
        if dip > lower - 0.1 * (lower - base):
            left = right = left + int(np.argmax(profile[left : right + 1]))
    else:
        left = right = left if profile[left] >= profile[right] else right
    low = _crossing(profile, left, -1, (profile[left] + np.nanmin(profile[: left + 1])) / 2)
    high = _crossing(profile, right, 1, (profile[right] + np.nanmin(profile[right:])) / 2)
    width = (high - low) * step
    return ((_vertex(profile, right) - _vertex(profile, left)) * step if right > left else width), width


def _is_peak(profile: Profile, index: int) -> bool:
    if not 0 < index < len(profile) - 1:
        return False
    return bool(profile[index] >= profile[index - 1] and profile[index] > profile[index + 1])


def _vertex(profile: Profile, index: int) -> float:
    """Maximum of the parabola through a peak and its neighbours."""
    before, here, after = profile[index - 1 : index + 2]
    bend = before - 2 * here + after
    return index + (0.5 * float((before - after) / bend) if bend < 0 else 0.0)


def _crossing(profile: Profile, index: int, step: int, level: float) -> float:
    """Where the profile falls to a level, from an index on."""
    while 0 <= index + step < len(profile) and profile[index + step] > level:
        index += step
    following = index + step
    if not 0 <= following < len(profile) or not np.isfinite(profile[following]):
        return float(index)
    fall = profile[index] - profile[following]
    return index + step * float((profile[index] - level) / fall if fall > 0 else 0.0)


def mean_profile(profiles: Float[np.ndarray, "n k"]) -> Profile:
    """Mean over points, of the offsets that lie in the volume; NaN where none does."""
    known = np.isfinite(profiles)
    number = known.sum(axis=0)
    return np.where(number > 0, np.where(known, profiles, 0).sum(axis=0) / np.maximum(number, 1), np.nan)
