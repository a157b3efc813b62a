"""The closed surface around a point: one distance for each direction, where membranes are, smooth where none are."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.spatial import ConvexHull, cKDTree

from cryosam.arrays import Points, Volume
from cryosam.config import EnclosureSettings
from cryosam.geometry import half_sphere
from cryosam.structures.ridges import Ridges

__all__ = ["Enclosure", "enclose", "sphere"]

_N_DIRECTIONS = 640
"""Over the whole sphere: 8 degrees apart."""
_STEP = 1.03
"""Ratio of a distance to the one before."""
_MOST_STEPS = 6
"""Largest difference, in steps, of the distances in neighbouring directions: the surface leans by 50 degrees."""
_N_ITERATIONS = 40
"""Most rounds of messages; they end when no distance changes any more."""
_N_SAME = 3
"""Rounds without a change after which the messages end."""


@dataclass(frozen=True, eq=False)
class Enclosure:
    """A closed surface around a point, in voxels of a binned tomogram.

    Parameters
    ----------
    centre
        z, y, x.
    distances
        ``(n,)`` to the membrane's middle, for each of the directions.
    measured
        ``(n,)`` whether a membrane was seen there.
    within
        ``(n,)`` whether the surface lies within the volume there.
    """

    centre: Float[np.ndarray, " 3"]
    distances: Float[np.ndarray, " n"]
    measured: Bool[np.ndarray, " n"]
    within: Bool[np.ndarray, " n"]

    @property
    def points(self) -> Points:
        """``(n, 3)`` points on the surface."""
        return np.asarray(self.centre + sphere().directions * self.distances[:, None], dtype=float)

    @property
    def radius(self) -> float:
        """Radius of the ball with the same volume, voxels."""
        return float(np.mean(self.distances**3) ** (1 / 3))

    def normals_and_areas(self) -> tuple[Points, Float[np.ndarray, " n"]]:
        """Outward unit normals and areas of the surface around each point."""
        points, faces = self.points, sphere().faces
        a, b, c = (points[faces[:, k]] for k in range(3))
        cross = np.cross(b - a, c - a) / 6
        sums = np.zeros_like(points)
        for k in range(3):
            np.add.at(sums, faces[:, k], cross)
        areas = np.linalg.norm(sums, axis=1)
        return sums / np.maximum(areas, 1e-12)[:, None], areas

    def depth(self, shape: tuple[int, int, int], margin: float = 2.0) -> tuple[tuple[int, int, int], Volume]:
        """Distance from the surface, along the direction from the centre, positive inside.

        Returns
        -------
        origin, depth
            First voxel of the box, and its values; the box holds the surface and a margin, cut to the volume.
        """
        low = np.clip(np.floor(self.points.min(axis=0) - margin).astype(int), 0, np.array(shape) - 1)
        high = np.clip(np.ceil(self.points.max(axis=0) + margin).astype(int) + 1, low + 1, shape)
        grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
        apart = grid.reshape(-1, 3) - self.centre
        distance = np.linalg.norm(apart, axis=1)
        away, near = sphere().tree.query(apart / np.maximum(distance, 1e-6)[:, None], k=3)
        weight = 1 / np.maximum(away, 1e-3)
        surface = (self.distances[near] * weight).sum(axis=1) / weight.sum(axis=1)
        z, y, x = (int(c) for c in low)
        return (z, y, x), (surface - distance).reshape(grid.shape[:3]).astype(np.float32)

    def holds(self, point: Float[np.ndarray, " 3"]) -> bool:
        """Whether a point is inside."""
        apart = point - self.centre
        distance = float(np.linalg.norm(apart))
        _, nearest = sphere().tree.query(apart / max(distance, 1e-6))
        return bool(distance < self.distances[int(nearest)])

    def moved_inwards(self, by: float) -> "Enclosure":
        """The surface that lies ``by`` voxels farther inside, along its normals."""
        normals, _ = self.normals_and_areas()
        leaning = np.maximum(np.einsum("ni,ni->n", normals, sphere().directions), 0.5)
        distances = np.maximum(self.distances - by / leaning, 0.2 * self.distances)
        return Enclosure(self.centre, distances, self.measured, self.within)


@dataclass(frozen=True, eq=False)
class _Sphere:
    """Directions over the whole sphere, and which are neighbours."""

    directions: Points
    faces: Int[np.ndarray, "m 3"]
    edges: Int[np.ndarray, "e 2"]
    tree: cKDTree


@cache
def sphere() -> _Sphere:
    """The directions of all enclosures; faces are counterclockwise seen from outside."""
    half = half_sphere(_N_DIRECTIONS // 2)
    directions = np.concatenate([half, -half])
    faces = ConvexHull(directions).simplices
    a, b, c = (directions[faces[:, k]] for k in range(3))
    flipped = np.einsum("ni,ni->n", np.cross(b - a, c - a), a) < 0
    faces[flipped] = faces[flipped][:, ::-1]
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return _Sphere(directions, faces, np.unique(pairs, axis=0), cKDTree(directions))


def enclose(
    ridges: Ridges,
    voxel_size_angstrom: float,
    point: Float[np.ndarray, " 3"],
    settings: EnclosureSettings | None = None,
    *,
    tree: cKDTree | None = None,
) -> Enclosure:
    """Find the closed surface around a point that follows membranes best.

    The surface is one distance for each direction (star-shaped). Each direction gains where a membrane that faces the
    point is, and pays for leaning; the best surface is found by passing messages between neighbouring directions
    (min-sum belief propagation). Where no membrane is seen the surface is smooth between what is seen around.

    Parameters
    ----------
    ridges
        Ridges of the binned tomogram that count as membrane.
    voxel_size_angstrom
        Edge of its voxels.
    point
        z, y, x in its voxels; the surface is described from the middle of what was found around it.
    tree
        Of the ridges' points, if there is one already.
    """
    settings = settings or EnclosureSettings()
    tree = cKDTree(ridges.points) if tree is None else tree
    centre, most = np.asarray(point, dtype=float), settings.most_angstrom
    for _ in range(3):
        found = _enclose_from(ridges, voxel_size_angstrom, centre, settings, tree, most)
        middle = (
            centre
            + 0.75 * (sphere().directions * found.distances[:, None] ** 4).mean(axis=0) / (found.distances**3).mean()
        )
        middle = np.clip(middle, 0, np.array(ridges.shape) - 1)
        if np.linalg.norm(middle - centre) < 0.1 * found.distances.mean() or not found.holds(middle):
            break
        most = min(most, 1.5 * float(found.distances.max()) * voxel_size_angstrom)
        centre = middle
    return _checked(found, ridges, tree, max(settings.near_angstrom / voxel_size_angstrom, 1.5), settings.parallel)


def _checked(found: Enclosure, ridges: Ridges, tree: cKDTree, near: float, parallel: float) -> Enclosure:
    """The surface, measured where ridges lie in it and are parallel to it."""
    points, (normals, _) = found.points, found.normals_and_areas()
    away, nearest = tree.query(points, k=4, distance_upper_bound=near)
    index = np.minimum(np.asarray(nearest), len(ridges.points) - 1)
    cosines = np.abs(np.einsum("ni,nki->nk", normals, ridges.normals[index]))
    measured = np.asarray(((cosines >= parallel) & np.isfinite(away)).any(axis=1))
    within = np.asarray(((points >= 0) & (points <= np.array(ridges.shape) - 1)).all(axis=1))
    return Enclosure(found.centre, found.distances, measured & within, within)


def _enclose_from(
    ridges: Ridges,
    voxel_size: float,
    centre: Float[np.ndarray, " 3"],
    settings: EnclosureSettings,
    tree: cKDTree,
    most: float,
) -> Enclosure:
    """The best surface as seen from a centre."""
    least = settings.least_angstrom / voxel_size
    n_steps = int(np.log(max(most / voxel_size / least, 1.5)) / np.log(_STEP)) + 1
    near = np.array(tree.query_ball_point(centre, least * _STEP ** (n_steps - 1)), dtype=int)
    gain = _gain(ridges, near, centre, least, n_steps, settings.cosine)
    label = _best_labels(gain, settings.stiffness)
    low, high = np.maximum(label - 1, 0), np.minimum(label + 1, n_steps - 1)
    here = np.arange(len(label))
    sides = np.stack([gain[here, low], gain[here, label], gain[here, high]])
    measured = np.asarray(sides.max(axis=0) > 0)
    shift = np.where(measured, (sides[2] - sides[0]) / np.maximum(sides.sum(axis=0), 1e-9), 0)
    distances = least * _STEP ** (label + shift)
    return Enclosure(centre, _smoothed(distances, measured), measured, np.ones(len(label), dtype=bool))


def _gain(
    ridges: Ridges,
    near: Int[np.ndarray, " k"],
    centre: Float[np.ndarray, " 3"],
    least: float,
    n_steps: int,
    cosine: float,
) -> Float[np.ndarray, "n s"]:
    """How much like a membrane that faces the centre it is, in each direction at each distance; in [0, 1]."""
    gain = np.zeros((_N_DIRECTIONS, n_steps), dtype=np.float32)
    if not len(near):
        return gain
    apart = ridges.points[near] - centre
    distance = np.linalg.norm(apart, axis=1)
    direction = apart / np.maximum(distance, 1e-6)[:, None]
    facing = np.abs(np.einsum("ni,ni->n", direction, ridges.normals[near]))
    step = np.round(np.log(np.maximum(distance, 1e-6) / least) / np.log(_STEP)).astype(int)
    keep = (facing > cosine) & (step >= 0) & (step < n_steps)
    full = ridges.low if np.isfinite(ridges.low) else float(np.median(ridges.saliency))
    weight = np.minimum(ridges.saliency[near] / max(full, 1e-9), 1) * facing
    away, index = (np.asarray(each) for each in sphere().tree.query(direction[keep], k=3))
    for k in range(3):  # spread to the three nearest directions: close to the centre there are fewer ridges than these
        close = away[:, k] < 0.15
        np.maximum.at(gain, (index[close, k], step[keep][close]), weight[keep][close].astype(np.float32))
    return gain


def _best_labels(gain: Float[np.ndarray, "n s"], stiffness: float) -> Int[np.ndarray, " n"]:
    """The step of each direction, by min-sum belief propagation with damping."""
    edges = sphere().edges
    start = np.concatenate([edges[:, 0], edges[:, 1]])
    end = np.concatenate([edges[:, 1], edges[:, 0]])
    back = np.concatenate([np.arange(len(edges)) + len(edges), np.arange(len(edges))])
    cost = -ndimage.gaussian_filter1d(gain, 0.7, axis=1, mode="constant") * 1.7
    messages = np.zeros((len(start), gain.shape[1]), dtype=np.float32)
    order = np.argsort(end, kind="stable")
    first = np.searchsorted(end[order], np.arange(len(gain)))
    label = cost.argmin(axis=1)
    n_same = 0
    for _ in range(_N_ITERATIONS):
        belief = cost + np.add.reduceat(messages[order], first, axis=0)
        previous, label = label, belief.argmin(axis=1)
        n_same = n_same + 1 if (label == previous).all() else 0
        if n_same == _N_SAME:
            break
        out = belief[start] - messages[back]
        best = out.copy()
        for k in range(1, _MOST_STEPS + 1):
            np.minimum(best[:, k:], out[:, :-k] + stiffness * k * k, out=best[:, k:])
            np.minimum(best[:, :-k], out[:, k:] + stiffness * k * k, out=best[:, :-k])
        best -= best.min(axis=1, keepdims=True)
        messages = 0.5 * messages + 0.5 * best
    return label


def _smoothed(distances: Float[np.ndarray, " n"], measured: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Distances averaged with those of neighbours: lightly where measured, until smooth where not."""
    edges = sphere().edges
    start = np.concatenate([edges[:, 0], edges[:, 1]])
    end = np.concatenate([edges[:, 1], edges[:, 0]])
    count = np.bincount(start, minlength=len(distances))
    smooth = np.log(distances)
    for turn in range(40):
        mean = np.bincount(start, smooth[end], len(distances)) / count
        share = np.where(measured, 0.3 if turn < 2 else 0.0, 0.8)
        smooth = (1 - share) * smooth + share * mean
    return np.asarray(np.exp(smooth))
