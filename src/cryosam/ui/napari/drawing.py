"""Layers that show a session: where to click, what was found, and the masks of both."""

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
_BALL = "rescale_spherical"  # a point is a ball: it is seen in every slice that cuts it
_WIDTH = 6.0  # voxels, of a click, and of a particle of unknown size


@dataclass(frozen=True, eq=False)
class Drawn:
    """One particle that is shown.

    Parameters
    ----------
    kind, candidate
        Which it is.
    score
        In [0, 1]; what was added by hand is certain.
    instance
        Its label in the labels layer, and in the files that are exported.
    """

    kind: int
    candidate: Candidate
    score: float
    instance: int


def shown_of(state: State) -> tuple[Drawn, ...]:
    """All that is shown of the session's one tomogram, best first, as it is exported."""
    rows = [
        (1.0 if candidate.score is None else candidate.score, kind.id, candidate)
        for kind in state.kinds
        for candidate in state.view(0, kind.id).shown
    ]
    rows.sort(key=lambda row: -row[0])
    return tuple(Drawn(kind, candidate, score, i) for i, (score, kind, candidate) in enumerate(rows, start=1))


def labels_of(shape: tuple[int, int, int], masks: Sequence[InstanceMask]) -> Labels:
    """Masks as labels from 1; where two overlap, the first one wins."""
    n = len(masks)
    return Segmentation(shape, np.zeros((n, 3)), np.ones(n), tuple(masks)).labels()


def add_clicks(viewer: ViewerModel, image: layers.Image, name: str, colour: str) -> layers.Points:
    """A points layer to click in, upon an image; it is ready for the first click."""
    layer = viewer.add_points(
        np.zeros((0, 3)),
        ndim=3,
        name=name,
        features={CLICK: np.zeros(0, dtype=object)},
        feature_defaults={CLICK: PARTICLE},  # without it an empty layer has no colour, which napari's controls ask for
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
    """Say what the next clicks in a layer are on; those that are there stay what they are."""
    if CLICK not in layer.features:
        layer.features = layer.features.assign(**{CLICK: PARTICLE})
    layer.feature_defaults = layer.feature_defaults.assign(**{CLICK: PARTICLE if is_positive else OTHER})


def clicks_in(layer: layers.Points, image: layers.Image) -> list[tuple[Point, bool]]:
    """Where in an image's voxels a layer was clicked, and whether on the kind; points of other programs are."""
    is_positive = [True] * len(layer.data) if CLICK not in layer.features else list(layer.features[CLICK] != OTHER)
    return [
        ((z, y, x), bool(sign)) for (z, y, x), sign in zip(voxels_of(layer, image).tolist(), is_positive, strict=True)
    ]


def add_found(
    viewer: ViewerModel, image: layers.Image, kind: Kind, size: Size | None, found: Sequence[Drawn]
) -> layers.Points:
    """A points layer of the particles found of a kind, rings as wide as the particles are."""
    width = _WIDTH if size is None else size.diameter
    _reach(viewer, width / 2 * np.abs(image.scale))
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
    """Centres ``(n, 3)``, z, y, x in voxels."""
    return np.array([each.candidate.point for each in found], dtype=float).reshape(-1, 3)


def features_of(found: Sequence[Drawn]) -> dict[str, Any]:
    """Columns of the layer: the score, the label of the mask, and the number by which it is known again."""
    return {
        "score": np.array([each.score for each in found], dtype=float),
        "instance": np.array([each.instance for each in found], dtype=int),
        "candidate": np.array([each.candidate.id for each in found], dtype=int),
    }


def _reach(viewer: ViewerModel, distance: np.ndarray) -> None:
    """Look for balls that cut a slice up to a distance from it; napari looks no farther than its margins.

    Images would be averaged over the margins. They go on to show one slice, unless the user looks at thick ones: those
    stay as they are.
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
