"""What a tomogram refuses, its slices, and its identity."""

from pathlib import Path

import numpy as np
import pytest

from cryosam.errors import TomogramError, VoxelSizeError
from cryosam.tomogram import Tomogram

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
