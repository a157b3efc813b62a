"""The average of given members, and where and how well it matches other places."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from cryosam.arrays import Points
from cryosam.averaging.correlation import fisher_z
from cryosam.averaging.fourier import rotate_to_reference, wedge_weighted_average
from cryosam.averaging.orientations import OrientationSearch

__all__ = ["MemberAverage", "average_members"]

_N_AVERAGES = 2  # times that members are aligned to their average; a third changes hardly anything


@dataclass(frozen=True, eq=False)
class MemberAverage:
    """An average of some places, and all places where it matches them best.

    Parameters
    ----------
    points
        ``(n, 3)`` centres z, y, x in voxels, moved to where the average matches best.
    z
        ``(n,)`` Fisher's z of the correlations there; a member is compared with an average from which it is excluded.
    template
        The mean of the members, corrected for the missing wedge.
    """

    points: Points
    z: Float[np.ndarray, " n"]
    template: Float[Tensor, "e e e"]


def average_members(
    search: OrientationSearch, points: Points, members: Int[np.ndarray, " k"], first: Float[Tensor, "e e e"]
) -> MemberAverage:
    """Average some places, and compare all places with the average.

    The members are aligned to a first template, and averaged; then to that average. Each time they move to where it
    matches best: the peak of a correlation is not the centre of a particle that is no ball.

    Parameters
    ----------
    search
        Compares particles of the kind's diameter.
    points
        ``(n, 3)`` centres z, y, x in voxels.
    members
        Indices of the places that are averaged, at least one.
    first
        The first template: a particle of the kind, or an average.

    Examples
    --------
    >>> from cryosam.config import AveragingConfig
    >>> from cryosam.tomogram import Tomogram
    >>> rng = np.random.default_rng(0)
    >>> volume = rng.normal(0, 0.02, (40, 60, 60)).astype(np.float32)
    >>> centres = np.array([[20.0, 15, 15], [20, 15, 45], [20, 45, 15]])
    >>> for z, y, x in centres.astype(int):
    ...     volume[z - 2 : z + 3, y - 2 : y + 3, x - 5 : x + 6] += 1
    >>> points = np.vstack([centres, [[20.0, 45, 45]]])
    >>> search = OrientationSearch.of(Tomogram(volume), 8.0, AveragingConfig())
    >>> found = average_members(search, points, np.arange(3), search.cut.cut(points[:1])[0])
    >>> bool(found.z[:3].min() > found.z[3])
    True
    """
    cut, frame = search.cut, search.cut.frame
    template, chosen = first, points[members]
    for _ in range(_N_AVERAGES):
        chosen, rotations, _ = search.moved(template, chosen)
        parts = rotate_to_reference(frame, cut.cut(chosen), rotations, np.zeros((len(chosen), 3)))
        template = wedge_weighted_average(frame, *parts)
    moved, _, z = search.moved(template, points)
    moved[members], _, z[members] = search.moved(template, chosen)
    if len(members) > 1:
        z[members] = fisher_z(search.compare_held_out(parts, cut.spectra(chosen), np.random.default_rng(0)))
    return MemberAverage(moved, z, template)
