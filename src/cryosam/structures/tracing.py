"""Following filaments: from a place and a direction to a line, and from pieces of lines to filaments."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import CubicSpline, splev, splprep
from scipy.spatial import cKDTree

from cryosam.arrays import Points, Volume
from cryosam.geometry import normals_of
from cryosam.structures.lines import mean_along
from cryosam.structures.radial_profile import cone

__all__ = ["Curve", "Taken", "Tracer", "cut_ends", "distance_from", "distinct", "join", "smooth"]

Vector = Float[np.ndarray, " 3"]

_RING_POINTS = 6  # directions in the first ring of the cone
_RECENTRE = 0.7  # voxels by which the line may move sideways in a step
_PARALLEL = np.cos(np.radians(30))  # lines at a smaller angle that touch are the same


@dataclass(frozen=True, eq=False)
class Curve:
    """A line through space.

    Parameters
    ----------
    points
        ``(n, 3)`` from one end to the other, z, y, x in voxels.
    is_inferred
        ``(n,)`` which points lie where a gap was bridged.
    """

    points: Points
    is_inferred: Bool[np.ndarray, " n"]

    @property
    def length(self) -> float:
        """Length in voxels."""
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())

    @property
    def tangents(self) -> Points:
        """``(n, 3)`` unit vectors."""
        if len(self.points) < 2:
            return np.tile([1.0, 0.0, 0.0], (len(self.points), 1))
        change = np.gradient(self.points, axis=0)
        return np.asarray(change / np.maximum(np.linalg.norm(change, axis=1, keepdims=True), 1e-9), dtype=float)

    def at(self, spacing: float) -> "Curve":
        """The same line with points at a spacing in voxels (rounded so that both ends are points)."""
        places = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(self.points, axis=0), axis=1))])
        is_new = np.concatenate([[True], np.diff(places) > 1e-9])
        places, points = places[is_new], self.points[is_new]
        if len(places) < 2:
            return Curve(points, self.is_inferred[is_new])
        new = np.linspace(0, places[-1], max(round(places[-1] / spacing), 1) + 1)
        line = CubicSpline(places, points) if len(places) > 3 else None
        moved = line(new) if line is not None else np.stack([np.interp(new, places, c) for c in points.T], axis=1)
        before = np.searchsorted(places, new + 1e-6, side="right") - 1  # both are the point itself where there is one
        after = np.minimum(np.searchsorted(places, new - 1e-6), len(places) - 1)
        flags = self.is_inferred[is_new]
        return Curve(np.asarray(moved, dtype=float), flags[before] | flags[after])


@dataclass(frozen=True, eq=False)
class Tracer:
    """Follows ridges of a filtered volume.

    Parameters
    ----------
    volume
        ``(z, y, x)`` filtered so that the axis of a filament is bright; 1 on the axis of the clicked one.
    step, ahead
        Voxels of a step, and of the line ahead that decides where it goes.
    low
        Mean ahead, below which a filament ends.
    most_turn
        Largest change of direction in a step, radians.
    distance
        Voxels within which two parallel lines are the same.
    """

    volume: Volume
    step: float
    ahead: float
    low: float
    most_turn: float
    distance: float

    def trace(self, place: Vector, tangent: Vector, taken: "Taken | None" = None) -> Curve:
        """The line through a place, both ways, up to where it ends or meets itself or a line that is taken."""
        place = self._centred(place, tangent)
        onwards = self._walk(place, tangent, taken)
        far = onwards[len(onwards) // 2 :]
        is_ring = len(onwards) * self.step > 4 * self.ahead and bool(
            (np.linalg.norm(far - place, axis=1) < 2 * self.distance).any()
        )
        back = onwards[:0] if is_ring else self._walk(place, -tangent, taken)
        points = np.concatenate([back[::-1], place[None], onwards])
        return Curve(points, np.zeros(len(points), dtype=bool))

    def _walk(self, place: Vector, tangent: Vector, taken: "Taken | None") -> Points:
        """The points after a place in one direction."""
        steps, points = np.arange(0, self.ahead + 0.5), []
        rings = np.linspace(0, self.most_turn, 5)[1:]
        penalty = 0.1 * (np.repeat([0, *range(1, 5)], [1, *(_RING_POINTS * np.arange(1, 5))]) / 4) ** 2
        for _ in range(int(4 * np.linalg.norm(self.volume.shape) / self.step)):
            candidates = cone(tangent, rings, _RING_POINTS)
            value = mean_along(self.volume, np.tile(place, (len(candidates), 1)), candidates, steps) - penalty
            tangent = candidates[int(np.argmax(value))]
            following = self._centred(place + self.step * tangent, tangent)
            inside = (following >= -0.5).all() and (following <= np.array(self.volume.shape) - 0.5).all()
            if not inside or float(mean_along(self.volume, following[None], tangent[None], steps)[0]) < self.low:
                break
            if taken is not None and taken.has_parallel(following, tangent, self.distance):
                break
            moved = following - place
            tangent = tangent + moved / max(float(np.linalg.norm(moved)), 1e-9)
            tangent /= np.linalg.norm(tangent)
            place = following
            points.append(place)
            before = points[: -round(4 * self.ahead / self.step)]
            if before and np.linalg.norm(np.array(before) - place, axis=1).min() < self.distance:
                return np.array(points)  # around a ring, once
        return self._extended(np.array(points).reshape(-1, 3), place, tangent)

    def _extended(self, points: Float[np.ndarray, "k 3"], place: Vector, tangent: Vector) -> Points:
        """The points, and those straight ahead up to where the filament is half as strong as the clicked one."""
        spread = np.arange(-1, 2) * self.step
        for distance in np.arange(self.step, self.ahead + self.step, self.step):
            following = place + distance * tangent
            inside = (following >= -0.5).all() and (following <= np.array(self.volume.shape) - 0.5).all()
            if not inside or float(mean_along(self.volume, following[None], tangent[None], spread)[0]) < 0.5:
                break
            points = np.concatenate([points, following[None]])
        return points

    def _centred(self, place: Vector, tangent: Vector) -> Vector:
        """The place moved sideways to where the line through it is brightest."""
        u, v = (each[0] for each in normals_of(tangent[None]))
        offsets = np.array([[0, 0], *[[np.cos(a), np.sin(a)] for a in np.pi / 4 * np.arange(8)]]) * _RECENTRE
        places = place + offsets[:, :1] * u + offsets[:, 1:] * v
        steps = np.arange(-self.ahead / 2, self.ahead / 2 + 0.5)
        value = mean_along(self.volume, places, np.tile(tangent, (len(places), 1)), steps)
        weight = np.clip(value - value.min(), 0, None) ** 2
        return np.asarray((weight[:, None] * places).sum(axis=0) / weight.sum() if weight.sum() > 0 else place)


class Taken:
    """Lines that were found already; there may be none."""

    def __init__(self, curves: list[Curve]) -> None:
        dense = [curve.at(1.0) for curve in curves]
        nothing = np.zeros((0, 3))
        self._tree = cKDTree(np.concatenate([nothing, *(curve.points for curve in dense)]))
        self._tangents = np.concatenate([nothing, *(curve.tangents for curve in dense)])

    def is_near(self, place: Vector, distance: float) -> bool:
        """Whether a line passes within a distance of a place, voxels."""
        return bool(np.isfinite(self._tree.query(place, distance_upper_bound=distance)[0]))

    def has_parallel(self, place: Vector, tangent: Vector, distance: float) -> bool:
        """Whether a line of about the same direction does."""
        near = self._tree.query_ball_point(place, distance)
        return bool(len(near) and (np.abs(self._tangents[near] @ tangent) > _PARALLEL).any())


def smooth(curve: Curve, spacing: float, deviation: float) -> Curve:
    """A smoothing spline through a line, with points at a spacing.

    Parameters
    ----------
    curve
        At least two points.
    spacing
        Voxels between points of the result.
    deviation
        Standard deviation in voxels with which the points scatter about the line.
    """
    is_new = np.concatenate([[True], np.linalg.norm(np.diff(curve.points, axis=0), axis=1) > 1e-9])
    curve = Curve(curve.points[is_new], curve.is_inferred[is_new])
    n = len(curve.points)
    if n < 5:
        return curve.at(spacing)
    fitted: Any = splprep(curve.points.T, s=n * deviation**2, k=3)  # scipy's own annotation is of no use
    points = np.stack(splev(fitted[1], fitted[0]), axis=1)
    return Curve(np.asarray(points, dtype=float), curve.is_inferred).at(spacing)


def cut_ends(curve: Curve, volume: Volume, reach: float) -> Curve:
    """The line between the outermost places where it is half as bright as in its median, within half a voxel.

    Parameters
    ----------
    curve
        In voxels of the volume.
    volume
        ``(z, y, x)`` in which lines are bright.
    reach
        Brightness is a mean over this distance in voxels to both sides along the line, so that it falls to a half at
        an end.

    Examples
    --------
    >>> volume = np.zeros((5, 5, 40), dtype=np.float32)
    >>> volume[2, 2, 10:31] = 1
    >>> line = Curve(np.array([[2.0, 2.0, x] for x in range(5, 36)]), np.zeros(31, dtype=bool))
    >>> cut_ends(line, volume, 2.0).points[[0, -1], 2].tolist()
    [9.5, 30.5]
    """
    dense = curve.at(0.5)
    if len(dense.points) < 3:
        return curve
    value = mean_along(volume, dense.points, dense.tangents, np.arange(-reach, reach + 0.5))
    bright = np.flatnonzero(2 * value >= np.median(value[~dense.is_inferred]))
    if not len(bright):
        return curve
    part = slice(bright[0], bright[-1] + 1)
    kept = Curve(dense.points[part], dense.is_inferred[part])
    return kept.at(curve.length / (len(curve.points) - 1))


def join(curves: list[Curve], most_gap: float, most_angle: float, spacing: float) -> list[Curve]:
    """Join lines that continue each other over a gap, nearest ends first.

    Parameters
    ----------
    curves
        The lines.
    most_gap
        Longest gap in voxels.
    most_angle
        Largest angle in radians between each end's direction and the way over the gap.
    spacing
        Voxels between the points in the gap, which are marked as inferred.
    """
    curves = list(curves)
    while True:
        pair = _nearest_ends(curves, most_gap, most_angle)
        if pair is None:
            return curves
        first, second = pair
        one, two = (c if not is_reversed else _reversed(c) for c, is_reversed in (first[1:], second[1:]))
        way = two.points[0] - one.points[-1]
        n = max(int(np.ceil(np.linalg.norm(way) / spacing)), 2)  # at least one point says that this is a gap
        bridge = one.points[-1] + way * (np.arange(1, n) / n)[:, None]
        is_inferred = [one.is_inferred, np.ones(len(bridge), dtype=bool), two.is_inferred]
        joined = Curve(np.concatenate([one.points, bridge, two.points]), np.concatenate(is_inferred))
        curves = [c for k, c in enumerate(curves) if k not in (first[0], second[0])] + [joined]


_End = tuple[int, Curve, bool]


def _nearest_ends(curves: list[Curve], most_gap: float, most_angle: float) -> tuple[_End, _End] | None:
    """The two ends that are joined next: of each the index, the line, and whether it must be reversed."""
    ends = [(k, c, is_start) for k, c in enumerate(curves) for is_start in (True, False)]
    if len(ends) < 4:
        return None
    places, ways = (np.array(each) for each in zip(*map(_outward, ends), strict=True))
    first, second = cKDTree(places).query_pairs(most_gap * (1 + 1e-9), output_type="ndarray").reshape(-1, 2).T
    apart = first // 2 != second // 2  # the two ends of one line follow each other
    first, second = first[apart], second[apart]
    way = places[second] - places[first]
    gap = np.linalg.norm(way, axis=1)
    way /= np.maximum(gap, 1e-9)[:, None]
    least = np.cos(most_angle)
    goes_on = np.einsum("ni,ni->n", -ways[first], ways[second]) >= least
    leads_there = np.stack([np.einsum("ni,ni->n", *pair) for pair in ((ways[first], way), (-ways[second], way))])
    fits = np.flatnonzero((gap <= most_gap) & goes_on & ((gap < 1) | (leads_there >= least).all(axis=0)))
    if not len(fits):
        return None
    best = fits[np.lexsort((second[fits], first[fits], gap[fits]))[0]]
    one, two = ends[first[best]], ends[second[best]]
    return one, (two[0], two[1], not two[2])


def _outward(end: _End) -> tuple[Vector, Vector]:
    """An end point, and the direction in which the line leaves there."""
    points = end[1].points if end[2] else end[1].points[::-1]
    inner = points[min(4, len(points) - 1)]
    way = points[0] - inner
    return points[0], way / max(float(np.linalg.norm(way)), 1e-9)


def _reversed(curve: Curve) -> Curve:
    return Curve(curve.points[::-1], curve.is_inferred[::-1])


def distance_from(curve: Curve, place: Vector) -> float:
    """Of a place from a line, voxels."""
    return float(np.linalg.norm(curve.at(1.0).points - place, axis=1).min())


def distinct(curves: list[Curve], distance: float) -> list[Curve]:
    """The lines, without those that another click gave already."""
    kept: list[Curve] = []
    for curve in curves:
        middle = curve.points[len(curve.points) // 2]
        if all(distance_from(other, middle) > distance for other in kept):
            kept.append(curve)
    return kept
