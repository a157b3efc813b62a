"""Every coordinate map against its inverse, and against positions that can be read off a small array."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryosam.arrays import PLANES, Plane
from cryosam.geometry import (
    AXIS,
    ModelFrame,
    Window,
    child_mask,
    in_plane_axes,
    level_shape,
    level_to_voxel,
    patch_to_pixel,
    pixel_to_patch,
    slice_to_volume,
    volume_to_slice,
    voxel_to_level,
)
from cryosam.tomogram import Tomogram

planes = st.sampled_from(PLANES)
coordinates = st.floats(-2000, 2000, width=32)


def rows(n_columns: int) -> st.SearchStrategy[np.ndarray]:
    """Positions, one a row."""
    return st.integers(0, 6).flatmap(lambda n: hnp.arrays(np.float64, (n, n_columns), elements=coordinates))


# slice <-> volume


@pytest.mark.parametrize(("plane", "axes"), [("z", (1, 2)), ("y", (0, 2)), ("x", (0, 1))])
def test_rows_and_columns_of_a_slice(plane: Plane, axes: tuple[int, int]) -> None:
    assert in_plane_axes(plane) == axes


@given(rows(3), planes)
def test_volume_to_slice_and_back(points: np.ndarray, plane: Plane) -> None:
    np.testing.assert_array_equal(slice_to_volume(*volume_to_slice(points, plane), plane), points)


@given(planes, st.data())
def test_a_voxel_is_found_in_its_slice(plane: Plane, data: st.DataObject) -> None:
    """The maps agree with how a tomogram is sliced, not only with each other."""
    shape = (3, 4, 5)
    volume = np.arange(60, dtype=np.float32).reshape(shape)
    voxel = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    (depth,), ((row, col),) = volume_to_slice(np.array([voxel], dtype=float), plane)
    assert depth == voxel[AXIS[plane]]
    assert Tomogram(volume).slice(plane, int(depth))[int(row), int(col)] == volume[voxel]


# window


@given(coordinates, coordinates, st.integers(1, 64))
def test_window_is_centred_within_half_a_voxel(row: float, col: float, size: int) -> None:
    window = Window.around(row, col, size)
    assert (window.height, window.width) == (size, size)
    assert abs(window.top + (size - 1) / 2 - row) <= 0.5 + 1e-9
    assert abs(window.left + (size - 1) / 2 - col) <= 0.5 + 1e-9


def test_odd_window_has_the_point_at_its_centre() -> None:
    window = Window.around(10.0, 20.0, 5)
    np.testing.assert_array_equal(window.to_window(np.array([[10.0, 20.0]])), [[2.0, 2.0]])


@given(rows(2), st.integers(-50, 50), st.integers(-50, 50))
def test_to_window_and_back(positions: np.ndarray, top: int, left: int) -> None:
    window = Window(top, left, 7, 9)
    np.testing.assert_allclose(window.to_slice(window.to_window(positions)), positions, atol=1e-9)


@given(st.integers(-12, 12), st.integers(-12, 12), st.integers(1, 9), st.integers(1, 9))
def test_overlap_copies_each_voxel_to_its_place(top: int, left: int, height: int, width: int) -> None:
    """Voxel by voxel: what lies inside the slice is copied, what lies outside stays padding."""
    image = np.arange(1, 36).reshape(5, 7)
    window = Window(top, left, height, width)
    in_slice, in_window = window.overlap(*image.shape)
    cut = np.zeros((height, width), dtype=int)
    cut[in_window] = image[in_slice]
    for row, col in product(range(height), range(width)):
        inside = 0 <= row + top < 5 and 0 <= col + left < 7
        assert cut[row, col] == (image[row + top, col + left] if inside else 0)


# model input

frames = st.builds(ModelFrame, st.integers(1, 1200), st.integers(1, 1200), st.integers(16, 1024))


@given(frames, rows(2))
def test_to_model_and_back(frame: ModelFrame, positions: np.ndarray) -> None:
    np.testing.assert_allclose(frame.to_image(frame.to_model(positions)), positions, atol=1e-6)


@given(frames)
def test_image_edges_are_the_edges_of_the_content(frame: ModelFrame) -> None:
    """The outer edges, half a pixel beyond the centres, map onto each other exactly."""
    edges = np.array([[-0.5, -0.5], [frame.height - 0.5, frame.width - 0.5]])
    height_px, width_px = frame.content_px
    np.testing.assert_allclose(frame.to_model(edges), [[-0.5, -0.5], [height_px - 0.5, width_px - 0.5]], atol=1e-9)
    assert max(frame.content_px) == frame.size_px


@given(frames)
def test_aspect_is_kept_within_half_a_pixel(frame: ModelFrame) -> None:
    height_px, width_px = frame.content_px
    assert height_px == 1 or abs(height_px - frame.height * frame.scale) <= 0.5
    assert width_px == 1 or abs(width_px - frame.width * frame.scale) <= 0.5


def test_the_short_side_of_a_slice_is_not_stretched() -> None:
    """A 100 x 200 slice at 400 px: two pixels a voxel on both axes, the lower half is padding."""
    frame = ModelFrame(height=100, width=200, size_px=400)
    assert frame.content_px == (200, 400)
    np.testing.assert_array_equal(frame.to_model(np.array([[99.0, 199.0]])), [[198.5, 398.5]])


# patches


@given(hnp.arrays(np.float64, 5, elements=coordinates), st.sampled_from([4, 8, 14, 16, 2.5]))
def test_patch_to_pixel_and_back(pixels: np.ndarray, patch_px: float) -> None:
    np.testing.assert_allclose(patch_to_pixel(pixel_to_patch(pixels, patch_px), patch_px), pixels, atol=1e-9)


@pytest.mark.parametrize("patch_px", [1, 3, 14])
def test_patch_centre_is_the_mean_of_its_pixels(patch_px: int) -> None:
    pixels = np.arange(5 * patch_px).reshape(5, patch_px)
    np.testing.assert_allclose(patch_to_pixel(np.arange(5.0), patch_px), pixels.mean(axis=1))


# levels


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_cell_centre_is_the_mean_of_its_voxels(stride: int) -> None:
    voxels = np.indices((2 * stride, 3 * stride, stride)).reshape(3, -1).T
    cells = voxels // stride
    for cell in np.unique(cells, axis=0):
        mean = voxels[(cells == cell).all(axis=1)].mean(axis=0)
        np.testing.assert_allclose(level_to_voxel(cell[None], stride)[0], mean)


@given(rows(3), st.sampled_from([1, 2, 4, 16]))
def test_voxel_to_level_and_back(points: np.ndarray, stride: int) -> None:
    np.testing.assert_allclose(level_to_voxel(voxel_to_level(points, stride), stride), points, atol=1e-9)


@given(st.tuples(*[st.integers(1, 40)] * 3), st.sampled_from([1, 2, 4, 16]))
def test_every_voxel_lies_in_one_cell_of_its_level(shape: tuple[int, int, int], stride: int) -> None:
    """The last voxel's cell is the level's last, so no voxel is left out and no cell is empty."""
    last = np.array(shape) - 1
    np.testing.assert_array_equal(last // stride + 1, level_shape(shape, stride))
    np.testing.assert_array_equal(np.round(voxel_to_level(last[None].astype(float), stride))[0], last // stride)


def test_centres_of_cells_over_the_end_are_clipped_into_the_volume() -> None:
    shape = (5, 9, 4)
    cells = np.argwhere(np.ones(level_shape(shape, 4), dtype=bool))
    centres = level_to_voxel(cells, 4, shape)
    assert (centres >= 0).all()
    assert (centres <= np.array(shape) - 1).all()
    np.testing.assert_array_equal(centres[-1], [4.0, 8.0, 1.5])


@given(st.tuples(*[st.integers(1, 13)] * 3), st.sampled_from([(4, 2), (8, 2), (3, 1), (4, 4)]), st.data())
def test_children_against_the_voxels_they_share(
    shape: tuple[int, int, int], strides: tuple[int, int], data: st.DataObject
) -> None:
    """Children by definition: the finer cells that share a voxel of the volume with a parent."""
    coarse, fine = strides
    is_parent = data.draw(hnp.arrays(bool, level_shape(shape, coarse)))
    voxels = np.indices(shape).reshape(3, -1).T
    expected = np.zeros(level_shape(shape, fine), dtype=bool)
    expected[tuple((voxels[is_parent[tuple((voxels // coarse).T)]] // fine).T)] = True
    np.testing.assert_array_equal(child_mask(is_parent, coarse // fine, level_shape(shape, fine)), expected)
