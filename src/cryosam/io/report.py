"""One self-contained page that shows what was found: pictures, scores, counts, settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from cryosam.arrays import PLANES, Plane
from cryosam.geometry import ball_diameter
from cryosam.io.average_figure import draw_average
from cryosam.io.pages import render_page
from cryosam.io.pictures import Picture, SliceView, View, colour, scale_bar
from cryosam.io.slice_drawing import Outlined, SliceDrawing
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.tomogram import Tomogram

__all__ = ["describe_decisions", "particle_diameter", "render_report"]

_GALLERY = 12
_TILES = ("Particles", "Scores, best to worst", "Threshold on the score", "Diameter from the median mask")
_MAX_ROWS = 2000  # in the particle table; with more, browsers become slow


def render_report(
    segmentation: Segmentation, tomogram: Tomogram, prompts: PointPrompts | None, run: Mapping[str, Any]
) -> str:
    """Return the page as HTML; it needs no network and no script.

    Parameters
    ----------
    segmentation
        The result.
    tomogram
        The tomogram as read; the pictures show its intensities unchanged.
    prompts
        The clicks; None if only saved queries were used.
    run
        The content of ``run.json``, see `cryosam.io.results.describe_run`; it may be empty.

    Examples
    --------
    >>> data = np.random.default_rng(0).random((9, 10, 11), dtype=np.float32)
    >>> nothing = Segmentation((9, 10, 11), np.empty((0, 3)), np.empty(0), ())
    >>> page = render_report(nothing, Tomogram(data), PointPrompts(np.array([[4.0, 5.0, 6.0]])), {})
    >>> "No particle segmented" in page
    True
    """
    drawing = _Drawing(segmentation, tomogram, prompts)
    is_search = segmentation.threshold is not None
    best, doubtful = _choose(len(segmentation.points))
    return render_page(
        "report.html",
        s=segmentation,
        verb="found" if is_search else "segmented",
        run=run,
        clicks=[] if prompts is None else prompts.positive,
        against=[] if prompts is None else prompts.negative,
        decisions=describe_decisions(segmentation.provenance),
        facts=_facts(segmentation, drawing.diameter),
        views=[drawing.view(title, point) for title, point in drawing.viewpoints()],
        galleries=[
            (title, note, [drawing.card(i) for i in rows])
            for title, note, rows in (
                (
                    "Best detections" if is_search else "Segmented",
                    "The highest scores" if is_search else "One per click",
                    best,
                ),
                (
                    "Nearest to the threshold",
                    "The lowest accepted scores: if these are wrong, raise the threshold",
                    doubtful,
                ),
            )
            if rows
        ],
        averages=[figure for part in segmentation.kinds or (segmentation,) if (figure := draw_average(part))],
        histogram=_histogram(segmentation),
        trusted=[part for part in segmentation.kinds or (segmentation,) if part.trust is not None],
        n_rows=min(len(segmentation.points), _MAX_ROWS),
        tiles=_TILES,
        colour=lambda row: colour(drawing.shade(row)),
        palette=colour,
        whole=lambda point: ",".join(f"{c:.0f}" for c in point),
    )


def particle_diameter(segmentation: Segmentation) -> float:
    """Diameter in voxels of a ball with the median volume of the masks; 20 if there are no masks.

    Examples
    --------
    >>> ball = np.linalg.norm(np.indices((9, 9, 9)) - 4, axis=0) <= 4
    >>> from cryosam.masks import InstanceMask
    >>> segmentation = Segmentation((9, 9, 9), np.full((1, 3), 4.0), np.ones(1), (InstanceMask.crop(ball),))
    >>> round(particle_diameter(segmentation))
    8
    """
    for masks in (segmentation.masks, segmentation.prompt_masks):
        volumes = [m.n_voxels for m in masks if m.n_voxels]
        if volumes:
            return ball_diameter(float(np.median(volumes)))
    return 20.0


@dataclass(frozen=True)
class _Card:
    """One detection in the gallery; its pictures are squares of ``size`` voxels."""

    row: int
    size: int
    planes: dict[Plane, Picture]
    bar: tuple[float, str] | None


class _Drawing:
    """Draws the pictures of the page; holds what they share."""

    def __init__(self, segmentation: Segmentation, tomogram: Tomogram, prompts: PointPrompts | None) -> None:
        self.segmentation = segmentation
        self.prompts = prompts
        clicks = [] if prompts is None else [prompts]
        self.slices = SliceDrawing(tomogram, clicks, segmentation.voxel_size_angstrom)
        self.diameter = particle_diameter(segmentation)
        self.half = int(np.clip(round(1.1 * self.diameter), 10, 64))

    def shade(self, row: int) -> int:
        """Return the colour number of a particle: its row, or the index of its kind if there are several kinds."""
        kinds = [part.kind for part in self.segmentation.kinds]
        return kinds.index(self.segmentation.names[row]) if kinds else row

    def viewpoints(self) -> list[tuple[str, Sequence[float]]]:
        """Return the first click, and the best detection that is not a clicked particle; each with a title."""
        if self.prompts is None:
            middle = (np.array(self.segmentation.shape) - 1) / 2
            found = [("Through the best detection", point.tolist()) for point in self.segmentation.points[:1]]
            return found or [("Through the middle", middle.tolist())]
        prompt = self.prompts.positive[0]
        points = [("Through the click", prompt.tolist())]
        for row, point in enumerate(self.segmentation.points):
            if np.linalg.norm(point - self.prompts.positive, axis=1).min() > self.diameter:
                score = self.segmentation.scores[row]
                points.append(
                    (f"Through the best other detection, particle {row + 1}, score {score:.3f}", point.tolist())
                )
                break
        return points

    def view(self, title: str, point: Sequence[float]) -> View:
        """Draw whole slices through a point."""
        return self.slices.view(title, point, lambda view: self._outlines(view, None))

    def card(self, row: int) -> _Card:
        """Draw three small slices through a detection."""
        point = self.segmentation.points[row].tolist()
        shape = self.segmentation.shape
        views = {plane: SliceView.through(point, plane, shape, half=self.half) for plane in PLANES}
        planes = {plane: self.slices.picture(view, self._outlines(view, row)) for plane, view in views.items()}
        size = 2 * self.half + 1
        return _Card(row, size, planes, scale_bar(self.segmentation.voxel_size_angstrom, size))

    def _outlines(self, view: SliceView, row: int | None) -> Outlined:
        """Return the outlines of all masks that the slice cuts; a detection without a mask is drawn as a ball."""
        found = []
        for i, mask in enumerate(self.segmentation.masks):
            path = (
                view.outline(mask)
                if mask.n_voxels
                else view.circle(self.segmentation.points[i].tolist(), self.diameter / 2)
            )
            if path:
                names = self.segmentation.names
                kind = f"{names[i]}, " if names else ""
                title = f"particle {i + 1}, {kind}score {self.segmentation.scores[i]:.3f}"
                found.append((path, colour(self.shade(i)), title, row is None or row == i))
        return found


def _choose(n: int) -> tuple[list[int], list[int]]:
    """Return the rows of the two galleries: the best detections, and the worst of the others."""
    best = list(range(min(n, _GALLERY)))
    return best, list(range(max(n - _GALLERY, len(best)), n))


def _facts(segmentation: Segmentation, diameter: float) -> list[tuple[str, str]]:
    """Return the rows of the table of counts, as name and value."""
    size = segmentation.voxel_size_angstrom
    volumes = np.array([m.n_voxels for m in segmentation.masks if m.n_voxels])
    facts = [("Particles", str(len(segmentation.points)))]
    facts += [(f"of kind {part.kind}", str(len(part.points))) for part in segmentation.kinds]
    if len(segmentation.points):
        best, worst = (f"{s:.3f}" for s in segmentation.scores[[0, -1]])
        facts.append(("Scores, best to worst", best if best == worst else f"{best} to {worst}"))
    if segmentation.threshold is not None:
        facts.append(("Threshold on the score", f"{segmentation.threshold:.3f}"))
    if "expected_false" in segmentation.provenance:
        facts.append(("Expected to be false", f"{segmentation.provenance['expected_false']:.1f}"))
    if len(volumes):
        edge = f" ({diameter * size / 10:.1f} nm)" if size else ""
        facts.append(("Particles with a mask", str(len(volumes))))
        facts.append(("Median mask", f"{int(np.median(volumes)):,} voxels"))
        facts.append(("Diameter from the median mask", f"{diameter:.1f} voxels{edge}"))
        facts.append(
            ("Fraction of the tomogram in masks", f"{100 * volumes.sum() / np.prod(segmentation.shape):.2g} %")
        )
    facts.append(("Tomogram, voxels z,y,x", " x ".join(map(str, segmentation.shape))))
    facts.append(("Voxel size", f"{size:g} Å" if size else "not known"))
    return facts


def describe_decisions(provenance: Mapping[str, str | float]) -> list[tuple[str, str]]:
    """Return the values determined during the run and the times; digests are shown elsewhere."""
    rows = []
    for name, value in provenance.items():
        number = f"{value:.3g}" if isinstance(value, float) else str(value)
        if name.startswith("seconds_"):
            rows.append((f"Time: {name.removeprefix('seconds_').replace('_', ' ')}", f"{value:.1f} s"))
        elif name.endswith("_voxels"):
            rows.append((name.removesuffix("_voxels").replace("_", " ").capitalize() + " used", f"{number} voxels"))
        elif name.endswith("_degrees"):
            rows.append((name.removesuffix("_degrees").replace("_", " ").capitalize(), f"{number} degrees"))
        elif not name.endswith("_digest"):
            rows.append((name.replace("_", " ").capitalize(), number))
    return rows


@dataclass(frozen=True)
class _Histogram:
    """Bars ``(x, width, height)`` in percent of the drawing, the x of the threshold, and ticks ``(x, label)``."""

    kept: list[tuple[float, float, float]]
    rejected: list[tuple[float, float, float]]
    highest: int
    threshold: float
    ticks: list[tuple[float, str]]


def _histogram(segmentation: Segmentation, n_bins: int = 40) -> _Histogram | None:
    """Return the histogram of the scores of particles and, on the same scale, of the rejected candidates.

    None if there was no search.
    """
    if segmentation.threshold is None:
        return None
    edges = np.linspace(0, 1, n_bins + 1)
    kept = np.histogram(segmentation.scores, edges)[0]
    candidates = np.histogram(segmentation.candidate_scores, edges)[0]
    rejected = np.maximum(candidates - kept, 0)
    highest = int((kept + rejected).max())
    if not highest:
        return None

    def bars(counts: Int[np.ndarray, " n"]) -> list[tuple[float, float, float]]:
        return [
            (100 * float(x), 100 / n_bins, 100 * c / highest)
            for x, c in zip(edges[:-1], counts.tolist(), strict=True)
            if c
        ]

    return _Histogram(
        kept=bars(kept),
        rejected=bars(
            rejected + (rejected > 0) * kept
        ),  # drawn behind, so that it appears stacked on the bar of the particles
        highest=highest,
        threshold=100 * segmentation.threshold,
        ticks=[(10.0 * i, f"{i / 10:g}") for i in range(11)],
    )
