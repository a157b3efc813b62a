"""The mask of one click, computed from the voxels around it only, so that it is fast in large tomograms."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from cryosam.config import Config
from cryosam.intensities import with_clicks
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.tomogram import Tomogram, box_around
from cryosam.ui.state import Point, Size
from cryosam.ui.viewed import ViewedTomogram
from cryosam.ui.wording import on_page

__all__ = ["Masked", "mask_at", "no_mask", "size_of", "warm_up"]

_HALF = 64  # voxels around a click that are used
_ELONGATED = 2.5  # diameters: a longer mask is not round, and its volume is no bound for others


@dataclass(frozen=True, eq=False)
class Masked:
    """A mask, empty if nothing was segmented; a message for the user, if any; the measured size, if any."""

    mask: InstanceMask
    message: str | None
    size: Size | None = None


def mask_at(viewed: ViewedTomogram, point: Point, config: Config, size: Size | None = None) -> Masked:
    """Segment the particle at a point.

    Intensities are scaled, and the contrast is told, as in a run on the whole tomogram. The mask is therefore the one
    from which a search starts, except for corrections that need the rest of the tomogram.

    Parameters
    ----------
    viewed
        The tomogram.
    point
        z, y, x in voxels.
    config
        Settings of the search.
    size
        Size of the kind. If known, the mask is computed as for the candidates of a search, which is much faster.

    Raises
    ------
    PromptError
        If the point is outside the tomogram.
    TomogramError
        If voxels around it are not finite, or all are the same.
    """
    from cryosam import segmentation  # torch is slow to import

    at = np.array([point])
    PointPrompts(at).validate(viewed.shape)
    box, _ = box_around(at[0], _HALF, viewed.shape)
    settings = replace(config, diameter_angstrom=None, diameter_voxels=None)
    if size is not None and size.smoothing is not None:
        settings = settings.override(diameter_voxels=size.diameter, propagation__smoothing=size.smoothing)
    with _one_thread():
        whole = replace(viewed.tomogram, data=viewed.read())
        if config.tomogram.contrast == "auto":
            settings = settings.override(tomogram__contrast=with_clicks(viewed.contrast, whole, at).contrast)
        low, high = viewed.grey.limits
        found = segmentation.segment_window(whole, box, (low, high), PointPrompts(at), settings)
    (mask,) = found.prompt_masks
    text = " ".join(on_page(warning) for warning in found.report.warnings)
    if mask.n_voxels == 0:
        return Masked(mask, text or "no mask was found here: click the middle of a particle")
    return Masked(mask, text or None, None if text else size_of(found))


def no_mask(viewed: ViewedTomogram, point: Point) -> Masked:
    """Return an empty mask for a click that is not on a particle; PromptError if it is outside the tomogram."""
    PointPrompts(np.array([point])).validate(viewed.shape)
    return Masked(InstanceMask.empty(), None)


def size_of(found: Segmentation) -> Size | None:
    """Return the size of the clicked particles; None if nothing was segmented, or nothing was visible at any click."""
    diameter, smoothing = found.report.diameter, found.report.smoothing
    masks = [mask for mask in found.prompt_masks if mask.n_voxels]
    n_unseen = sum(warning.code == "nothing_there" for warning in found.report.warnings)
    if diameter is None or not masks or n_unseen >= len(found.prompt_masks):
        return None
    is_round = all(max(mask.data.shape) <= _ELONGATED * diameter for mask in masks)
    return Size(diameter, None if smoothing is None or not is_round else smoothing)


def warm_up(config: Config) -> None:
    """Segment a dummy of the size that a click needs, so that everything is loaded and planned before the first one."""
    from cryosam import segmentation

    volume = np.random.default_rng(0).normal(0, 0.1, (2 * _HALF + 1,) * 3).astype(np.float32)
    volume[_HALF - 5 : _HALF + 5, _HALF - 5 : _HALF + 5, _HALF - 5 : _HALF + 5] += 1
    with _one_thread():
        segmentation.segment_prompts(Tomogram(volume), PointPrompts(np.full((1, 3), float(_HALF))), config)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in the calling thread only.

    The many small steps of one mask are not faster with more threads. On a busy machine, several threads can wait for
    each other for most of a minute.
    """
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
