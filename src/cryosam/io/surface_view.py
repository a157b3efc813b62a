"""Surfaces of everything that was found, small enough for a page: for its 3D view, and as pictures from three sides."""

import base64
import colorsys
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from cryosam.arrays import Points
from cryosam.full_map import FullMap
from cryosam.io.pictures import colour, encode_colours
from cryosam.io.report import particle_diameter
from cryosam.io.surfaces import are_inferred, simplify, surface_of, thinned_tube
from cryosam.structure_results import Filament, Mesh, StructureInstance

__all__ = ["Shape", "SurfaceView", "shapes_of", "view_surfaces"]

_MOST_TRIANGLES = 60_000  # of all surfaces together: a page of about a megabyte
_FINEST = 300  # cells of the grid on which surfaces are simplified, along the longest axis of the tomogram
_COARSER = 1.25  # from one grid to the next, until there are few enough triangles
_MOST_BALLS = 5000
_STEPS = 65535  # of coordinates
_EDGE_PX = 420  # longest side of a picture
_DENSE = 0.6  # places of a triangle that are drawn, for each pixel of twice its area as it is seen
_PALE = 0.6  # how much lighter what was inferred is

_SIDES: dict[str, tuple[int, int, int]] = {"z": (2, 1, 1), "y": (2, 0, -1), "x": (0, 1, -1)}
"""What is to the right and down, as in slices, and whether larger coordinates are farther away (1) or nearer (-1)."""


@dataclass(frozen=True, eq=False)
class Shape:
    """What is drawn of one instance.

    Parameters
    ----------
    kind, rgb
        Name of its kind, and its colour, each part in [0, 1].
    mesh
        Simplified, in voxels of the tomogram.
    is_inferred
        ``(n,)`` which vertices lie where it was filled in without evidence.
    """

    kind: str
    rgb: tuple[float, float, float]
    mesh: Mesh
    is_inferred: Bool[np.ndarray, " n"]


@dataclass(frozen=True)
class SurfaceView:
    """What the template of a page needs.

    Parameters
    ----------
    content
        For the script: shape of the tomogram, surfaces and balls, with arrays as base64.
    pictures
        From the side along each axis: its name, width and height, and the picture as a data URI.
    kinds
        Names and colours (as in a style sheet) of the kinds that are drawn.
    n_triangles, cell_angstrom
        How many triangles there are, and the distance within which vertices were merged.
    """

    content: dict[str, Any]
    pictures: list[tuple[str, int, int, str]]
    kinds: list[tuple[str, str]]
    n_triangles: int
    cell_angstrom: float


def view_surfaces(found: FullMap) -> SurfaceView | None:
    """Return the view of a result; None if nothing has a surface."""
    shapes, cell = shapes_of(found)
    shades = {label.kind: colour(label.label - 1) for label in found.legend()}
    balls = _balls(found)
    if not shapes and not balls:
        return None
    drawn = [*dict.fromkeys([each.kind for each in shapes] + [kind for kind, _, _ in balls])]
    longest = max(found.shape)
    content = {
        "shape": list(found.shape[::-1]),
        "surfaces": [_packed(each, longest) for each in shapes],
        "balls": [
            {"kind": kind, "rgb": _rgb(shades[kind]), "radius": radius, "points": _array(points[:, ::-1], longest)}
            for kind, points, radius in balls
        ],
    }
    solids = [*shapes, *(_as_shape(kind, _rgb(shades[kind]), points, radius) for kind, points, radius in balls)]
    return SurfaceView(
        content,
        [_picture(side, found.shape, solids) for side in _SIDES],
        [(kind, shades[kind]) for kind in drawn],
        sum(len(each.mesh.faces) for each in shapes),
        cell * found.voxel_size_angstrom,
    )


def shapes_of(found: FullMap, most_triangles: int = _MOST_TRIANGLES) -> tuple[list[Shape], float]:
    """Return the surfaces with at most so many triangles together, and the cell in voxels in which vertices are merged.

    Examples
    --------
    >>> from cryosam.structure_results import StructureResult
    >>> line = np.stack([np.full(90, 5.0), np.full(90, 6.0), np.arange(90.0)], axis=1)
    >>> from cryosam.masks import InstanceMask
    >>> actin = Filament(InstanceMask.empty(), 0.9, line, np.tile([0.0, 0.0, 1.0], (90, 1)), 890.0, 30.0)
    >>> found = FullMap(("actin",), (StructureResult((9, 10, 99), "filament", (actin,), line[:1], 10.0, kind="actin"),))
    >>> (fine,), _ = shapes_of(found)
    >>> (coarse,), cell = shapes_of(found, 300)
    >>> len(fine.mesh.faces), len(coarse.mesh.faces)
    (1424, 240)
    """
    legend = found.legend()
    shades = {label.kind: colour(label.label - 1) for label in legend}
    everything = [
        (part.kind, colour(number) if len(legend) == 1 else shades[part.kind], instance)
        for part in found.structures
        for number, instance in enumerate(part.instances)
    ]
    cell = max(found.shape) / _FINEST
    while True:
        shapes = [Shape(kind, _rgb(shade), *_simple(instance, cell)) for kind, shade, instance in everything]
        if sum(len(each.mesh.faces) for each in shapes) <= most_triangles or cell > max(found.shape):
            return [each for each in shapes if len(each.mesh.faces)], cell
        cell *= _COARSER


