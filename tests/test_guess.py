"""What a click is taken for."""

import numpy as np
import pytest

from cryosam.intensities import normalise
from cryosam.missing_wedge import MissingWedge
from cryosam.structures import BinnedTomogram
from cryosam.structures.continuation import SheetAt
from cryosam.structures.guess import Chance, GuessSettings, chance_in, guess_structure
from cryosam.tomogram import Tomogram

VOXEL = 15.0
SHAPE = (60, 130, 140)
MEMBRANE, TUBE, PARTICLE, GOLD = (
    np.array([30.0, 26.0, 70.0]),
    np.array([30.0, 98.0, 60.0]),
    np.array([30.0, 64.0, 36.0]),
    np.array([30.0, 64.0, 105.0]),
)


def at(point: np.ndarray) -> list[np.ndarray]:
    return [axis - c for axis, c in zip(np.indices(SHAPE), point, strict=True)]


@pytest.fixture(scope="module")
def tomogram() -> BinnedTomogram:
    """A membrane (y = 26), a tube along x (radius 105 A), a ball and a bead."""
    z, y, x = at(MEMBRANE)
    data = 1.5 * np.exp(-((y / 1.5) ** 2))
    z, y, x = at(TUBE)
    data += 1.5 * np.exp(-(((np.hypot(z, y) - 7) / 1.5) ** 2))
    z, y, x = at(PARTICLE)
    data += 0.8 * (z**2 + y**2 + x**2 < 25)
    z, y, x = at(GOLD)
    data += 60.0 * (z**2 + y**2 + x**2 < 9)
    data += np.random.default_rng(0).normal(size=SHAPE)
    return BinnedTomogram.of(
        normalise(Tomogram(data.astype(np.float32), voxel_size_angstrom=VOXEL), "bright", (0.01, 99.99)),
        MissingWedge(tilt_range=(-90.0, 90.0)),
    )


@pytest.fixture(scope="module")
def chance(tomogram: BinnedTomogram) -> Chance:
    return chance_in(tomogram)


@pytest.mark.parametrize(
    ("click", "structure"),
    [
        (MEMBRANE + np.array([2, 1, 0]), "membrane"),
        (TUBE + np.array([1, 0, 0]), "filament"),  # in the lumen
        (TUBE + np.array([0, 7, 2]), "filament"),  # on the wall
        (PARTICLE + np.array([1, -1, 1]), "particle"),
        (GOLD, "particle"),
    ],
)
def test_structures_are_told_apart(tomogram: BinnedTomogram, chance: Chance, click: np.ndarray, structure: str) -> None:
    guess = guess_structure(tomogram, np.asarray(click, dtype=float), chance=chance)
    assert guess.structure == structure
    assert f"taken for a {structure}" in guess.text
    assert "--structure" in guess.text
    assert (guess.confidence < 0.5) == ("gold" in guess.text) == (click is GOLD)


def test_a_tubes_wall_that_is_not_followed_is_a_question(
    tomogram: BinnedTomogram, chance: Chance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryosam.structures.guess.sheet_at", lambda *_: SheetAt(0.8, 8, is_tube=True))
    guess = guess_structure(tomogram, PARTICLE, chance=chance)  # which is not long
    assert guess.structure == "unclear"
    assert "may be a filament or a membrane" in guess.text
    assert "--structure filament or --structure membrane" in guess.text


def test_a_faint_spot_is_no_sure_particle(tomogram: BinnedTomogram, chance: Chance) -> None:
    guess = guess_structure(tomogram, PARTICLE, chance=chance, settings=GuessSettings(clear_spot=1e3, gold=1e4))
    assert guess.structure == "particle"
    assert guess.confidence < 0.5
    assert "not stand out clearly" in guess.text


def test_empty_ice_is_unclear(tomogram: BinnedTomogram, chance: Chance) -> None:
    guess = guess_structure(tomogram, np.array([12.0, 62.0, 70.0]), chance=chance)
    assert guess.structure == "unclear"


def test_a_click_in_a_corner_is_answered(tomogram: BinnedTomogram, chance: Chance) -> None:
    assert guess_structure(tomogram, np.zeros(3), chance=chance).structure in ("particle", "unclear")
