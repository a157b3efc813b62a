"""One self-contained page that shows the structures of a run: pictures with outlines, counts, tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cryosam.full_map import FullMap
from cryosam.io.pages import render_page
from cryosam.io.pictures import SliceView, View, colour
from cryosam.io.report import describe_decisions
from cryosam.io.slice_drawing import Outlined, SliceDrawing
from cryosam.io.straightened_files import draw_straightened
from cryosam.io.surface_view import view_surfaces
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.structure_results import Compartment, Filament, Membrane, StructureInstance, StructureResult
from cryosam.tomogram import Tomogram

__all__ = ["render_structures"]

_MAX_ROWS = 500  # in a table; with more, browsers become slow
_MAX_VIEWS = 6


def render_structures(
    found: FullMap, tomogram: Tomogram, prompts: Sequence[PointPrompts], run: Mapping[str, Any]
) -> str:
    """Return the page as HTML; it needs no network. Without a script, pictures stand in for the 3D view.

    Parameters
    ----------
    found
        The result.
    tomogram
        The tomogram as read; the pictures show its intensities unchanged.
    prompts
        The clicks on each kind.
    run
        The content of ``run.json``; it may be empty.

    Examples
    --------
    >>> lumen = Compartment(InstanceMask((2, 2, 2), np.ones((3, 3, 3), dtype=bool)), 0.9, 27000.0, False)
    >>> cell = StructureResult((9, 10, 11), "compartment", (lumen,), np.full((1, 3), 3.0), 10.0, kind="cell")
    >>> data = np.random.default_rng(0).random((9, 10, 11), dtype=np.float32)
    >>> clicks = PointPrompts(cell.prompts, name="cell")
    >>> "1 compartment found" in render_structures(FullMap(("cell",), (cell,)), Tomogram(data, 10.0), [clicks], {})
    True
    """
    legend = found.legend()
    counts: dict[str, int] = {}
    for label in legend:
        counts[label.structure] = counts.get(label.structure, 0) + label.n_instances
    title = ", ".join(f"{n} {structure}{'' if n == 1 else 's'}" for structure, n in counts.items())
    return render_page(
        "structures.html",
        m=found,
        title=f"{title} found",
        legend=legend,
        palette=colour,
        views=_views(found, tomogram, prompts),
        solid=view_surfaces(found),
        straightened=[figure for part in found.structures if (figure := draw_straightened(part))],
        tables=[_table(part) for part in found.structures],
        clicks=[(each.name, point) for each in prompts for point in each.positive.tolist()],
        decisions=describe_decisions(found.structures[0].report.provenance()) if found.structures else [],
        run=run,
    )


@dataclass(frozen=True)
class _Shown:
    """A mask to draw: whose it is, its colour and whether it was seen."""

    mask: InstanceMask
    title: str
    colour: str
    is_seen: bool


def _views(found: FullMap, tomogram: Tomogram, prompts: Sequence[PointPrompts]) -> list[View]:
    """Whole slices through the first click on each kind, or through its best instance if it has no click."""
    slices = SliceDrawing(tomogram, prompts, found.voxel_size_angstrom)
    outlined = [each for each in _outlined(found) if each.mask.n_voxels]

    def outlines(view: SliceView) -> Outlined:
        paths = [(view.outline(each.mask), each) for each in outlined]
        return [(path, each.colour, each.title, each.is_seen) for path, each in paths if path]

    points = [(f"Through the click on {each.name}", each.positive[0].tolist()) for each in prompts]
    clicked = {each.name for each in prompts}
    points += [
        (f"Through the best {part.structure} of kind {part.kind}", _place_in(part.instances[0]))
        for part in found.structures
        if part.kind not in clicked and part.instances
    ]
    return [slices.view(title, point, outlines) for title, point in points[:_MAX_VIEWS]]


def _outlined(found: FullMap) -> list[_Shown]:
    """Everything to draw, in the colours of the kinds; of a single kind, each instance has its own."""
    shades = {label.kind: colour(label.label - 1) for label in found.legend()}
    is_only = len(shades) == 1
    outlined = []
    particles = found.particles
    if particles is not None:
        for row, mask in enumerate(particles.masks):
            kind = particles.names[row] if particles.names else particles.kind
            outlined.append(_Shown(mask, f"{kind} {row + 1}", shades[kind], True))
    for part in found.structures:
        for number, instance in enumerate(part.instances, start=1):
            title = f"{part.kind} {number}, score {instance.score:.3f}"
            shade = colour(number - 1) if is_only else shades[part.kind]
            outlined.append(_Shown(instance.mask, title, shade, True))
            outlined.append(_Shown(instance.inferred, f"{title}, inferred", shade, False))
    return outlined


def _place_in(instance: StructureInstance) -> list[float]:
    """A place in an instance, z, y, x in voxels."""
    if isinstance(instance, Compartment):
        return instance.mask.centroid.tolist()
    middle = instance.points.mean(axis=0)
    return instance.points[np.argmin(np.linalg.norm(instance.points - middle, axis=1))].tolist()


@dataclass(frozen=True)
class _Table:
    """The instances of one kind as rows of text; ``n_more`` rows are left out."""

    kind: str
    columns: list[str]
    rows: list[list[str]]
    n_more: int


def _table(part: StructureResult) -> _Table:
    rows = [_row(number, instance) for number, instance in enumerate(part.instances[:_MAX_ROWS], start=1)]
    columns = list(rows[0]) if rows else ["number"]
    return _Table(part.kind, columns, [list(row.values()) for row in rows], max(len(part.instances) - _MAX_ROWS, 0))


def _row(number: int, instance: StructureInstance) -> dict[str, str]:
    """What the page says of one instance, by column."""
    row = {"number": str(number), "score": f"{instance.score:.3f}"}
    if isinstance(instance, Membrane):
        row |= {
            "form": "closed" if instance.is_closed else "open",
            "area, nm²": f"{instance.area_angstrom2 / 100:,.0f}",
            "thickness, Å": _or_unknown(instance.thickness_angstrom, ".0f"),
            "radius of curvature, nm": _or_unknown(instance.curvature_radius_angstrom / 10, ".0f"),
            "enclosed, nm³": _or_unknown(instance.enclosed_angstrom3 / 1000, ",.0f"),
        }
    elif isinstance(instance, Filament):
        row |= {
            "length, nm": f"{instance.length_angstrom / 10:,.1f}",
            "radius, nm": f"{instance.radius_angstrom / 10:.1f}",
        }
    elif isinstance(instance, Compartment):
        row |= {
            "volume, nm³": f"{instance.volume_angstrom3 / 1000:,.0f}",
            "whole": "cut by the border" if instance.is_cut else "whole",
        }
    inferred = instance.inferred.n_voxels
    share = inferred / max(inferred + instance.mask.n_voxels, 1)
    return row | {"voxels": f"{instance.mask.n_voxels:,}", "inferred": f"{100 * share:.0f} %"}


def _or_unknown(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else ""
