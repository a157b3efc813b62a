"""Masks for particles without one: points of a file, or points where segmentation found nothing before."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from cryosam.arrays import Progress
from cryosam.config import Config
from cryosam.intensities import detect_contrast
from cryosam.tomogram import Tomogram
from cryosam.ui.masking import Masked
from cryosam.ui.state import Candidate, Point, Size, View

__all__ = ["fill_masks", "with_masks", "without_mask"]

Look = Callable[[Point, Config, Size | None], Masked]
"""Segments at a point, with the given settings, and with the size of the kind if known."""

_N_FOR_SIZE = 5  # points from which the size of the kind is measured
_N_FOR_CONTRAST = 20  # points from which the contrast is determined


def without_mask(view: View) -> tuple[Candidate, ...]:
    """Return the shown candidates of a kind that have no mask."""
    return tuple(candidate for candidate in view.shown if candidate.mask.n_voxels == 0)


def fill_masks(
    tomogram: Tomogram, points: Sequence[Point], config: Config, size: Size | None, look: Look, progress: Progress
) -> Iterator[Masked]:
    """Segment the particle at each point in turn; all are of one kind, with the same contrast and size.

    Parameters
    ----------
    tomogram
        The tomogram.
    points
        z, y, x in voxels.
    config
        Settings of the search.
    size
        Size of the kind. If unknown, it is measured on the first points, each of which is segmented without a size.
    look
        Segments at one point.
    progress
        Called as ``progress("segmenting", done, total)``; an exception that it raises ends the work.
    """
    if config.tomogram.contrast == "auto":
        spread = np.linspace(0, len(points) - 1, min(len(points), _N_FOR_CONTRAST)).round().astype(int)
        contrast = detect_contrast(tomogram, np.array([points[i] for i in spread], dtype=float)).contrast
        config = config.override(tomogram__contrast=contrast)
    first: list[Masked] = []
    if size is None:
        for done, point in enumerate(points[:_N_FOR_SIZE]):
            progress("segmenting", done, len(points))
            first.append(look(point, config, None))
            yield first[-1]
        size = _typical([masked.size for masked in first if masked.size is not None])
    for done, point in enumerate(points[len(first) :], start=len(first)):
        progress("segmenting", done, len(points))
        yield look(point, config, size)


def with_masks(view: View, filled: Sequence[tuple[Candidate, Masked]]) -> View:
    """Return a view in which candidates that have not moved and still have no mask get the new masks."""
    for old, masked in filled:
        now = next((candidate for candidate in view.candidates if candidate.id == old.id), None)
        if now is not None and now.point == old.point and now.mask.n_voxels == 0 and masked.mask.n_voxels:
            view = view.with_candidate(replace(now, mask=masked.mask))
    if view.size is None:
        view = replace(view, size=_typical([masked.size for _, masked in filled if masked.size is not None]))
    return view


def _typical(sizes: Sequence[Size]) -> Size | None:
    """Return the size of median diameter; only sizes with a known smoothing are used, if there are any."""
    known = [size for size in sizes if size.smoothing is not None] or list(sizes)
    return sorted(known, key=lambda size: size.diameter)[len(known) // 2] if known else None
