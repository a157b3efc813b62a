"""What must not matter to an answer: where arrays lie, how work is divided, what is remembered."""

import numpy as np
import pytest
import torch

from cryosam.config import Config
from cryosam.instances import propagation, slices, smoothing
from cryosam.matching import tomogram_features
from cryosam.matching.feature_cache import FeatureCache
from cryosam.matching.features import dense
from cryosam.memory import Workspace
from cryosam.scene import RunOptions
from cryosam.segmentation import segment
from scenes import BALLS, click, phantom, scene


@pytest.fixture(scope="module")
def tomogram_and_click():
    tomogram, centres, _ = scene(n_kind=14, n_other=6)
    return tomogram, click(np.round(centres[0]))


def answer(tomogram_and_click, cache=None, **settings):
    return segment(*tomogram_and_click, Config().override(**settings), RunOptions(cache=cache))


@pytest.fixture(scope="module")
def reference(tomogram_and_click):
    found = answer(tomogram_and_click)
    assert found.average is not None
    assert found.rotations is not None
    return found


def assert_identical(found, reference):
    for name in ("points", "scores", "candidate_points", "candidate_scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(reference, name))
    for masks, others in ((found.masks, reference.masks), (found.prompt_masks, reference.prompt_masks)):
        assert [mask.origin for mask in masks] == [mask.origin for mask in others]
        for mask, other in zip(masks, others, strict=True):
            np.testing.assert_array_equal(mask.data, other.data)
    np.testing.assert_array_equal(found.score_map.data, reference.score_map.data)
    np.testing.assert_array_equal(found.average.data, reference.average.data)
    np.testing.assert_array_equal(found.rotations.as_quat(), reference.rotations.as_quat())
    assert found.warnings == reference.warnings


def assert_alike(found, reference):
    """Networks and products of matrices round otherwise in parts of other sizes: a voxel may be in a mask or not.

    A centre is aligned in steps of one pixel, so that one between two steps may go either way.
    """
    assert len(found.points) == len(reference.points)
    nearest = np.linalg.norm(found.points[:, None] - reference.points, axis=2).argmin(axis=1)
    assert sorted(nearest) == list(range(len(reference.points)))
    moved = np.linalg.norm(found.points - reference.points[nearest], axis=1)
    assert np.quantile(moved, 0.9) < 0.3
    assert moved.max() < 1.5
    np.testing.assert_allclose(found.scores, reference.scores[nearest], atol=0.02)
    assert min(mask.iou(reference.masks[i]) for mask, i in zip(found.masks, nearest, strict=True)) > 0.97


def test_with_hardly_any_memory_everything_is_in_files_and_the_same(
    tomogram_and_click, reference, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr("cryosam.memory._LEAST", 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept = []
    original = Workspace.empty
    monkeypatch.setattr(Workspace, "empty", lambda *args: kept.append(original(*args)) or kept[-1])
    assert_identical(answer(tomogram_and_click, memory_gb=1e-6), reference)
    assert len(kept) >= 4
    assert all(isinstance(array, np.memmap) for array in kept if array.size)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_is_cold_warm_or_damaged_gives_the_same(
    tomogram_and_click, reference, tmp_path, monkeypatch, caplog
) -> None:
    cache, calls = FeatureCache(tmp_path), []
    monkeypatch.setattr(tomogram_features, "extract_dense", lambda *args: calls.append(1) or dense.extract_dense(*args))
    assert_identical(answer(tomogram_and_click, cache), reference)
    assert_identical(answer(tomogram_and_click, cache), reference)
    assert len(calls) == 1
    (entry,) = tmp_path.iterdir()
    channels = entry / "channels_2.npy"
    content = bytearray(channels.read_bytes())
    content[len(content) // 2] ^= 64
    channels.write_bytes(content)
    assert_identical(answer(tomogram_and_click, cache), reference)
    assert len(calls) == 2
    assert "damaged" in caplog.text


def test_other_voxels_or_settings_do_not_meet_in_the_cache(tmp_path) -> None:
    tomogram, prompts, cache = phantom(), click(BALLS[0]), FeatureCache(tmp_path)
    for data, settings in (
        (tomogram.data, {}),
        (-tomogram.data, {}),
        (tomogram.data, {"features__scales": (1.5, 2.4)}),
        (tomogram.data, {"tomogram__percentiles": (1.0, 99.0)}),
        (tomogram.data, {"matching__strides": (4,)}),
    ):
        segment(
            type(tomogram)(data),
            prompts,
            Config().override(**settings, averaging__is_on=False),
            RunOptions(cache=cache),
        )
    assert len(cache.entries()) == 5


def test_blocks_of_smoothing_do_not_show(tomogram_and_click, reference, monkeypatch) -> None:
    monkeypatch.setattr(smoothing, "_EDGE", 24)
    assert_identical(answer(tomogram_and_click), reference)


def test_blocks_of_descriptors_hardly_show(tomogram_and_click, reference, monkeypatch) -> None:
    monkeypatch.setattr(dense, "_BLOCK", 13)
    assert_alike(answer(tomogram_and_click), reference)


def test_the_size_of_batches_hardly_shows(tomogram_and_click, reference, monkeypatch) -> None:
    monkeypatch.setattr(slices, "BATCH", 7)
    monkeypatch.setattr(propagation, "BATCH", 7)
    assert_alike(answer(tomogram_and_click), reference)


def test_the_number_of_threads_hardly_shows(tomogram_and_click, reference) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        found = answer(tomogram_and_click)
    finally:
        torch.set_num_threads(before)
    assert_alike(found, reference)
