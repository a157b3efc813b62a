"""What lies under one click, from the voxels around it: the rest of the tomogram costs nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from cryosam.config import Config
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.tomogram import Tomogram, box_around
from cryosam.ui.state import Point, Size
from cryosam.ui.viewed import ViewedTomogram

__all__ = ["Masked", "mask_at", "size_of", "warm_up"]

_HALF = 64  # voxels around a click that are looked at
_REHEARSED = 40  # voxels, edge of the volume of a rehearsal
_ELONGATED = 2.5  # diameters: a mask that reaches farther is no ball, and its volume does not bound another's


@dataclass(frozen=True, eq=False)
class Masked:
    """A mask, empty if nothing was segmented, what the user should know of it, and the size that it tells, if any."""

    mask: InstanceMask
    message: str | None
    size: Size | None = None


def mask_at(viewed: ViewedTomogram, point: Point, config: Config, size: Size | None = None) -> Masked:
    """Segment the particle at a point.

    Intensities are mapped as a run over the whole tomogram would map them, so that the mask is the one from which a
    search starts, but for what the rest of the tomogram tells of it.

    Parameters
    ----------
    viewed
        The tomogram.
    point
        z, y, x in voxels.
    config
        Settings of the search.
    size
        Of the kind. Where it is known, the mask is made as a search makes those of its candidates, in a fraction of the
        time.

    Raises
    ------
    PromptError
        If the point lies outside.
    TomogramError
        If voxels around it are not finite, or all are the same.
    """
    from cryosam import segmentation  # torch takes seconds to import

    at = np.array([point])
    PointPrompts(at).validate(viewed.shape)
    box, _ = box_around(at[0], _HALF, viewed.shape)
    settings = replace(config, diameter_angstrom=None, diameter_voxels=None)
    if size is not None and size.smoothing is not None:
        settings = settings.override(diameter_voxels=size.diameter, propagation__smoothing=size.smoothing)
    with _one_thread():
        whole = replace(viewed.tomogram, data=viewed.read())
        low, high = viewed.grey.limits
        found = segmentation.segment_window(whole, box, (low, high), PointPrompts(at), settings)
    (mask,) = found.prompt_masks
    told = " ".join(found.warnings)
    if mask.n_voxels == 0:
        return Masked(mask, told or "no mask was found here: click the middle of a particle")
    return Masked(mask, told or None, None if told else size_of(found))


def size_of(found: Segmentation) -> Size | None:
    """The size of what lies under the clicks; None if nothing was segmented."""
    diameter, smoothing = found.report.diameter, found.report.smoothing
    seen = [mask for mask in found.prompt_masks if mask.n_voxels]
    if diameter is None or not seen:
        return None
    is_round = all(max(mask.data.shape) <= _ELONGATED * diameter for mask in seen)
    return Size(diameter, None if smoothing is None or not is_round else smoothing)


def warm_up(config: Config) -> None:
    """Make a mask of nothing in particular, so that the first one that matters need not import and load anything."""
    from cryosam import segmentation

    volume = np.random.default_rng(0).normal(0, 0.1, (_REHEARSED,) * 3).astype(np.float32)
    middle = _REHEARSED // 2
    volume[middle - 4 : middle + 4, middle - 4 : middle + 4, middle - 4 : middle + 4] += 1
    with _one_thread():
        segmentation.segment_prompts(Tomogram(volume), PointPrompts(np.full((1, 3), float(middle))), config)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in the calling thread alone.

    The many small steps of one mask gain nothing from more threads, and on a machine that others use they wait for each
    other for most of a minute.
    """
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
