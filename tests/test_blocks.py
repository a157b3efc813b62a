"""Blocks give the same answer as the whole: of tomograms that are larger than memory only parts are read at a time."""

from pathlib import Path

import numpy as np
import pytest

from cryosam import PointPrompts, Tomogram, find_structures, read_tomogram
from cryosam.config import Config
from cryosam.geometry import unit
from cryosam.intensities import Normalised, normalise
from cryosam.io import write_volume
from cryosam.missing_wedge import MissingWedge
from cryosam.structure_results import Filament, Membrane, StructureKind, StructureResult
from cryosam.structures import BinnedTomogram, profiles, sheet_masks
from cryosam.structures.binned import _means

SHAPE = (35, 42, 53)
CLICKS: dict[StructureKind, tuple[float, float, float]] = {
    "membrane": (26.0, 30.0, 45.0),
    "filament": (26.0, 62.0, 50.0),
}


def open_binned(voxels: Normalised) -> BinnedTomogram:
    return BinnedTomogram.of(voxels, MissingWedge())


def mapped(folder: Path, data: np.ndarray, size: float) -> Tomogram:
    """The same voxels, from a file that is not read as a whole."""
    write_volume(folder / "mapped.mrc", data, size)
    tomogram = read_tomogram(folder / "mapped.mrc")
    assert isinstance(tomogram.data, np.memmap) or isinstance(tomogram.data.base, np.memmap)
    return Tomogram(tomogram.data, size, "same")


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """A vesicle, a tube along x and noise; protein dark, 20 angstrom a voxel."""
    place = np.moveaxis(np.indices((52, 90, 100)), 0, -1).astype(float)
    vesicle = np.linalg.norm(place - [26.0, 30.0, 30.0], axis=-1) - 15
    tube = np.linalg.norm((place - [26.0, 68.0, 0.0])[..., :2], axis=-1) - 6
    data = 3 * np.exp(-(vesicle**2) / 2 / 1.2**2) + 8 * np.exp(-(tube**2) / 2 / 1.2**2)
    return -(data + np.random.default_rng(0).normal(size=data.shape)).astype(np.float32)


@pytest.mark.parametrize("size", [10.0, 15.0, 20.0, 31.0])
def test_a_binned_volume_is_that_of_all_voxels_at_once(tmp_path: Path, size: float) -> None:
    data = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    whole = normalise(Tomogram(data, 10.0, "same"), "dark", (1.0, 99.0))
    found = open_binned(whole).at(size, clip=np.inf)
    z, y, x = (_means(n, found.factor).toarray() for n in SHAPE)
    expected = np.einsum("az,by,cx,zyx->abc", z, y, x, whole.crop(np.s_[:35, :42, :53]).astype(float), optimize=True)
    expected -= np.median(expected)
    expected *= np.abs(found.data).max() / np.abs(expected).max()
    np.testing.assert_allclose(found.data, expected, atol=2e-5)
    read = normalise(mapped(tmp_path, data, 10.0), "dark", (1.0, 99.0))
    np.testing.assert_array_equal(open_binned(read).at(size).data, open_binned(whole).at(size).data)


@pytest.mark.parametrize("sections", [6, 12, 24])
@pytest.mark.parametrize("size", [15.0, 20.0, 30.0])
def test_slabs_of_any_thickness_are_binned_as_the_whole_is(tmp_path: Path, sections: int, size: float) -> None:
    data = np.random.default_rng(1).normal(size=(48, 42, 53)).astype(np.float32)
    whole = normalise(mapped(tmp_path, data, 10.0), "dark", (1.0, 99.0))
    binned = open_binned(whole).at(size, clip=np.inf)
    rows = int(sections / binned.factor)
    assert rows * binned.factor == sections, "slabs end between two cubes"
    for first in range(0, 48, sections):
        part = Tomogram(whole.source.data[first : first + sections], 10.0, "part")
        slab = open_binned(Normalised(part, whole.low, whole.high, whole.is_inverted)).at(size, clip=np.inf).data
        mine = binned.data[int(first / binned.factor) :][:rows]
        # each is scaled by its own median and deviation
        slope, offset = np.polyfit(slab.ravel(), mine.ravel(), 1)
        np.testing.assert_allclose(slope * slab + offset, mine, atol=1e-4)


@pytest.mark.parametrize("structure", ["membrane", "filament"])
def test_a_mapped_file_and_an_array_give_the_same_structures(
    tmp_path: Path, volume: np.ndarray, structure: StructureKind
) -> None:
    prompts = PointPrompts(np.array([CLICKS[structure]]))
    config = Config().override(tomogram__tilt_range=(-90.0, 90.0))  # nothing is missing in this volume
    whole = find_structures(Tomogram(volume, 20.0, "same"), prompts, structure, config)
    read = find_structures(mapped(tmp_path, volume, 20.0), prompts, structure, config)
    assert whole.instances
    assert_same(read, whole)


@pytest.mark.parametrize("sections", [2, 8, 1000])
def test_sheets_are_measured_and_painted_alike_in_slabs_of_any_thickness(
    volume: np.ndarray, monkeypatch: pytest.MonkeyPatch, sections: int
) -> None:
    tomogram = open_binned(normalise(Tomogram(volume, 20.0, "same"), "dark", (0.1, 99.9)))
    normals = unit(np.random.default_rng(0).normal(size=(3000, 3)))
    points = np.array([26.0, 30.0, 30.0]) + 15 * normals
    mask = sheet_masks.sheet_mask(points, normals, 3.0, 1.0, tomogram.shape)
    measured = profiles.measured_thickness(tomogram, points, normals, 150.0)
    monkeypatch.setattr(profiles, "_SLAB", sections)
    monkeypatch.setattr(sheet_masks, "_SLAB", sections)
    again = sheet_masks.sheet_mask(points, normals, 3.0, 1.0, tomogram.shape)
    assert mask.n_voxels > 3000
    assert again.origin == mask.origin
    np.testing.assert_array_equal(again.data, mask.data)
    # profiles are added up in another order
    assert profiles.measured_thickness(tomogram, points, normals, 150.0) == pytest.approx(measured, rel=1e-6)


def assert_same(one: StructureResult, other: StructureResult) -> None:
    """The same instances, with the same voxels, lines and measures."""
    assert len(one.instances) == len(other.instances)
    for a, b in zip(one.instances, other.instances, strict=True):
        assert a.mask.origin == b.mask.origin
        np.testing.assert_array_equal(a.mask.data, b.mask.data)
        np.testing.assert_array_equal(a.inferred.data, b.inferred.data)
        assert a.score == b.score
        if isinstance(a, Filament) and isinstance(b, Filament):
            np.testing.assert_array_equal(a.points, b.points)
            assert (a.length_angstrom, a.radius_angstrom) == (b.length_angstrom, b.radius_angstrom)
        if isinstance(a, Membrane) and isinstance(b, Membrane):
            np.testing.assert_array_equal(a.points, b.points)
            np.testing.assert_array_equal(a.mesh.vertices, b.mesh.vertices)
            np.testing.assert_array_equal(a.thickness_angstrom, b.thickness_angstrom)
