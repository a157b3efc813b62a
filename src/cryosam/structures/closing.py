"""Parts of closed membranes: which sheets lie on one ball, and which faint ridges lie on the surface through them.

The missing wedge and noise cut the image of a vesicle into parts. Parts that bend about one centre are taken together
if what they enclose is bounded by enough measured membrane; the surface between them is inferred, and said to be.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from cryosam.arrays import Points
from cryosam.geometry import unit
from cryosam.structures.ridges import Ridges
from cryosam.structures.sheets import Sheet
from cryosam.structures.surfaces import Field

__all__ = ["ball", "on_one_ball", "supporting"]

_ROUNDS = 4
"""Times that parts are looked for and the ball is fitted again."""

_RADII = (1.0, 0.7, 1.4)
"""Times the radius that a part has: first guesses, because a small part does not tell its radius well."""

_OFF_BALL = 0.25
"""Of the radius, how far a membrane may lie from the ball: an ellipsoid whose axes are as 1 to 1.6."""

_OFF_RADIUS = 0.77
"""Cosine of 40 degrees, the largest angle between a normal and the radius of the ball, as on that ellipsoid."""

_TESTED = 200
"""Points of a part that are tested."""

_SHARE = 0.7
"""Of a part's points, that must lie on the ball."""

_HEIGHT = 1.0
"""Voxels from the surface, of a faint ridge that supports it."""

_TURN = 0.87
"""Cosine of 30 degrees, the largest angle between the surface and a faint ridge that supports it."""


def ball(points: Points, normals: Points) -> tuple[Float[np.ndarray, " 3"], float]:
    """Centre and radius of the ball that fits best to points and normals; the radius is negative if they point inwards.

    Examples
    --------
    >>> normals = unit(np.random.default_rng(0).normal(size=(50, 3)))
    >>> centre, radius = ball(np.array([1.0, 2.0, 3.0]) + 5 * normals, normals)
    >>> centre.round(6).tolist(), round(radius, 6)
    ([1.0, 2.0, 3.0], 5.0)
    """
    apart, turn = points - points.mean(axis=0), normals - normals.mean(axis=0)
    radius = float((apart * turn).sum() / max(float((turn**2).sum()), 1e-9))
    return points.mean(axis=0) - radius * normals.mean(axis=0), radius


def on_one_ball(
    seed: int, sheets: Sequence[Sheet], free: Bool[np.ndarray, " n"], largest: float
) -> tuple[list[int], Sheet]:
    """Sheets that lie on one ball with a seed, and all their points with normals that point outwards.

    Parameters
    ----------
    seed
        Index of the sheet from which the ball is known.
    sheets
        All sheets.
    free
        ``(n,)`` which of them may be taken.
    largest
        Voxels, radius of the largest ball.
    """
    centre, radius = ball(sheets[seed].points, sheets[seed].normals)
    middle, best = sheets[seed].points.mean(axis=0), ([seed], sheets[seed])
    for factor in _RADII:
        if radius == 0 or not factor * abs(radius) <= largest:
            continue
        members, together = _grown(seed, sheets, free, middle + factor * (centre - middle), factor * abs(radius))
        if len(together.points) > len(best[1].points):
            best = members, together
    return best


def _grown(
    seed: int,
    sheets: Sequence[Sheet],
    free: Bool[np.ndarray, " n"],
    centre: Float[np.ndarray, " 3"],
    radius: float,
) -> tuple[list[int], Sheet]:
    """The sheets on a ball, which is fitted again with each that is found."""
    members: list[int] = []
    for _ in range(_ROUNDS):
        found = [i for i in np.flatnonzero(free).tolist() if i == seed or _fits(sheets[i], centre, radius)]
        together = _outwards([sheets[i] for i in found], centre)
        if found == members:
            break
        members = found
        centre, radius = ball(together.points, together.normals)
        radius = max(abs(radius), 1.0)
    return members, together


def _fits(sheet: Sheet, centre: Float[np.ndarray, " 3"], radius: float) -> bool:
    every = -(-len(sheet.points) // _TESTED)
    apart, normals = sheet.points[::every] - centre, sheet.normals[::every]
    is_near = np.abs(np.linalg.norm(apart, axis=1) - radius) <= _OFF_BALL * radius
    is_radial = np.abs(np.einsum("ni,ni->n", unit(apart), normals)) >= _OFF_RADIUS
    return bool((is_near & is_radial).mean() >= _SHARE)


def _outwards(sheets: Sequence[Sheet], centre: Float[np.ndarray, " 3"]) -> Sheet:
    """All points, with normals that point away from a centre; a sheet is turned as a whole."""
    signs = [np.sign(np.einsum("ni,ni->n", each.points - centre, each.normals).sum()) or 1.0 for each in sheets]
    return Sheet(
        np.concatenate([each.points for each in sheets]),
        np.concatenate([sign * each.normals for sign, each in zip(signs, sheets, strict=True)]),
        np.concatenate([each.saliency for each in sheets]),
    )


def supporting(surface: Field, ridges: Ridges) -> tuple[Bool[np.ndarray, " n"], Points]:
    """Which ridges lie on a surface and along it, and their normals, turned to the surface's side.

    Parameters
    ----------
    surface
        Field of the surface.
    ridges
        Faint ones, which alone would not tell a membrane from noise.
    """
    at = (ridges.points - surface.origin) / surface.cell
    gradients = [
        ndimage.map_coordinates(each, at.T, order=1, mode="nearest", output=np.float64)
        for each in np.gradient(surface.values)
    ]
    values = ndimage.map_coordinates(surface.values, at.T, order=1, mode="nearest", output=np.float64)
    gradient = np.stack(gradients, axis=1)
    slope = np.linalg.norm(gradient, axis=1)
    inside = ((at >= 0) & (at <= np.array(surface.values.shape) - 1)).all(axis=1)
    height = np.abs(values) / np.maximum(slope, 1e-9) * surface.cell
    along = -np.einsum("ni,ni->n", gradient, ridges.normals) / np.maximum(slope, 1e-9)
    keep = inside & (slope > 0) & (height <= _HEIGHT) & (np.abs(along) >= _TURN)
    return keep, ridges.normals * np.where(along < 0, -1.0, 1.0)[:, None]
