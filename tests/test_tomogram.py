"""What a tomogram refuses, its slices, and its identity."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryosam.errors import TomogramError, VoxelSizeError
from cryosam.tomogram import Tomogram, box_around

SHAPE = (9, 10, 11)


def ramp(dtype: str = "f4") -> np.ndarray:
    """990 distinct intensities, ascending."""
    return np.arange(990).reshape(SHAPE).astype(dtype)


# construction


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((4, 5), r"three dimensions \(z, y, x\), this has 2"),
        ((2, 3, 4, 5), "this has 4"),
        ((0, 4, 5), "empty"),
        ((4, 0, 5), "empty"),
    ],
)
def test_not_a_volume(shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(TomogramError, match=reason):
        Tomogram(np.zeros(shape, dtype=np.float32))


def test_complex_voxels_are_refused() -> None:
    with pytest.raises(TomogramError, match="real numbers, these are complex64"):
        Tomogram(np.zeros(SHAPE, dtype=np.complex64))


@pytest.mark.parametrize("size", [0.0, -3.0, float("nan"), float("inf")])
def test_voxel_size_must_mean_something(size: float) -> None:
    with pytest.raises(VoxelSizeError, match="must be positive"):
        Tomogram(ramp(), voxel_size_angstrom=size)


def test_lengths_need_a_voxel_size() -> None:
    assert Tomogram(ramp(), voxel_size_angstrom=13.5).voxels(270) == 20
    with pytest.raises(VoxelSizeError, match="--voxel-size"):
        Tomogram(ramp()).voxels(270)


def test_slices_of_each_plane() -> None:
    volume = ramp("i2")
    tomogram = Tomogram(volume)
    np.testing.assert_array_equal(tomogram.slice("z", 2), volume[2])
    np.testing.assert_array_equal(tomogram.slice("y", 3), volume[:, 3])
    np.testing.assert_array_equal(tomogram.slice("x", 4), volume[:, :, 4])
    assert tomogram.slice("x", 4).dtype == np.float32


# digest


def test_digest_is_of_the_voxels_not_of_name_layout_or_place(tmp_path: Path) -> None:
    volume = ramp()
    digest = Tomogram(volume, 10.0, "a").digest()
    assert Tomogram(volume, 20.0, "b").digest() == digest
    assert Tomogram(np.asfortranarray(volume)).digest() == digest
    np.save(tmp_path / "volume.npy", volume)
    assert Tomogram(np.load(tmp_path / "volume.npy", mmap_mode="r")).digest() == digest


def test_digest_tells_values_types_and_shapes_apart() -> None:
    volume = ramp()
    changed = volume.copy()
    changed[-1, -1, -1] += 1
    others = [changed, volume.astype("f8"), volume.view("i4"), volume.reshape(10, 9, 11), volume.transpose(2, 1, 0)]
    assert len({Tomogram(v).digest() for v in [volume, *others]}) == 6


# box_around


@given(st.data(), st.tuples(*[st.integers(1, 30)] * 3), st.integers(0, 12))
def test_a_box_holds_what_lies_around_a_point_and_starts_at_even_voxels(data, shape, half) -> None:
    """Points between voxels too, of which those in the middle show how halves are rounded."""
    point = np.array([data.draw(st.integers(0, 4 * (n - 1))) / 4 for n in shape])
    box, inside = box_around(point, half, shape)
    for part, c, there, n in zip(box, point, inside, shape, strict=True):
        assert part.start % 2 == 0
        assert there == c - part.start
        assert round(there) == round(c) - part.start  # the same voxel, whichever of both is rounded
        around = [i for i in range(n) if abs(i - round(c)) <= half]
        indices = range(n)[part]
        assert set(around) <= set(indices) <= {around[0] - 1, *around}


@pytest.mark.parametrize(
    ("point", "half", "expected", "inside"),
    [
        ((10.0, 10, 10), 3, ((6, 14), (6, 14), (6, 12)), (4, 4, 4)),
        ((11.0, 11, 11), 3, ((8, 15), (8, 15), (8, 12)), (3, 3, 3)),
        ((0.0, 29, 11), 4, ((0, 5), (24, 30), (6, 12)), (0, 5, 5)),  # at faces
        ((10.5, 9.5, 6.5), 2, ((8, 13), (8, 13), (4, 9)), (2.5, 1.5, 2.5)),
        ((10.0, 10, 6), 99, ((0, 20), (0, 30), (0, 12)), (10, 10, 6)),  # all there is
        ((-0.4, 29.4, 11.4), 2, ((0, 3), (26, 30), (8, 12)), (-0.4, 3.4, 3.4)),  # in the outer half of a voxel
    ],
)
def test_boxes_around_points_of_a_volume_that_is_no_cube(point, half, expected, inside) -> None:
    box, there = box_around(np.array(point, dtype=float), half, (20, 30, 12))
    assert box == tuple(slice(*ends) for ends in expected)
    np.testing.assert_allclose(there, inside)


def test_the_voxel_at_a_point_is_that_of_its_box() -> None:
    volume = ramp()
    box, inside = box_around(np.array([7.0, 3, 9]), 2, SHAPE)
    assert volume[box][tuple(inside.astype(int))] == volume[7, 3, 9]
