"""Slices through a tomogram for a page, with outlines and clicks: what all reports draw."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from cryosam.arrays import PLANES
from cryosam.geometry import AXIS
from cryosam.io.pictures import Picture, SliceView, View, gray_range, scale_bar
from cryosam.prompts import PointPrompts
from cryosam.tomogram import Tomogram

__all__ = ["Outlined", "SliceDrawing"]

Outlined = list[tuple[str, str, str, bool]]
"""Outlines as a `Picture` takes them."""


class SliceDrawing:
    """Draws slices of one tomogram, all with the same grey values.

    Parameters
    ----------
    tomogram
        Its intensities are shown unchanged.
    prompts
        The clicks on each kind, marked in whole slices.
    voxel_size_angstrom
        For scale bars.
    """

    def __init__(self, tomogram: Tomogram, prompts: Sequence[PointPrompts], voxel_size_angstrom: float | None) -> None:
        self._data, self._prompts = tomogram.data, prompts
        self.voxel_size_angstrom = voxel_size_angstrom

    @cached_property
    def _gray(self) -> tuple[float, float]:
        return gray_range(self._data)

    def view(self, title: str, point: Sequence[float], outlines: Callable[[SliceView], Outlined]) -> View:
        """Draw whole slices through a point; plane x is transposed, so that its y axis is that of plane z."""
        shape = self._data.shape
        planes = {}
        for plane in PLANES:
            view = SliceView.through(point, plane, shape, is_transposed=plane == "x")
            marks = [(*view.to_picture(point), "cross"), *self._clicks(view)]
            planes[plane] = self.picture(view, outlines(view), marks)
        return View(title, planes, scale_bar(self.voxel_size_angstrom, shape[2]))

    def picture(self, view: SliceView, outlines: Outlined, marks: Sequence[tuple[float, float, str]] = ()) -> Picture:
        """Draw one slice, or a part of it."""
        return Picture(view.png(self._data, self._gray), *view.size, outlines, list(marks))

    def _clicks(self, view: SliceView) -> list[tuple[float, float, str]]:
        """The clicks that lie in a slice or in the one beside it."""
        marks = []
        for each in self._prompts:
            for kind, points in (("positive", each.positive), ("negative", each.negative)):
                near = points[np.abs(points[:, AXIS[view.plane]] - view.index) <= 1]
                marks += [(*view.to_picture(p), kind) for p in near.tolist()]
        return marks
