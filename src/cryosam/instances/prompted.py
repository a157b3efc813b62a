"""The instances under the clicks: their extent, and whether their masks can be trusted.

A click gives a position but no size: its mask may include a neighbour, or cover only a part of the particle. SAM
answers a point with several nested masks. In the same way, several masks with decreasing size limits are made for each
click. The chosen mask is centred on the click and supported by the most similar particles: they resemble it, and their
masks are of the same size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from cryosam.arrays import Points, Progress
from cryosam.backends import PromptSegmenter
from cryosam.config import PropagationConfig
from cryosam.geometry import ball_diameter
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.propagation import follow, propagate
from cryosam.instances.smoothing import Smoothed
from cryosam.instances.windows import WindowChoice, choose_windows
from cryosam.masks import InstanceMask
from cryosam.memory import Workspace
from cryosam.tomogram import Tomogram, Voxels, box_around

__all__ = ["Prompted", "Support", "diameter_of", "first_look", "is_filament", "second_look"]

_UNKNOWN_DIAMETER = 16.0  # voxels, if nothing was segmented under the clicks
_TIGHTENINGS = tuple(0.85**k for k in range(8))  # size limits of the other masks, relative to the first one's diameter
_LEAST_DIAMETER = 6.0  # smallest size limit, in voxels
_SAME = 0.8  # IoU above which two masks are considered the same
_ALIKE = 0.5  # IoU below which a mask that was segmented again is considered another object
_OFF_CENTRE = 0.4  # standard deviation of the distance between centroid and click, relative to the mask's diameter
# a mask is implausibly small below this share of the first mask's diameter; standard deviation of the log ratio below
_PLAUSIBLE, _SMALLER = 0.6, 0.35
_ENOUGH = 0.7  # evidence above which no smaller mask is tried
_NEARLY = 0.8  # of the best evidence: the largest mask with at least this share is chosen
_TRUSTED = 0.3  # least evidence of a mask from which the kind's centre and volume are taken
_SURE = 0.5  # least evidence from which a size is sure: that of a centred mask to which nothing else is similar
_ELONGATED = 8.0  # ratio of a mask's longest to its shortest half-axis beyond which it is a filament
_FOLLOWED = 0.2  # least score along a filament: lower than for particles, because filaments have bad stretches
_VIEWED = 156  # voxels around a click: half of the largest window that is tried, and the margin that smoothing needs
_LEAST_VOXELS = 30  # smallest mask whose shape is meaningful
Support = Callable[[Float[np.ndarray, " 3"], InstanceMask], float]
"""How well the rest of the tomogram supports a click's mask, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Prompted:
    """The instances under the clicks.

    Parameters
    ----------
    masks
        One per click.
    is_trusted
        One per click: whether the kind's centre and volume can be taken from the mask.
    diameter
        Diameter of the kind, in voxels.
    smoothing
        Standard deviation, in voxels, of the Gaussian filter applied to the tomogram before segmentation.
    is_size_sure
        Whether the diameter was given, or the tomogram supports it.
    """

    masks: tuple[InstanceMask, ...]
    is_trusted: tuple[bool, ...]
    diameter: float
    smoothing: float
    is_size_sure: bool = True

    @property
    def trusted_masks(self) -> tuple[InstanceMask, ...]:
        """The masks; those that are not trusted are empty, because the click is then the better centre."""
        pairs = zip(self.masks, self.is_trusted, strict=True)
        return tuple(mask if is_trusted else InstanceMask.empty() for mask, is_trusted in pairs)


def first_look(
    normalised: Voxels,
    points: Points,
    segmenter: PromptSegmenter,
    config: PropagationConfig,
    diameter: float | None,
    workspace: Workspace,
    progress: Progress | None = None,
) -> tuple[Prompted, InstanceSegmenter]:
    """Segment the instance under each click.

    Parameters
    ----------
    normalised
        Voxels in [0, 1], protein bright.
    points
        ``(n, 3)`` z, y, x in voxels.
    segmenter
        A promptable 2D segmenter.
    config
        Limits, fusion and smoothing.
    diameter
        Diameter of the particle in voxels; None if unknown.
    workspace
        Holds the smoothed copy of the tomogram.
    progress
        Called with the number of clicks done.

    Returns
    -------
    prompted, instances
        The instances under the clicks, and a segmenter that treats other points in the same way.
    """
    knows_size = diameter is not None or config.window_voxels is not None or config.window_diameters == 0
    views = []
    if not knows_size or config.smoothing is None:
        views = [_view(normalised, point, segmenter, config) for point in points]
    sigma = config.smoothing
    if sigma is None:
        sigma = float(np.median([view.smoothing for view in views]))
    smoothed = Smoothed(normalised, sigma, workspace) if sigma > 0 else normalised
    instances = InstanceSegmenter(smoothed, segmenter, config)
    if knows_size:
        masks = instances.under(points, diameter, progress)
    else:
        masks = tuple(
            _look(smoothed, point, segmenter, config, view) for point, view in zip(points, views, strict=True)
        )
    is_trusted = tuple(mask.n_voxels > 0 for mask in masks)
    return Prompted(masks, is_trusted, diameter or diameter_of(masks), sigma), instances


