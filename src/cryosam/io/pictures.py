"""Slices as grey PNG images, and the outlines of masks in them as SVG paths.

Picture coordinates are those of SVG, in voxels: x to the right, y down; the centre of the first voxel is at 0.5.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image as PillowImage
from skimage.measure import find_contours

from cryosam.arrays import AnyVolume, Plane
from cryosam.geometry import AXIS, in_plane_axes
from cryosam.hot_voxels import sample_without_hot_voxels
from cryosam.masks import InstanceMask

__all__ = ["Picture", "SliceView", "View", "colour", "encode_colours", "gray_range", "scale_bar"]

_MAX_PX = 1400
_SLAB = 3  # slices averaged in a picture: one is noisy, more would blur a small particle


def colour(index: int) -> str:
    """Return a bright colour for instance ``index``; consecutive hues differ by the golden angle.

    Examples
    --------
    >>> colour(0), colour(1)
    ('hsl(48 95% 60%)', 'hsl(186 95% 60%)')
    """
    return f"hsl({round(48 + 137.508 * index) % 360} 95% 60%)"


def gray_range(data: AnyVolume, percentiles: tuple[float, float] = (0.5, 99.5)) -> tuple[float, float]:
    """Return the intensities to show as black and white, from a sample of the volume.

    Examples
    --------
    >>> gray_range(np.arange(1001.0).reshape(7, 11, 13), (0.0, 100.0))
    (0.0, 1000.0)
    """
    z, y, x = (max(1, n // 64) | 1 for n in data.shape)  # odd, as damaged pixels are often at multiples of 8
    sample = sample_without_hot_voxels(data, (z, y, x))
    low, high = (float(v) for v in np.percentile(sample.astype(np.float32), percentiles))
    return (low, high) if high > low else (low - 1, low + 1)


@dataclass(frozen=True)
class Picture:
    """A grey image with its outlines ``(path, colour, title, is_main)`` and marked points ``(x, y, kind)``."""

    png: str
    width: int
    height: int
    outlines: list[tuple[str, str, str, bool]]
    marks: list[tuple[float, float, str]]


@dataclass(frozen=True)
class View:
    """Three orthogonal slices through one point; ``bar`` is the length in voxels and the label of a scale bar."""

    title: str
    planes: dict[Plane, Picture]
    bar: tuple[float, str] | None


def scale_bar(voxel_size_angstrom: float | None, width: int) -> tuple[float, str] | None:
    """Return length in voxels and label of a scale bar: a round number of nanometres, about a quarter of ``width``.

    Examples
    --------
    >>> scale_bar(10.0, 300)
    (50.0, '50 nm')
    """
    if voxel_size_angstrom is None:
        return None
    about = width * voxel_size_angstrom / 10 / 4
    power = 10.0 ** np.floor(np.log10(about))
    length = max(m * power for m in (1, 2, 5) if m * power <= about * (1 + 1e-9))
    return float(length * 10 / voxel_size_angstrom), f"{length:g} nm"


@dataclass(frozen=True)
class SliceView:
    """A rectangle of one slice, and its orientation in a picture.

    Parameters
    ----------
    plane, index
        Plane and index of the slice.
    rows, cols
        First voxel and the one after the last.
    is_transposed
        Whether rows run to the right and columns down.
    """

    plane: Plane
    index: int
    rows: tuple[int, int]
    cols: tuple[int, int]
    is_transposed: bool = False

    @classmethod
    def through(
        cls,
        point: Sequence[float],
        plane: Plane,
        shape: Sequence[int],
        *,
        half: int | None = None,
        is_transposed: bool = False,
    ) -> "SliceView":
        """Return the slice through a point z, y, x: the part within ``half`` voxels of the point, or the whole slice.

        Examples
        --------
        >>> SliceView.through((4.0, 5.0, 6.0), "y", (9, 10, 11), half=3)
        SliceView(plane='y', index=5, rows=(1, 8), cols=(3, 10), is_transposed=False)
        """
        rows, cols = (
            (0, shape[a])
            if half is None
            else (max(0, round(point[a]) - half), min(shape[a], round(point[a]) + half + 1))
            for a in in_plane_axes(plane)
        )
        return cls(plane, round(point[AXIS[plane]]), rows, cols, is_transposed)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in voxels."""
        height, width = self.rows[1] - self.rows[0], self.cols[1] - self.cols[0]
        return (height, width) if self.is_transposed else (width, height)

    def to_picture(self, point: Sequence[float]) -> tuple[float, float]:
        """Return the picture coordinates x, y of a point z, y, x, projected onto the slice.

        Examples
        --------
        >>> SliceView("z", 0, (2, 9), (3, 9)).to_picture((0.0, 2.0, 4.0))
        (1.5, 0.5)
        """
        row, col = (point[a] + 0.5 for a in in_plane_axes(self.plane))
        down, right = row - self.rows[0], col - self.cols[0]
        return (down, right) if self.is_transposed else (right, down)

    def png(self, data: AnyVolume, gray: tuple[float, float]) -> str:
        """Return the mean of three slices as a data URI; ``gray`` gives the intensities of black and white.

        An image larger than a screen is reduced by averaging blocks.
        """
        ranges = [slice(0, 0)] * 3
        ranges[AXIS[self.plane]] = slice(max(0, self.index - _SLAB // 2), self.index + _SLAB // 2 + 1)
        for axis, extent in zip(in_plane_axes(self.plane), (self.rows, self.cols), strict=True):
            ranges[axis] = slice(*extent)
        image = np.asarray(data[tuple(ranges)], dtype=np.float32).mean(axis=AXIS[self.plane])
        return _encode(image.T if self.is_transposed else image, gray)

    def outline(self, mask: InstanceMask) -> str:
        """Return the SVG path around the voxels of a mask in this slice; empty if there are none.

        Examples
        --------
        >>> voxel = InstanceMask((1, 2, 3), np.ones((1, 1, 1), dtype=bool))
        >>> SliceView("z", 1, (0, 9), (0, 9)).outline(voxel)
        'M3.5 3L3 2.5L3.5 2L4 2.5Z'
        """
        axis, in_plane = AXIS[self.plane], in_plane_axes(self.plane)
        depth = self.index - mask.origin[axis]
        if not 0 <= depth < mask.data.shape[axis]:
            return ""
        starts, stops = (np.array(ends) for ends in zip(self.rows, self.cols, strict=True))
        first = np.array([mask.origin[a] for a in in_plane])
        if (first >= stops).any() or (first + [mask.data.shape[a] for a in in_plane] <= starts).any():
            return ""
        rings = find_contours(np.pad(np.take(mask.data, depth, axis=axis), 1).astype(np.float32), 0.5)
        parts = []
        for ring in rings:
            rows_cols = ring[:-1] - 1 + 0.5 + first - starts  # -1 for the padding; voxel centres are at half-integers
            xy = rows_cols if self.is_transposed else rows_cols[:, ::-1]
            parts.append("M" + "L".join(f"{x:g} {y:g}" for x, y in xy) + "Z")
        return "".join(parts)

    def circle(self, centre: Sequence[float], radius: float) -> str:
        """Return the SVG path of the circle in which this slice cuts a ball; empty if it does not cut it.

        Examples
        --------
        >>> SliceView("z", 4, (0, 9), (0, 9)).circle((1.0, 2.0, 3.0), 5.0)
        'M-0.5 2.5a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z'
        """
        squared = radius**2 - (centre[AXIS[self.plane]] - self.index) ** 2
        if squared <= 0:
            return ""
        r = round(squared**0.5, 2)
        x, y = self.to_picture(centre)
        return f"M{x - r:g} {y:g}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0Z"


def _encode(image: Float[np.ndarray, "h w"], gray: tuple[float, float]) -> str:
    factor = -(-max(image.shape) // _MAX_PX)
    if factor > 1:
        h, w = (max(1, n // factor) * factor for n in image.shape)
        rows, cols = np.minimum(np.arange(h), image.shape[0] - 1), np.minimum(np.arange(w), image.shape[1] - 1)
        image = image[np.ix_(rows, cols)].reshape(h // factor, factor, w // factor, factor).mean(axis=(1, 3))
    low, high = gray
    return encode_colours((image - low) / (high - low))


def encode_colours(image: Float[np.ndarray, "h w *rgb"]) -> str:
    """Return an image as a data URI; 0 is black and 1 is white, and what is beyond is clipped.

    Examples
    --------
    >>> encode_colours(np.zeros((2, 3, 3)))[:30]
    'data:image/png;base64,iVBORw0K'
    """
    pixels = np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
