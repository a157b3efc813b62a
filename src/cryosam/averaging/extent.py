"""The full extent of particles, from an average in a box wider than their masks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from cryosam.arrays import Points
from cryosam.averaging.fourier import FourierFrame, rotate_to_reference, wedge_weighted_average
from cryosam.averaging.subtomograms import Subtomograms
from cryosam.geometry import ball_diameter
from cryosam.missing_wedge import MissingWedge
from cryosam.tomogram import Voxels

__all__ = ["Extent", "find_extent"]

_WIDTH = 2.5  # diameters, width of the region that is averaged
_SIZE_PX = 25  # largest width of that region in pixels
_MOST = 32  # largest number of particles that are averaged
_SURE, _DENSE = 4.0, 0.35  # least density: standard deviations of the noise, and fraction of the highest density
_PART = 0.2  # fraction of the largest part's volume: smaller parts do not count
_BORDER = 0.92  # fraction of the mask's radius: parts that reach beyond it do not end within the box
_SHARED = 0.3  # fraction of the particles that have another particle at a part: from here on it is a neighbour


@dataclass(frozen=True)
class Extent:
    """Centre and size of a particle's density.

    Parameters
    ----------
    centre
        ``(3,)`` z, y, x of the centre of mass in voxels, relative to the averaged points, in the frame of the average.
    diameter
        Diameter of a ball of the same volume, in voxels.
    """

    centre: Float[np.ndarray, " 3"]
    diameter: float


def find_extent(
    tomogram: Voxels,
    points: Points,
    rotations: Rotation,
    diameter: float,
    wedge: MissingWedge,
    device: str = "cpu",
) -> Extent | None:
    """Find the centre and size of whole particles from their average around points on them.

    If a particle has two loosely connected parts, a click on one of them finds and aligns only that part. In the
    average of many particles, the other part stands out from the noise too. Two sorts of parts are ignored: those at
    which other detections lie, which are neighbours, and those that reach out of the box, such as a membrane.

    Parameters
    ----------
    tomogram
        Normalised tomogram, protein bright.
    points
        ``(n, 3)`` z, y, x in voxels, the most probable first; n at least 2.
    rotations
        Rotations that bring the average into the orientation of each particle.
    diameter
        Diameter of the masks, in voxels.
    wedge
        Tells which frequencies the tilt series sampled.
    device
        Device for the computation.

    Returns
    -------
    extent
        None if no density stands out at the points, or if that density reaches out of the box.

    Examples
    --------
    >>> from cryosam.tomogram import Tomogram
    >>> volume = np.random.default_rng(0).normal(0, 1.0, (40, 120, 120)).astype(np.float32)
    >>> centres = np.array([[20.0, y, x] for y in (20, 60, 100) for x in (20, 60, 100)])
    >>> turns = Rotation.random(9, random_state=0)
    >>> for arm in ([0, 0, 0], [0, 0, 8]):
    ...     volume[tuple(np.round(centres + turns.apply(arm)).astype(int).T)] += 200
    >>> tomogram = Tomogram(ndimage.gaussian_filter(volume, 2.0))
    >>> found = find_extent(tomogram, centres, turns, 8.0, MissingWedge())
    >>> None if found is None else found.centre.round()
    array([0., 0., 4.])
    """
    width = _WIDTH * diameter
    step = max(1.0, width / _SIZE_PX)
    frame = FourierFrame.around(width / step, width / step, wedge, device)
    cut = Subtomograms(tomogram, step, frame, frame.mask[None][:0])
    density, is_inside = _density(cut, points[:_MOST], rotations[:_MOST])
    least = max(_SURE, _DENSE * float(np.quantile(density[is_inside], 0.995)))
    parts, n_parts = ndimage.label((density > least) & is_inside, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=n_parts + 1)
    sizes[0] = 0
    middle = len(density) // 2
    radius = np.linalg.norm(np.indices(density.shape).T - middle, axis=-1).T
    reaches_out = np.unique(parts[radius > _BORDER * radius[is_inside].max()])
    counts = sizes >= _PART * max(1, sizes.max())
    counts[reaches_out] = False
    for part in np.flatnonzero(counts):
        place = cut.step * (np.array(ndimage.center_of_mass(parts == part)) - middle)
        counts[part] = not _is_neighbour(points, rotations, place, diameter)
    nearest = np.where(parts > 0, radius, np.inf)
    own = parts.ravel()[nearest.argmin()]
    if nearest.min() > diameter / 2 / cut.step or not counts[own]:
        return None
    is_particle: Bool[np.ndarray, "e e e"] = counts[parts]
    mass = np.minimum(density, 2 * least) * is_particle
    centre = cut.step * (np.array(ndimage.center_of_mass(mass)) - middle)
    return Extent(centre, ball_diameter(float(is_particle.sum())) * cut.step)


def _density(
    cut: Subtomograms, points: Points, rotations: Rotation
) -> tuple[Float[np.ndarray, "e e e"], Bool[np.ndarray, "e e e"]]:
    """The smoothed average in standard deviations of its noise, estimated from two halves; and where it is valid."""
    turned, samples = rotate_to_reference(cut.frame, cut.cut(points), rotations, np.zeros((len(points), 3)))
    halves = (wedge_weighted_average(cut.frame, turned[k::2], samples[k::2]).cpu().numpy() for k in range(2))
    first, second = (ndimage.gaussian_filter(half, 1.0) for half in halves)
    is_inside = cut.frame.mask.cpu().numpy() > 0.5
    density: Float[np.ndarray, "e e e"] = (first + second) / (float(np.std((first - second)[is_inside])) + 1e-12)
    return density, is_inside


def _is_neighbour(points: Points, rotations: Rotation, place: Float[np.ndarray, " 3"], diameter: float) -> bool:
    """Whether a place in the average, more than half a diameter from the centre, holds other particles."""
    if np.linalg.norm(place) < diameter / 2:
        return False
    distances, nearest = cKDTree(points).query(points + rotations.apply(place))
    is_other = (distances < diameter / 2) & (nearest != np.arange(len(points)))
    return bool(is_other.mean() >= _SHARED)