def _view(
    normalised: Voxels, point: Float[np.ndarray, " 3"], segmenter: PromptSegmenter, config: PropagationConfig
) -> WindowChoice:
    """Choose window and smoothing for a point, from the part of the tomogram around it."""
    box, inside = box_around(point, _VIEWED, normalised.shape)
    (view,) = choose_windows(Tomogram(normalised.crop(box)), inside[None], segmenter, config)
    return view


def _look(
    smoothed: Voxels,
    point: Float[np.ndarray, " 3"],
    segmenter: PromptSegmenter,
    config: PropagationConfig,
    view: WindowChoice,
) -> InstanceMask:
    """Segment one object: a filament over its whole length, anything else in the chosen window, limited in diameter."""
    mask = follow(smoothed, point, segmenter, replace(config, min_score=_FOLLOWED), view.across)
    if not is_filament(mask):
        config = replace(config, window_voxels=view.window)
        (mask,) = propagate(smoothed, point[None], segmenter, config, view.diameter)
    return mask


def second_look(
    first: Prompted, instances: InstanceSegmenter, points: Points, support: Support | None = None
) -> Prompted:
    """Determine the extent of each instance, then segment it again, limited by the common diameter.

    Parameters
    ----------
    first, instances
        From `first_look`, called without a diameter.
    points
        As in `first_look`.
    support
        How well the rest of the tomogram supports a mask; None judges masks by their clicks alone.

    Notes
    -----
    Filaments are left as they are: no diameter limits them, and the click need not be near their centre.
    """
    settled, is_trusted, is_sure = [], [], []
    for point, mask in zip(points, first.masks, strict=True):
        if mask.n_voxels < _LEAST_VOXELS or is_filament(mask):
            settled.append(mask)
            is_trusted.append(mask.n_voxels > 0)
            is_sure.append(is_filament(mask))
            continue
        mask, evidence = _settle(instances, point, mask, support)
        settled.append(mask)
        is_trusted.append(evidence >= _TRUSTED)
        is_sure.append(evidence >= _SURE)
    reliable = [mask for mask, trust in zip(settled, is_trusted, strict=True) if trust]
    diameter = diameter_of(reliable or settled)
    masks = tuple(settled)
    if not any(is_filament(mask) for mask in settled):
        again = instances.under(points, diameter)
        masks = tuple(new if new.iou(old) >= _ALIKE else old for old, new in zip(settled, again, strict=True))
    is_size_sure = 2 * sum(is_sure) >= len(is_sure)  # the diameter is that of the median mask
    return replace(first, masks=masks, is_trusted=tuple(is_trusted), diameter=diameter, is_size_sure=is_size_sure)


def _settle(
    instances: InstanceSegmenter, point: Float[np.ndarray, " 3"], mask: InstanceMask, support: Support | None
) -> tuple[InstanceMask, float]:
    """Choose the largest of a click's masks whose evidence is close to the best; returns it and its evidence."""
    first = diameter_of([mask])
    masks, evidence = [mask], [_evidence(point, mask, first, support)]
    for bound in first * np.array(_TIGHTENINGS):
        if evidence[-1] >= _ENOUGH or bound < _LEAST_DIAMETER:
            break
        (tighter,) = instances.under(point[None], float(bound))
        if tighter.n_voxels >= _LEAST_VOXELS and all(tighter.iou(other) < _SAME for other in masks):
            masks.append(tighter)
            evidence.append(_evidence(point, tighter, first, support))
    best = next(i for i, value in enumerate(evidence) if value >= _NEARLY * max(evidence))
    return masks[best], evidence[best]


def _evidence(point: Float[np.ndarray, " 3"], mask: InstanceMask, first: float, support: Support | None) -> float:
    """How well a mask is centred on its click, times its support, times a penalty if it is much smaller than the first.

    The penalty is needed because the first mask may include a neighbour, but is seldom many times as large as the
    particle. Support alone would favour small masks: noise is full of similar small structures.
    """
    diameter = diameter_of([mask])
    off_centre = float(np.linalg.norm(mask.centroid - point)) / (_OFF_CENTRE * diameter)
    smaller = max(0.0, float(np.log(_PLAUSIBLE * first / diameter))) / _SMALLER
    likely = float(np.exp(-0.5 * off_centre**2 - 0.5 * smaller**2))
    return likely if support is None or likely < _TRUSTED else likely * support(point, mask)


def diameter_of(masks: Sequence[InstanceMask]) -> float:
    """Diameter in voxels of a ball with the median volume of the masks that are not empty."""
    volumes = [mask.n_voxels for mask in masks if mask.n_voxels]
    return ball_diameter(float(np.median(volumes))) if volumes else _UNKNOWN_DIAMETER


def is_filament(mask: InstanceMask) -> bool:
    """Whether a mask is many times longer than it is wide."""
    if mask.n_voxels < _LEAST_VOXELS:
        return False
    low, _, high = np.linalg.eigvalsh(np.cov(np.argwhere(mask.data), rowvar=False))
    return bool(high > _ELONGATED**2 * max(float(low), 1e-6))
