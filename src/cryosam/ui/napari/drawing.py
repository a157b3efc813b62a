"""Layers that show a session: clicks, particles found, and the masks of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari import layers
from napari.components import ViewerModel

from cryosam.arrays import Labels
from cryosam.masks import InstanceMask
from cryosam.results import Segmentation
from cryosam.ui.napari.placement import placement, voxels_of
from cryosam.ui.state import Candidate, Kind, Point, Size, State

__all__ = [
    "CLICK",
    "OTHER",
    "PARTICLE",
    "Drawn",
    "add_clicks",
    "add_found",
    "clicks_in",
    "features_of",
    "labels_of",
    "mark",
    "points_of",
    "shown_of",
]

CLICK, PARTICLE, OTHER = "click", "particle", "other"
"""The column of a points layer that says whether a click is on a particle of the kind or on something else."""

_NEGATIVE = "#ff4d4d"
_BALL = "rescale_spherical"  # a point is drawn as a ball, in every slice that cuts it
_WIDTH = 6.0  # voxels, width of a click and of a particle of unknown size


@dataclass(frozen=True, eq=False)
class Drawn:
    """One particle that is shown.

    Parameters
    ----------
    kind, candidate
        Number of the kind, and the candidate.
    score
        In [0, 1]; 1 for a particle added by hand.
    instance
        Label of the particle in the labels layer and in exported files.
    """

    kind: int
    candidate: Candidate
    score: float
    instance: int


def shown_of(state: State) -> tuple[Drawn, ...]:
    """Return all shown particles of the tomogram of the session, best first, as they are exported."""
    rows = [
        (1.0 if candidate.score is None else candidate.score, kind.id, candidate)
        for kind in state.kinds
        for candidate in state.view(0, kind.id).shown
    ]
    rows.sort(key=lambda row: -row[0])
    return tuple(Drawn(kind, candidate, score, i) for i, (score, kind, candidate) in enumerate(rows, start=1))


def labels_of(shape: tuple[int, int, int], masks: Sequence[InstanceMask]) -> Labels:
    """Convert masks to labels from 1; where two overlap, the first one is kept."""
    n = len(masks)
    return Segmentation(shape, np.zeros((n, 3)), np.ones(n), tuple(masks)).labels()


def add_clicks(viewer: ViewerModel, image: layers.Image, name: str, colour: str) -> layers.Points:
    """Add a points layer for clicks over an image, in the mode to add points."""
    layer = viewer.add_points(
        np.zeros((0, 3)),
        ndim=3,
        name=name,
        features={CLICK: np.zeros(0, dtype=object)},
        feature_defaults={
            CLICK: PARTICLE
        },  # without it, an empty layer has no colour, which the controls of napari need
        face_color=CLICK,
        face_color_cycle={PARTICLE: colour, OTHER: _NEGATIVE},
        symbol="cross",
        size=_WIDTH,
        projection_mode=_BALL,
        **placement(image),
    )
    layer.mode = "add"
    return layer


def mark(layer: layers.Points, *, is_positive: bool) -> None:
    """Set whether the next clicks in a layer are positive; existing clicks do not change."""
    if CLICK not in layer.features:
        layer.features = layer.features.assign(**{CLICK: PARTICLE})
    layer.feature_defaults = layer.feature_defaults.assign(**{CLICK: PARTICLE if is_positive else OTHER})


def clicks_in(layer: layers.Points, image: layers.Image) -> list[tuple[Point, bool]]:
    """Return the clicks of a layer in voxels of an image, and whether each is positive; unmarked points are."""
    is_positive = [True] * len(layer.data) if CLICK not in layer.features else list(layer.features[CLICK] != OTHER)
    return [
        ((z, y, x), bool(sign)) for (z, y, x), sign in zip(voxels_of(layer, image).tolist(), is_positive, strict=True)
    ]


def add_found(
    viewer: ViewerModel, image: layers.Image, kind: Kind, size: Size | None, found: Sequence[Drawn]
) -> layers.Points:
    """Add a points layer of the particles found of a kind, as rings of their diameter."""
    width = _WIDTH if size is None else size.diameter
    _widen_margins(viewer, width / 2 * np.abs(image.scale))
    return viewer.add_points(
        points_of(found),
        ndim=3,
        name=f"{kind.name}: found",
        features=features_of(found),
        face_color="transparent",
        border_color=kind.colour,
        size=width,
        projection_mode=_BALL,
        **placement(image),
    )


def points_of(found: Sequence[Drawn]) -> np.ndarray:
    """Return the centres ``(n, 3)``, z, y, x in voxels."""
    return np.array([each.candidate.point for each in found], dtype=float).reshape(-1, 3)


def features_of(found: Sequence[Drawn]) -> dict[str, Any]:
    """Return the columns of the layer: the score, the label of the mask, and the number of the candidate."""
    return {
        "score": np.array([each.score for each in found], dtype=float),
        "instance": np.array([each.instance for each in found], dtype=int),
        "candidate": np.array([each.candidate.id for each in found], dtype=int),
    }


def _widen_margins(viewer: ViewerModel, distance: np.ndarray) -> None:
    """Widen the margins of napari, so that balls are drawn in slices up to a distance from their centres.

    Images would be averaged over the margins, so they are set to show one slice. If the user has set thick slices,
    nothing is changed.
    """
    images = [layer for layer in viewer.layers if isinstance(layer, layers.Image)]
    if not any((*viewer.dims.margin_left, *viewer.dims.margin_right)):
        for image in images:
            image.projection_mode = "none"
    if any(image.projection_mode != "none" for image in images):
        return
    for name in ("margin_left", "margin_right"):
        margins = list(getattr(viewer.dims, name))
        margins[-3:] = [max(old, new) for old, new in zip(margins[-3:], distance.tolist(), strict=True)]
        setattr(viewer.dims, name, tuple(margins))
