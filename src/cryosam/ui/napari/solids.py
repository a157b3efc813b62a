"""Layers that show membranes, filaments and compartments: surfaces, and paths as wide as the filaments."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari import layers
from napari.components import ViewerModel

from cryosam.io.surfaces import surface_of
from cryosam.structure_results import Filament
from cryosam.ui.napari.drawing import Drawn
from cryosam.ui.napari.placement import placement
from cryosam.ui.state import Kind

__all__ = ["draw_solids"]


def draw_solids(
    viewer: ViewerModel, image: layers.Image, kind: Kind, found: Sequence[Drawn], old: Sequence[layers.Layer]
) -> list[layers.Layer]:
    """Show what was found of a kind in place of the layers that showed it before.

    Membranes are their middle surfaces and compartments the surfaces around them, together one layer, whose values are
    the numbers of the instances in the layer "found masks". Filaments are a path each, as wide as they are, with the
    number and the score as columns.

    Parameters
    ----------
    viewer, image
        The viewer, and the layer of the tomogram, upon which the new layers lie.
    kind
        The kind, whose name and colour they have.
    found
        What is shown of the kind; particles are left out.
    old
        Layers that an earlier call returned; those that are still in the viewer are removed.

    Returns
    -------
    drawn
        The layers, none if nothing is shown.
    """
    is_visible = {type(layer): layer.visible for layer in old}
    for layer in old:
        if layer in viewer.layers:
            viewer.layers.remove(layer)
    solids = [each for each in found if each.candidate.instance is not None]
    drawn: list[layers.Layer] = []
    paths = [each for each in solids if isinstance(each.candidate.instance, Filament)]
    surfaces = [each for each in solids if not isinstance(each.candidate.instance, Filament)]
    if surfaces:
        vertices, faces, values = _joined(surfaces)
        drawn.append(
            viewer.add_surface(
                (vertices, faces, values),
                name=f"{kind.name}: surfaces",
                colormap="turbo",
                shading="smooth",
                opacity=0.8,
                **placement(image),
            )
        )
    if paths:
        drawn.append(_add_paths(viewer, image, kind, paths))
    for layer in drawn:
        layer.visible = is_visible.get(type(layer), True)
    return drawn


def _joined(found: Sequence[Drawn]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices z, y, x, triangles, and the number of the instance at each vertex, of all surfaces together."""
    vertices, faces, values, n = [], [], [], 0
    for each in found:
        instance = each.candidate.instance
        if instance is None:
            continue
        mesh = surface_of(instance)
        vertices.append(mesh.vertices)
        faces.append(mesh.faces + n)
        values.append(np.full(len(mesh.vertices), each.instance, dtype=float))
        n += len(mesh.vertices)
    return np.concatenate(vertices), np.concatenate(faces), np.concatenate(values)


def _add_paths(viewer: ViewerModel, image: layers.Image, kind: Kind, found: Sequence[Drawn]) -> layers.Shapes:
    lines: list[np.ndarray] = []
    widths: list[float] = []
    for each in found:
        instance = each.candidate.instance
        if isinstance(instance, Filament):
            lines.append(instance.points)
            length = float(np.linalg.norm(np.diff(instance.points, axis=0), axis=1).sum())
            voxels_per_angstrom = length / instance.length_angstrom if instance.length_angstrom > 0 else 0.0
            widths.append(max(2 * instance.radius_angstrom * voxels_per_angstrom, 1.0))
    features: dict[str, Any] = {
        "instance": np.array([each.instance for each in found], dtype=int),
        "score": np.array([each.score for each in found], dtype=float),
    }
    return viewer.add_shapes(
        lines,
        ndim=3,
        shape_type="path",
        edge_width=widths,
        edge_color=kind.colour,
        features=features,
        name=f"{kind.name}: filaments",
        **placement(image),
    )
