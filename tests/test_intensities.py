"""Intensities between two percentiles, and whether protein is dark or bright."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from cryosam.arrays import Points, Volume
from cryosam.errors import TomogramError
from cryosam.intensities import Normalised, detect_contrast, normalise
from cryosam.tomogram import Contrast, Tomogram, Voxels

SHAPE = (9, 10, 11)
CENTRE = (20, 24, 30)


def ramp(dtype: str = "f4") -> np.ndarray:
    """990 distinct intensities, ascending."""
    return np.arange(990).reshape(SHAPE).astype(dtype)


def whole(voxels: Voxels) -> Volume:
    return voxels.crop(np.s_[:, :, :])


def noise(seed: int = 0) -> Volume:
    return np.random.default_rng(seed).normal(size=(41, 47, 59)).astype(np.float32)


def distance(centre: tuple[int, int, int] = CENTRE) -> Volume:
    """Distance of each voxel to ``centre``."""
    at_centre = np.zeros((41, 47, 59), dtype=bool)
    at_centre[centre] = True
    return ndimage.distance_transform_edt(~at_centre)


def points(*zyx: tuple[float, float, float]) -> Points:
    return np.array(zyx, dtype=float).reshape(-1, 3)


# normalise


def test_percentiles_become_0_and_1_and_the_rest_is_clipped() -> None:
    """989 steps: the 10th and 90th percentiles lie at 98.9 and 890.1."""
    out = whole(normalise(Tomogram(ramp(), 7.0, "t"), "bright", (10, 90)))
    np.testing.assert_allclose(out, np.clip((ramp() - 98.9) / 791.2, 0, 1), atol=1e-6)
    assert out.dtype == np.float32


@pytest.mark.parametrize("contrast", ["dark", "bright"])
def test_a_part_is_what_the_whole_has_there(contrast: Contrast) -> None:
    volume = ramp("i2")
    for voxels in (Tomogram(volume), normalise(Tomogram(volume), contrast, (10, 90))):
        assert isinstance(voxels, Voxels)
        np.testing.assert_array_equal(voxels.crop(np.s_[2:5, 3:4, :7]), whole(voxels)[2:5, 3:4, :7])
        np.testing.assert_array_equal(voxels.slice("z", 2), whole(voxels)[2])
        np.testing.assert_array_equal(voxels.slice("x", 10), whole(voxels)[:, :, 10])
    np.testing.assert_array_equal(volume, ramp("i2"))


def test_what_is_normalised_alike_has_one_digest() -> None:
    base = Normalised(Tomogram(ramp()), 1.0, 9.0, True)
    others = [
        Normalised(Tomogram(ramp() + 1), 1.0, 9.0, True),
        Normalised(Tomogram(ramp()), 1.5, 9.0, True),
        Normalised(Tomogram(ramp()), 1.0, 9.5, True),
        Normalised(Tomogram(ramp()), 1.0, 9.0, False),
    ]
    assert base.digest() == Normalised(Tomogram(ramp(), 5.0, "another name"), 1.0, 9.0, True).digest()
    assert len({each.digest() for each in (base, *others)}) == 5


def test_dark_protein_becomes_bright() -> None:
    bright = whole(normalise(Tomogram(ramp()), "bright", (1, 99)))
    dark = whole(normalise(Tomogram(ramp()), "dark", (1, 99)))
    np.testing.assert_allclose(dark, 1 - bright, atol=1e-7)


@given(st.floats(0.01, 1000), st.floats(-1e4, 1e4), st.sampled_from(["dark", "bright"]))
def test_gain_and_offset_change_nothing(gain: float, offset: float, contrast: Contrast) -> None:
    reference = whole(normalise(Tomogram(ramp("f8")), contrast, (2, 98)))
    scaled = whole(normalise(Tomogram(ramp("f8") * gain + offset), contrast, (2, 98)))
    np.testing.assert_allclose(scaled, reference, atol=2e-3)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "f2", "f4", "f8"])
def test_no_type_wraps_around(dtype: str) -> None:
    """Order is kept through the whole range: unsigned and narrow types must not overflow in the subtraction."""
    info = np.iinfo(dtype) if np.dtype(dtype).kind in "ui" else np.finfo(dtype)
    steps = np.linspace(max(info.min, -1e4), min(info.max, 1e4), 990)
    out = whole(normalise(Tomogram(steps.reshape(SHAPE).astype(dtype)), "bright", (0.5, 99.5))).ravel()
    assert (np.diff(out) >= 0).all()
    assert (out[0], out[-1]) == (0, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [(0, 0, 0), (4, 5, 6), (8, 9, 10)])
def test_voxels_that_are_not_numbers_are_refused(bad: float, index: tuple[int, int, int]) -> None:
    volume = ramp()
    volume[index] = bad
    with pytest.raises(TomogramError, match="NaN or infinite"):
        normalise(Tomogram(volume), "bright", (1, 99))


def test_one_bad_voxel_in_a_volume_too_large_to_sample_whole() -> None:
    """Only every second voxel of an axis is sampled here; the bad one lies between."""
    volume = np.zeros((120, 200, 201), dtype=np.float32)
    volume[:60] = 1
    volume[61, 101, 103] = np.inf
    with pytest.raises(TomogramError, match="NaN or infinite"):
        normalise(Tomogram(volume), "bright", (1, 99))


def test_what_the_sample_misses_still_counts() -> None:
    """The sampled sections all hold 1, those between hold 0."""
    volume = np.zeros((120, 200, 201), dtype=np.int8)
    volume[::2] = 1
    np.testing.assert_array_equal(whole(normalise(Tomogram(volume), "bright", (1, 99))), volume)


def test_constant_volume_is_refused() -> None:
    with pytest.raises(TomogramError, match="same value, 3"):
        normalise(Tomogram(np.full(SHAPE, 3.0, dtype=np.float32)), "dark", (1, 99))


def test_a_few_voxels_that_differ_are_kept() -> None:
    """Both percentiles fall on the background; the range is then that of all voxels."""
    volume = np.zeros(SHAPE, dtype=np.float32)
    volume[4, 5, 6] = 2
    np.testing.assert_array_equal(whole(normalise(Tomogram(volume), "bright", (1, 99))), volume / 2)


def test_a_memory_mapped_file_is_read_and_not_written(tmp_path: Path) -> None:
    np.save(tmp_path / "volume.npy", ramp("i2"))
    mapped = np.load(tmp_path / "volume.npy", mmap_mode="r")
    out = normalise(Tomogram(mapped), "bright", (1, 99))
    np.testing.assert_array_equal(whole(out), whole(normalise(Tomogram(ramp("i2")), "bright", (1, 99))))
    np.testing.assert_array_equal(np.load(tmp_path / "volume.npy"), ramp("i2"))


# contrast

SOLID = distance() <= 6
SHELL = (distance() <= 9) & (distance() >= 7)


@pytest.mark.parametrize(("sign", "expected"), [(-1, "dark"), (1, "bright")])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("clicks", [points(), points(CENTRE), points(CENTRE, (19, 25, 31))])
def test_a_solid_particle(sign: int, expected: Contrast, seed: int, clicks: Points) -> None:
    assert detect_contrast(Tomogram((noise(seed) + sign * 1.5 * SOLID).astype(np.float32)), clicks).contrast == expected


@pytest.mark.parametrize(("sign", "expected"), [(-1, "dark"), (1, "bright")])
@pytest.mark.parametrize("seed", range(5))
def test_a_hollow_particle_clicked_in_its_middle(sign: int, expected: Contrast, seed: int) -> None:
    """The click itself lies on ice, inside a shell of protein."""
    volume = (noise(seed) + sign * 1.5 * SHELL).astype(np.float32)
    assert detect_contrast(Tomogram(volume), points(CENTRE)).contrast == expected


def test_in_noise_all_of_the_tomogram_tells_more_than_a_click() -> None:
    """The click lies on the brightest noise among faint dark particles."""
    random = np.random.default_rng(0)
    centres = random.uniform(8, (40, 92, 100), (30, 3))
    z, y, x = np.indices((48, 100, 108), sparse=True)
    protein = np.any([(z - a) ** 2 + (y - b) ** 2 + (x - c) ** 2 <= 25 for a, b, c in centres], axis=0)
    volume = (random.normal(size=protein.shape) - 0.7 * protein).astype(np.float32)
    inside = np.pad(np.ones((8, 60, 68), dtype=bool), 20)
    brightest = np.argmax(np.where(inside, ndimage.gaussian_filter(volume, 2.5), -np.inf))
    click = points(np.unravel_index(brightest, volume.shape))
    assert detect_contrast(Tomogram(volume), click).contrast == "dark"
    assert detect_contrast(Tomogram(-volume), click).contrast == "bright"


@pytest.mark.parametrize("clicks", [points(), points(CENTRE)])
def test_a_constant_tomogram_counts_as_bright(clicks: Points) -> None:
    assert detect_contrast(Tomogram(np.full((41, 47, 59), 3.0, dtype=np.float32)), clicks).contrast == "bright"


def test_a_click_in_the_corner() -> None:
    volume = noise()
    volume[:5, :5, :5] -= 4
    assert detect_contrast(Tomogram(volume), points((0, 0, 0))).contrast == "dark"
    assert detect_contrast(Tomogram(-volume), points((0, 0, 0))).contrast == "bright"


@given(st.floats(0.1, 100), st.floats(-50, 50))
def test_contrast_does_not_depend_on_gain_and_offset(gain: float, offset: float) -> None:
    volume = (noise() - 1.5 * SOLID) * gain + offset
    assert detect_contrast(Tomogram(volume.astype(np.float32)), points(CENTRE)).contrast == "dark"


@pytest.mark.parametrize("sign", [1, -1])
def test_contrast_where_ice_within_protein_stands_out_at_coarse_scales(sign: int) -> None:
    """Thin walls, closely packed: smoothed, the lumens are what is compact."""
    z, y, x = np.indices((64, 96, 96), sparse=True)
    to_centre = np.sqrt(sum(((axis % 16) - 7.5) ** 2 for axis in (z, y, x)))
    walls = np.abs(to_centre - 7) < 1
    volume = sign * (np.random.default_rng(0).normal(size=walls.shape) - 2.0 * walls)
    seen = detect_contrast(Tomogram(volume.astype(np.float32)), points((39.5, 39.5, 39.5)))
    assert seen.contrast == ("dark" if sign > 0 else "bright")


def test_contrast_of_noise_is_uncertain() -> None:
    uncertain = [not detect_contrast(Tomogram(noise(seed)), points()).is_certain for seed in range(5)]
    assert sum(uncertain) >= 4
    assert detect_contrast(Tomogram((noise() + 1.5 * SOLID).astype(np.float32)), points(CENTRE)).is_certain


@pytest.mark.parametrize("name", ["lamella", "apoferritin", "exosomes"])
def test_contrast_of_real_data(shared_data: Path, name: str) -> None:
    """Protein is dark in all; every twentieth position is a click, and none."""
    mrcfile = pytest.importorskip("mrcfile")
    data = mrcfile.read(shared_data / "real" / f"{name}.mrc").astype(np.float32)
    (table,) = (
        (shared_data / "real").glob(f"{name}_*.csv")
        if name != "apoferritin"
        else [shared_data / "real/apoferritin.csv"]
    )
    rows = np.genfromtxt(table, delimiter=",", names=True, dtype=None)
    for i in range(0, len(rows), max(1, len(rows) // 3)):
        click = points(tuple(float(rows[axis][i]) for axis in "zyx"))
        assert detect_contrast(Tomogram(data), click).contrast == "dark"
    assert detect_contrast(Tomogram(data), points()).contrast == "dark"
    assert detect_contrast(Tomogram(-data), points()).contrast == "bright"


def test_contrast_of_the_development_data(shared_data: Path) -> None:
    """A simulated tomogram with dark protein, clicked on each kind of particle."""
    mrcfile = pytest.importorskip("mrcfile")
    with mrcfile.mmap(shared_data / "tomo_dev" / "tomo.mrc", permissive=True) as file:
        tomogram = Tomogram(np.array(file.data))
    table = np.genfromtxt(shared_data / "tomo_dev" / "particles.csv", delimiter=",", names=True, dtype=None)
    for name in np.unique(table["name"]):
        z, y, x = (float(table[axis][table["name"] == name][0]) for axis in "zyx")
        assert detect_contrast(tomogram, points((z, y, x))).contrast == "dark", name
