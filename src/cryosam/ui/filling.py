"""Masks for points that came without: those of a file, or where an earlier look saw nothing."""

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
"""Segments at a point, with settings, and with the kind's size where that is known."""

_LOOKED_AT = 5  # points that tell the kind's size
_WITNESSES = 20  # points that tell the contrast


def without_mask(view: View) -> tuple[Candidate, ...]:
    """What is shown of a kind and has no mask."""
    return tuple(candidate for candidate in view.shown if candidate.mask.n_voxels == 0)


def fill_masks(
    tomogram: Tomogram, points: Sequence[Point], config: Config, size: Size | None, look: Look, progress: Progress
) -> Iterator[Masked]:
    """The particle at each point, one after the other; all are of one kind, and so of one contrast and size.

    Parameters
    ----------
    tomogram
        In which they lie.
    points
        z, y, x in voxels.
    config
        Settings of the search.
    size
        Of the kind. Where it is not known, the first points tell it, each of them looked at alone.
    look
        Segments at one point.
    progress
        Called as ``progress("segmenting", done, total)``; what it raises ends the work.
    """
    if config.tomogram.contrast == "auto":
        spread = np.linspace(0, len(points) - 1, min(len(points), _WITNESSES)).round().astype(int)
        contrast = detect_contrast(tomogram, np.array([points[i] for i in spread], dtype=float))
        config = config.override(tomogram__contrast=contrast)
    first: list[Masked] = []
    if size is None:
        for done, point in enumerate(points[:_LOOKED_AT]):
            progress("segmenting", done, len(points))
            first.append(look(point, config, None))
            yield first[-1]
        size = _typical([masked.size for masked in first if masked.size is not None])
    for done, point in enumerate(points[len(first) :], start=len(first)):
        progress("segmenting", done, len(points))
        yield look(point, config, size)


def with_masks(view: View, filled: Sequence[tuple[Candidate, Masked]]) -> View:
    """A kind's view with the masks of candidates that still lie where they lay, and have none."""
    for old, masked in filled:
        now = next((candidate for candidate in view.candidates if candidate.id == old.id), None)
        if now is not None and now.point == old.point and now.mask.n_voxels == 0 and masked.mask.n_voxels:
            view = view.with_candidate(replace(now, mask=masked.mask))
    if view.size is None:
        view = replace(view, size=_typical([masked.size for _, masked in filled if masked.size is not None]))
    return view


def _typical(sizes: Sequence[Size]) -> Size | None:
    """The one of median diameter; those with a known smoothing come first."""
    known = [size for size in sizes if size.smoothing is not None] or list(sizes)
    return sorted(known, key=lambda size: size.diameter)[len(known) // 2] if known else None
