"""What lies under one click, from the voxels around it: the rest of the tomogram costs nothing."""

from dataclasses import dataclass, replace

import numpy as np

from cryosam.config import Config
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.ui.state import Point
from cryosam.ui.viewed import ViewedTomogram

__all__ = ["Masked", "mask_at"]

_HALF = 64  # voxels around a click that are looked at


@dataclass(frozen=True, eq=False)
class Masked:
    """A mask, empty if nothing was segmented, and what the user should know of it."""

    mask: InstanceMask
    message: str | None


def mask_at(viewed: ViewedTomogram, point: Point, config: Config) -> Masked:
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
    start = [max(0, round(c) - _HALF) for c in point]
    crop = viewed.tomogram.data[tuple(slice(s, round(c) + _HALF + 1) for s, c in zip(start, point, strict=True))]
    low, high = viewed.grey.limits
    # a diameter in angstrom is that of the search; a click must show what lies under it, whatever its size
    settings = replace(config, diameter_angstrom=None).override(tomogram__percentiles=(0.0, 100.0))
    clipped = replace(viewed.tomogram, data=np.clip(crop, low, high))
    inside = at - np.array(start)
    found = segmentation.segment_prompts(clipped, PointPrompts(inside), settings)
    (mask,) = found.prompt_masks
    z, y, x = (o + s for o, s in zip(mask.origin, start, strict=True))
    told = " ".join(found.warnings).replace(_text(inside[0]), _text(at[0]))
    if mask.n_voxels == 0:
        return Masked(mask, told or "no mask was found here: click the middle of a particle")
    return Masked(InstanceMask((z, y, x), mask.data), told or None)


def _text(point: np.ndarray) -> str:
    """A point as the warnings of a run write it."""
    return ",".join(f"{c:g}" for c in point)
