"""Membranes from one click in small simulated tomograms: what is found, what is not, and what is said of it."""

import numpy as np
import pytest

from cryosam.config import MembraneConfig
from cryosam.errors import PromptError
from cryosam.intensities import normalise
from cryosam.missing_wedge import MissingWedge
from cryosam.structures.binned import BinnedTomogram
from cryosam.structures.membranes import MembraneFinder
from cryosam.structures.protocol import StructureFinder
from cryosam.tomogram import Tomogram

SHAPE = (52, 90, 100)
VESICLE, RADIUS = np.array([26.0, 30.0, 30.0]), 15.0
TUBE = np.array([26.0, 30.0, 75.0])
CLICK = np.array([[26.0, 30.0, 45.0]])


def scene(seed: int = 0, *, has_wedge: bool = False, scale: float = 1.0, sheet: float = 1.0) -> BinnedTomogram:
    """A vesicle, a sheet at y = 70, a tube of 5 voxels along y that is as dense, and noise; 20 angstrom a voxel."""
    place = np.moveaxis(np.indices(SHAPE), 0, -1).astype(float)
    heights = [
        np.linalg.norm(place - VESICLE, axis=-1) - RADIUS,
        place[..., 1] - 70 - 0.1 * place[..., 2],
        np.linalg.norm((place - TUBE)[..., [0, 2]], axis=-1) - 5,
    ]
    data = sum(by * np.exp(-(height**2) / 2 / 1.2**2) for by, height in zip((1.0, sheet, 1.0), heights, strict=True))
    volume = 3 * data + np.random.default_rng(seed).normal(size=SHAPE)
    if has_wedge:
        grid = np.meshgrid(*map(np.fft.fftfreq, SHAPE), indexing="ij")
        volume = np.fft.ifftn(np.fft.fftn(volume) * MissingWedge().is_sampled(*grid)).real
    tomogram = Tomogram(-(volume * scale).astype(np.float32), voxel_size_angstrom=20.0)
    return BinnedTomogram.of(normalise(tomogram, "dark", (0.1, 99.9)), MissingWedge())


@pytest.fixture(scope="module")
def found():
    return MembraneFinder().find(scene(), CLICK)


def test_the_vesicle_and_the_sheet_are_found_and_the_tube_is_not(found):
    assert len(found) == 2
    vesicle, sheet = sorted(found, key=lambda each: not each.is_closed)
    assert vesicle.is_closed
    assert not sheet.is_closed
    assert np.linalg.norm(vesicle.points.mean(axis=0) - VESICLE) < 1
    assert np.abs(sheet.points[:, 1] - 70 - 0.1 * sheet.points[:, 2]).mean() < 0.6
    for each in found:
        assert not each.mask.holds(TUBE + np.array([0.0, 0.0, 5.0]))


def test_the_measures_of_the_vesicle(found):
    vesicle = next(each for each in found if each.is_closed)
    assert vesicle.enclosed_angstrom3 == pytest.approx(4 / 3 * np.pi * (RADIUS * 20) ** 3, rel=0.1)
    assert vesicle.area_angstrom2 == pytest.approx(4 * np.pi * (RADIUS * 20) ** 2, rel=0.1)
    assert vesicle.curvature_radius_angstrom == pytest.approx(RADIUS * 20, rel=0.15)
    assert vesicle.thickness_angstrom == pytest.approx(2.355 * 1.2 * 20, rel=0.25)
    outwards = ((vesicle.points - VESICLE) * vesicle.normals).sum(axis=1) / RADIUS
    assert np.median(outwards) > 0.97
    assert 0 < vesicle.score <= 1


def test_the_sheet_is_open_and_its_normals_agree(found):
    sheet = next(each for each in found if not each.is_closed)
    assert np.isnan(sheet.enclosed_angstrom3)
    assert sheet.inferred.n_voxels == 0
    assert np.abs(sheet.normals[:, 1].mean()) > 0.95
    assert sheet.area_angstrom2 == pytest.approx(51 * 99 * 400, rel=0.2)


def test_what_the_wedge_hides_of_a_vesicle_is_inferred_and_not_measured():
    found = MembraneFinder().find(scene(has_wedge=True), CLICK)
    vesicle = next(each for each in found if each.is_closed)
    top = VESICLE + np.array([RADIUS, 0.0, 0.0])
    assert vesicle.inferred.overlap(vesicle.mask) == 0
    assert vesicle.inferred.n_voxels > 0.1 * vesicle.mask.n_voxels
    assert not vesicle.mask.holds(top)
    assert vesicle.enclosed_angstrom3 == pytest.approx(4 / 3 * np.pi * (RADIUS * 20) ** 3, rel=0.2)


def test_the_same_tomogram_in_other_units_gives_the_same(found):
    again = MembraneFinder().find(scene(scale=1000.0), CLICK)
    assert [each.mask.n_voxels for each in again] == [each.mask.n_voxels for each in found]
    assert [each.score for each in again] == pytest.approx([each.score for each in found], rel=1e-3)


@pytest.mark.parametrize("at", [(26.0, 30.0, 30.0), (5.0, 55.0, 60.0)])
def test_a_click_on_nothing_is_refused(at):
    with pytest.raises(PromptError, match="click"):
        MembraneFinder().find(scene(), np.array([at]))


def test_a_sheet_as_strong_as_gold_is_not_of_the_kind():
    found = MembraneFinder().find(scene(sheet=2.0), CLICK)
    assert [each.is_closed for each in found] == [True]


def test_noise_holds_no_membrane():
    noise = np.random.default_rng(1).normal(size=(30, 40, 44)).astype(np.float32)
    voxels = normalise(Tomogram(noise, voxel_size_angstrom=20.0), "bright", (0.1, 99.9))
    with pytest.raises(PromptError):
        MembraneFinder().find(BinnedTomogram.of(voxels, MissingWedge()), np.array([[15.0, 20.0, 22.0]]))


def test_it_is_a_finder_and_tells_its_progress():
    finder: StructureFinder = MembraneFinder()
    seen = []
    finder.find(scene(), CLICK, lambda stage, done, total: seen.append((stage, done, total)))
    assert {stage for stage, _, _ in seen} == {"ridges", "membranes"}
    assert seen[-1][1] == seen[-1][2]


def test_curvature_is_measured_in_a_coarse_tomogram_too():
    coarse = scene()
    tomogram = BinnedTomogram(coarse.voxels, 32.0, coarse.wedge)
    found = MembraneFinder(MembraneConfig(voxel_size_angstrom=32.0)).find(tomogram, CLICK)
    vesicle = next(each for each in found if np.linalg.norm(each.points.mean(axis=0) - VESICLE) < 3)
    assert vesicle.curvature_radius_angstrom == pytest.approx(RADIUS * 32, rel=0.25)