def _simple(instance: StructureInstance, cell: float) -> tuple[Mesh, Bool[np.ndarray, " n"]]:
    """A surface with fewer triangles; a tube has fewer rings, so that a thin one keeps its shape."""
    if isinstance(instance, Filament):
        return thinned_tube(instance, cell)
    return simplify(surface_of(instance), cell, are_inferred(instance))


def _balls(found: FullMap) -> list[tuple[str, Points, float]]:
    """Centres of the particles of each kind, the best ones, and their radius in voxels."""
    if found.particles is None:
        return []
    parts = found.particles.kinds or (found.particles,)
    return [(part.kind, part.points[:_MOST_BALLS], particle_diameter(part) / 2) for part in parts if len(part.points)]


def _packed(shape: Shape, longest: int) -> dict[str, Any]:
    """A surface for the script; indices take two bytes where they can."""
    is_small = len(shape.mesh.vertices) < 2**16
    return {
        "kind": shape.kind,
        "rgb": shape.rgb,
        "points": _array(shape.mesh.vertices[:, ::-1], longest),
        "faces": _base64(shape.mesh.faces.astype("<u2" if is_small else "<u4")),
        "bytes": 2 if is_small else 4,
        "inferred": _base64(np.packbits(shape.is_inferred, bitorder="little")) if shape.is_inferred.any() else "",
    }


def _array(points: Points, longest: int) -> str:
    """Coordinates from half a voxel before the first one on, in longest axes, from -0.25 to 1.25 of it."""
    parts = ((points + 0.5) / longest + 0.25) / 1.5
    return _base64(np.clip(np.rint(parts * _STEPS), 0, _STEPS).astype("<u2"))


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _rgb(shade: str) -> tuple[float, float, float]:
    """Red, green and blue of a colour that `colour` gave."""
    hue, saturation, lightness = (int(part) for part in re.findall(r"\d+", shade))
    red, green, blue = colorsys.hls_to_rgb(hue / 360, lightness / 100, saturation / 100)
    return round(red, 3), round(green, 3), round(blue, 3)


def _as_shape(kind: str, rgb: tuple[float, float, float], points: Points, radius: float) -> Shape:
    """Balls of triangles: octahedra, each edge of which was halved twice."""
    corners = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]], dtype=float)
    triangles = corners[np.array([(a, b, c) for a in (0, 3) for b in (1, 4) for c in (2, 5)])]
    for _ in range(2):
        a, b, c = (triangles[:, k] for k in range(3))
        ab, bc, ca = a + b, b + c, c + a
        triangles = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca))])
        triangles /= np.linalg.norm(triangles, axis=2, keepdims=True)
    ball = triangles.reshape(-1, 3) * radius
    vertices = (points[:, None] + ball).reshape(-1, 3)
    n = len(vertices)
    return Shape(kind, rgb, Mesh(vertices, np.arange(n).reshape(-1, 3)), np.zeros(n, dtype=bool))


def _picture(side: str, shape: tuple[int, int, int], solids: Sequence[Shape]) -> tuple[str, int, int, str]:
    """Everything seen along an axis, shaded; what is nearer hides what is farther."""
    right, down, away = _SIDES[side]
    axis = 3 - right - down
    scale = _EDGE_PX / max(shape[right], shape[down])
    width, height = (max(round(shape[k] * scale), 1) for k in (right, down))
    rng = np.random.default_rng(0)
    places, depths, shades = [np.zeros((0, 2))], [np.zeros(0)], [np.zeros((0, 3))]
    for each in solids:
        corners = each.mesh.vertices[each.mesh.faces]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        size = np.linalg.norm(normal, axis=1)
        rows = np.repeat(np.arange(len(corners)), np.ceil(_DENSE * np.abs(normal[:, axis]) * scale**2).astype(int) + 1)
        points = _within(corners[rows], rng)
        light = 0.35 + 0.65 * np.abs(normal[:, axis]) / np.maximum(size, 1e-9)
        pale = each.is_inferred[each.mesh.faces].mean(axis=1)[:, None] * _PALE
        shade = (np.array(each.rgb) * (1 - pale) + pale) * light[:, None]
        places.append((points[:, [down, right]] + 0.5) * scale)
        depths.append(points[:, axis] * away)
        shades.append(shade[rows])
    order = np.argsort(-np.concatenate(depths), kind="stable")
    corner, shade = np.concatenate(places)[order].astype(int), np.concatenate(shades)[order]
    row, col = (corner[:, None] + [(0, 0), (0, 1), (1, 0), (1, 1)]).reshape(-1, 2).T  # four pixels each leave no holes
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    image = np.zeros((height, width, 3))
    image[row[inside], col[inside]] = np.repeat(shade, 4, axis=0)[inside]  # the last one, the nearest, stays
    return side, width, height, encode_colours(image)


def _within(corners: Float[np.ndarray, "n 3 3"], rng: np.random.Generator) -> Points:
    """A random place in each triangle."""
    a, b = rng.random((2, len(corners), 1))
    swapped = a + b > 1
    a, b = np.where(swapped, 1 - a, a), np.where(swapped, 1 - b, b)
    return np.asarray(corners[:, 0] * (1 - a - b) + corners[:, 1] * a + corners[:, 2] * b, dtype=float)
