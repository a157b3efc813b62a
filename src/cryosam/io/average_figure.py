"""An average in the report: slices through its middle, and its Fourier shell correlation."""

from dataclasses import dataclass

from cryosam.arrays import PLANES
from cryosam.io.pictures import SliceView, gray_range
from cryosam.results import Average, Segmentation

__all__ = ["AverageFigure", "draw_average"]

_TICKS = (0.25, 0.5, 0.75, 1.0)  # of the highest frequency that is drawn


@dataclass(frozen=True)
class AverageFigure:
    """What the template draws.

    Parameters
    ----------
    kind
        Name of the kind.
    pictures
        Slices z, y and x through the middle, as data URIs.
    curve
        Points of the curve, in percent of the drawing from its upper left corner; empty if nothing was measured.
    ticks
        Position of each label on the axis of frequencies, in percent, and the label.
    resolution
        Finest period down to which the curve is at least a half, with its unit; None if nothing was measured.
    """

    kind: str
    pictures: tuple[str, ...]
    curve: str
    ticks: tuple[tuple[float, str], ...]
    resolution: str | None


def draw_average(segmentation: Segmentation) -> AverageFigure | None:
    """Draw the average of one kind; None if it has none.

    Examples
    --------
    >>> import numpy as np
    >>> average = Average(np.random.default_rng(0).random((8, 8, 8), dtype=np.float32), 1.5, np.array([1, 1, 1, 0.2]))
    >>> nothing = Segmentation((9, 9, 9), np.empty((0, 3)), np.empty(0), (), average=average, voxel_size_angstrom=10.0)
    >>> figure = draw_average(nothing)
    >>> figure.curve, figure.ticks[-1], figure.resolution
    ('0 4 25 4 50 4 75 80.8', (100.0, '1/30 Å'), '60 Å')
    """
    average = segmentation.average
    if average is None:
        return None
    resolution = average.resolution()
    size = segmentation.voxel_size_angstrom
    return AverageFigure(
        kind=segmentation.kind,
        pictures=_pictures(average),
        curve=_curve(average),
        ticks=tuple((100 * share, f"1/{_length(2 * average.step / share, size)}") for share in _TICKS),
        resolution=None if resolution is None else _length(resolution, size),
    )


def _pictures(average: Average) -> tuple[str, ...]:
    grey, edge = gray_range(average.data), len(average.data)
    centre = (edge // 2,) * 3
    views = [SliceView.through(centre, plane, average.data.shape, is_transposed=plane == "x") for plane in PLANES]
    return tuple(view.png(average.data, grey) for view in views)


def _curve(average: Average) -> str:
    """The correlation up to half a cycle per pixel; the upper 4 percent of the drawing stay free."""
    if average.fsc is None:
        return ""
    highest = len(average.data) // 2
    shells = average.fsc[: highest + 1]
    points = [(100 * s / highest, 100 - 96 * max(float(c), 0.0)) for s, c in enumerate(shells)]
    return " ".join(f"{x:.4g} {y:.4g}" for x, y in points)


def _length(voxels: float, voxel_size_angstrom: float | None) -> str:
    return f"{voxels:.3g} voxels" if voxel_size_angstrom is None else f"{voxels * voxel_size_angstrom:.3g} Å"
