"""Ridges of planted sheets: where they are, how they are oriented, and that lines and noise get less support."""

import numpy as np
import pytest

from cryosam.config import RidgeSettings
from cryosam.structures.binned import Binned
from cryosam.structures.ridges import Ridges, membrane_saliency

SHAPE = (30, 80, 52)
VOXEL_SIZE = 20.0


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


def of(data: np.ndarray) -> Ridges:
    return membrane_saliency(Binned(data, 1, VOXEL_SIZE), RidgeSettings(share=0.1))


def test_a_tilted_sheet_is_found_within_half_a_voxel_with_its_normal():
    normal = np.array([0.3, 0.8, 0.5])
    normal /= np.linalg.norm(normal)
    height = (np.moveaxis(np.indices(SHAPE), 0, -1) - np.array([15, 40, 26])) @ normal
    ridges = of(noise() + 4 * np.exp(-(height**2) / 2).astype(np.float32))
    strong = ridges.above(ridges.low)
    away = (strong.points - [15, 40, 26]) @ normal
    near = np.abs(away) < 2
    assert near.mean() > 0.85
    assert np.abs(away[near]).mean() < 0.3
    assert np.median(np.abs(strong.normals[near] @ normal)) > 0.99
    assert np.isclose(np.linalg.norm(ridges.normals, axis=1), 1).all()


def test_a_sheet_gets_more_support_than_a_line_and_noise():
    data = noise()
    data[:, 10] += 4
    data[14:16, 30:32, :] += 6
    ridges = of(data)
    y = ridges.points[:, 1]
    sheet, line = ridges.saliency[np.abs(y - 10) < 1], ridges.saliency[np.abs(y - 31) < 3]
    assert np.median(sheet) > 4 * np.quantile(line, 0.9)
    assert np.median(ridges.saliency[y > 36]) < ridges.low < np.median(sheet)


def test_noise_alone_hardly_passes_the_low_level():
    ridges = of(noise(3))
    assert len(ridges.above(ridges.low).points) <= 0.02 * len(ridges.points)


def test_the_axes_are_alike():
    data = noise()
    data[:, 20] += 4
    one, other = of(data), of(np.ascontiguousarray(data.transpose(1, 2, 0)))
    assert len(one.points) == pytest.approx(len(other.points), rel=0.01)
    strong, turned = one.above(1.0), other.above(1.0)
    assert len(strong.points) == pytest.approx(len(turned.points), rel=0.05)
    assert np.median(strong.points[:, 1]) == pytest.approx(np.median(turned.points[:, 0]), abs=0.05)


@pytest.mark.parametrize("shape", [(1, 8, 9), (3, 3, 3), (5, 40, 6)])
def test_thin_volumes_give_what_they_have(shape):
    ridges = membrane_saliency(Binned(np.zeros(shape, dtype=np.float32), 1, VOXEL_SIZE))
    assert len(ridges.points) == 0
