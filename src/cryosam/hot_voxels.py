"""Hot voxels: single ones or thin lines far outside all other intensities, as from a damaged pixel or an X-ray."""

from itertools import product

import numpy as np
from jaxtyping import Bool, Integer, Num

from cryosam.arrays import AnyVolume

__all__ = ["sample_without_hot_voxels", "without_hot_voxels"]

_PERCENTILES = (1, 99)  # ordinary intensities: up to one voxel in a hundred may be hot
_FAR = 10.0  # times the distance of these percentiles: 46 standard deviations of noise
_MOST_NEIGHBOURS = 2  # far ones among the six, as in a line; with more it is part of an object, such as a gold marker


def without_hot_voxels(block: AnyVolume) -> AnyVolume:
    """Replace hot voxels by the median.

    A voxel is hot if it is ten times as far from the ordinary intensities as these are wide, and at most two of its six
    neighbours are so too. Filters, spectra and extreme percentiles would otherwise show nothing but hot voxels.

    Parameters
    ----------
    block
        ``(z, y, x)`` intensities, adjacent in the tomogram; may contain NaN.

    Returns
    -------
    block
        A view of the given array if it has no hot voxels, otherwise a changed copy.

    Examples
    --------
    >>> block = np.arange(105.0).reshape(3, 5, 7)
    >>> block[1, 2, 3] = -1e30
    >>> float(without_hot_voxels(block)[1, 2, 3])
    52.0
    """
    return sample_without_hot_voxels(block, (1, 1, 1))


def sample_without_hot_voxels(data: AnyVolume, steps: tuple[int, int, int]) -> Num[np.ndarray, "sz sy sx"]:
    """Take every n-th voxel, with hot voxels replaced by the median, see `without_hot_voxels`.

    Parameters
    ----------
    data
        ``(z, y, x)`` intensities; of a memory-mapped file little more than the sample is read.
    steps
        Distance of the sampled voxels along z, y, x.

    Examples
    --------
    >>> sample_without_hot_voxels(np.arange(105).reshape(3, 5, 7), (2, 3, 4))
    array([[[ 0,  4],
            [21, 25]],
    <BLANKLINE>
           [[70, 74],
            [91, 95]]])
    """
    one, two, three = steps
    sample = data[::one, ::two, ::three]
    low, high = _limits(sample)
    is_far = _is_far(sample, low, high)
    places = np.argwhere(is_far)
    if not len(places):
        return sample
    is_hot = _count_far_neighbours(data, places * np.array(steps), low, high) <= _MOST_NEIGHBOURS
    changed, ordinary = np.array(sample), np.nanmedian(sample[~is_far])
    changed[tuple(places[is_hot].T)] = ordinary
    return changed


def _limits(values: Num[np.ndarray, "..."]) -> tuple[np.float64, np.float64]:
    """Return the limits of all intensities that are not far; infinite if the ordinary ones are all the same.

    They are NumPy's numbers, because Python's would be rounded to the type of the voxels they are compared with.
    """
    finite: Num[np.ndarray, " n"] = values[np.isfinite(values)].astype(np.float64)
    low, high = np.percentile(finite, _PERCENTILES) if finite.size else np.zeros(2)
    reach = _FAR * (high - low) if high > low else np.inf
    return low - reach, high + reach


def _is_far(values: Num[np.ndarray, "..."], low: np.float64, high: np.float64) -> Bool[np.ndarray, "..."]:
    return ((values < low) | (values > high)) & np.isfinite(values)


def _count_far_neighbours(
    data: AnyVolume, places: Integer[np.ndarray, "n 3"], low: np.float64, high: np.float64
) -> Integer[np.ndarray, " n"]:
    """Count the far voxels among the six neighbours of each place."""
    count = np.zeros(len(places), dtype=np.int64)
    for axis, offset in product(range(3), (-1, 1)):
        near = places.copy()
        near[:, axis] += offset
        inside = (near[:, axis] >= 0) & (near[:, axis] < data.shape[axis])
        count[inside] += _is_far(data[tuple(near[inside].T)], low, high)
    return count
