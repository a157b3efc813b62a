"""Copies of a volume: the same slices, wherever the voxels lie."""

from itertools import product

import numpy as np
import pytest

from cryosam.arrays import PLANES
from cryosam.errors import OutputError
from cryosam.geometry import AXIS
from cryosam.ui import copies
from cryosam.ui.copies import Copy, DiskCopy, MemoryCopy

SHAPES = ((5, 40, 33), (33, 7, 64), (70, 31, 1))


@pytest.mark.parametrize(("kind", "shape"), tuple(product((MemoryCopy, DiskCopy), SHAPES)))
def test_slices_are_the_volumes(kind: type[MemoryCopy | DiskCopy], shape: tuple[int, int, int]) -> None:
    volume = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    copy: Copy = kind(shape)
    for z, section in enumerate(volume):
        copy.write(z, section)
    for plane in PLANES:
        n = shape[AXIS[plane]]
        for index in {0, n // 2, n - 1}:
            np.testing.assert_array_equal(copy.slice(plane, index), np.take(volume, index, axis=AXIS[plane]))


def test_few_cubes_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = DiskCopy((40, 70, 100))
    for z in range(40):
        copy.write(z, np.full((70, 100), z, dtype=np.uint8))
    monkeypatch.setattr(copies, "_KEPT", 2 * 2 * 3 * 32**3)
    for index in (0, 99, 50, 0, 1):
        assert copy.slice("x", index)[:, 0].tolist() == list(range(40))
    assert list(copy._blocks) == [("x", 1), ("x", 0)]


def test_a_full_disk_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with pytest.raises(OutputError, match="TMPDIR"):
        DiskCopy((5, 6, 7))
