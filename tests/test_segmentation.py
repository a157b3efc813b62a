"""The whole method on phantoms with a known answer."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from cryosam import scene as scene_module
from cryosam.backends.dino import DinoFeatures
from cryosam.backends.sam import SamSegmenter
from cryosam.config import Config
from cryosam.errors import PromptError, TomogramError, VoxelSizeError
from cryosam.evaluation.scores import match_points, score_detections
from cryosam.io import read_tomogram
from cryosam.kind_sources import ClickedKind
from cryosam.matching import tomogram_features
from cryosam.matching.feature_cache import FeatureCache
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.scene import RunOptions
from cryosam.segmentation import pick, segment, segment_kinds, segment_prompts, segment_window
from cryosam.tomogram import Tomogram, box_around
from scenes import BALLS, ONE_ARM_ELSEWHERE, SHAPE, SHELLS, click, phantom, scene
from tiny_models import tiny_dinov2, tiny_sam


def test_one_click_finds_every_ball_and_no_shell() -> None:
    found = segment(phantom(), click(BALLS[0]))
    scores = score_detections(found.points, BALLS, 1.0)
    assert (scores.precision, scores.recall) == (1, 1)
    assert found.warnings == ()
    volumes = [mask.n_voxels for mask in found.masks]
    assert np.ptp(np.log(volumes)) < 0.3
    assert found.labels().max() == len(BALLS)
    assert (np.diff(found.scores) <= 0).all()


def test_one_click_finds_every_shell_and_no_ball() -> None:
    found = segment(phantom(), click(SHELLS[0]))
    scores = score_detections(found.points, SHELLS, 1.5)
    assert (scores.precision, scores.recall) == (1, 1)


def test_with_enough_particles_there_are_probabilities_orientations_and_an_average() -> None:
    tomogram, centres, turns = scene(n_kind=14, n_other=6)
    stages, told = {}, []
    found = segment(
        tomogram,
        click(np.round(centres[0])),
        options=RunOptions(
            progress=lambda stage, done, total: stages.update({stage: (done, total)}),
            so_far=lambda kind, points: told.append(points),
        ),
    )
    scores = score_detections(found.points, centres[:14], 4.0)
    assert scores.f1 > 0.9
    assert [score_detections(points, centres[:14], 4.0).recall > 0.5 for points in told] == [True] * 3
    assert {stage for stage, (done, total) in stages.items() if done == total} >= {
        "segmenting",
        "averaging",
        "refining",
    }
    assert found.average is not None
    assert found.rotations is not None
    assert len(found.rotations) == len(found.points)
    pairs = match_points(found.points, centres[:14], 4.0)
    frames = turns[pairs.truth].inv() * found.rotations[pairs.predicted]
    errors = min((np.degrees((frame.inv() * frames).magnitude()) for frame in frames), key=np.median)
    assert np.median(errors) < 12
    assert float(found.provenance["resolution_voxels"]) < 8
    typical = np.array(found.report.most_typical)
    assert np.linalg.norm(centres[:14] - typical, axis=1).min() < 4


def test_two_kinds_in_one_run_share_no_particle() -> None:
    kinds = [PointPrompts(BALLS[:1], name="ball"), PointPrompts(SHELLS[:1], name="shell")]
    found = segment_kinds(phantom(), kinds)
    names = np.array(found.names)
    for name, truth in (("ball", BALLS), ("shell", SHELLS)):
        scores = score_detections(found.points[names == name], truth, 1.5)
        assert (scores.precision, scores.recall) == (1, 1)
    assert [len(part.points) for part in found.kinds] == [len(BALLS), len(SHELLS)]
    semantic = found.semantic()
    assert {int(semantic[tuple(np.round(ball).astype(int))]) for ball in BALLS} == {1}
    assert set(np.unique(semantic)) == {0, 1, 2}


def test_kinds_need_different_names() -> None:
    with pytest.raises(PromptError, match="its own name"):
        segment_kinds(phantom(), [click(BALLS[0]), click(SHELLS[0])])


def test_inverted_contrast_changes_nothing() -> None:
    bright, dark = segment(phantom(), click(BALLS[0])), segment(phantom(sign=-1.0), click(BALLS[0]))
    assert (bright.provenance["contrast"], dark.provenance["contrast"]) == ("bright", "dark")
    np.testing.assert_allclose(dark.points, bright.points, atol=0.05)


def test_translating_the_phantom_translates_the_picks() -> None:
    shift = np.array([2, 4, -2])
    here = segment(phantom(), click(BALLS[0]))
    there = segment(phantom(offset=shift), click(BALLS[0] + shift))
    assert score_detections(there.points, here.points + shift, 0.5).f1 == 1


def test_order_of_prompts_does_not_matter() -> None:
    forward = segment(phantom(), PointPrompts(BALLS[:3]))
    backward = segment(phantom(), PointPrompts(BALLS[2::-1].copy()))
    np.testing.assert_allclose(forward.points, backward.points, atol=1e-6)
    np.testing.assert_allclose(forward.scores, backward.scores, atol=1e-5)


def test_a_negative_point_removes_what_it_points_at() -> None:
    prompts = PointPrompts(BALLS[:2], np.array([True, False]))
    found = segment(phantom(), prompts).points
    assert np.linalg.norm(found - BALLS[0], axis=1).min() < 1
    assert np.linalg.norm(found - BALLS[1], axis=1).min() > 5


def test_a_negative_point_removes_its_like_by_features_where_there_are_few() -> None:
    """Balls of one size, one of them clicked as something else: what is as like the one as the other stays."""
    prompts = PointPrompts(BALLS[:2], np.array([True, False]))
    everything, found = segment(phantom(), click(BALLS[0])), segment(phantom(), prompts)
    assert 0 < len(found.points) < len(everything.points)


@pytest.mark.parametrize(("draw", "is_classified"), [(2, False), (3, False), (2, True)])
def test_a_negative_point_removes_its_like_by_averages(draw: int, is_classified: bool) -> None:
    """Two kinds that differ by an arm: whether one click takes both for one kind may hang on the arithmetic."""
    tomogram, centres, _ = scene(n_kind=11, n_other=9, other=ONE_ARM_ELSEWHERE, seed=draw)
    config = Config().override(classification__is_on=is_classified)
    prompts = PointPrompts(np.round(centres[[5, 13]]), np.array([True, False]))

    def n_of_each(found: Segmentation) -> tuple[int, int]:
        is_kind = cKDTree(centres).query(found.points)[1] < 11
        return int(np.count_nonzero(is_kind)), int(np.count_nonzero(~is_kind))

    _, n_others_before = n_of_each(segment(tomogram, click(np.round(centres[5])), config))
    found = segment(tomogram, prompts, config)
    n_kind, n_others = n_of_each(found)
    assert n_kind >= 9
    assert n_others <= 1
    assert float(found.report.n_like_negatives or 0) >= n_others_before - 1 - n_others


def test_pick_sees_what_segment_sees() -> None:
    masks, points = segment(phantom(), click(BALLS[0])), pick(phantom(), click(BALLS[0]))
    np.testing.assert_array_equal(points.points, masks.points)
    assert all(mask.n_voxels == 0 for mask in points.masks)


def test_segment_prompts_gives_the_instance_under_each_point() -> None:
    found = segment_prompts(phantom(), PointPrompts(np.vstack([BALLS[1] + 1, BALLS[3] - 1])))
    np.testing.assert_allclose(found.points, BALLS[[1, 3]], atol=0.5)
    assert found.score_map is None
    assert found.threshold is None


@pytest.mark.parametrize("point", [(24, 14, 50), (25, 46, 53), (10, 12, 14), (24, 28, 12)])
def test_a_window_gives_the_mask_that_the_whole_volume_gives(point) -> None:
    """Of odd and even points, near faces and far from them, and what is said of them."""
    tomogram, clicks = phantom(), click(point)
    config = Config().override(diameter_voxels=8.0, propagation__smoothing=1.0, tomogram__contrast="bright")
    whole = segment_prompts(tomogram, clicks, config)
    limits = np.percentile(tomogram.data, config.tomogram.percentiles)
    box, _ = box_around(np.array(point, dtype=float), 26, tomogram.shape)
    assert min(part.stop - part.start for part in box) < 54
    part = segment_window(tomogram, box, (float(limits[0]), float(limits[1])), clicks, config)
    assert part.shape == tomogram.shape
    assert part.prompt_masks[0].iou(whole.prompt_masks[0]) > 0.98
    np.testing.assert_allclose(part.points, whole.points, atol=0.1)
    assert part.warnings == whole.warnings


def test_background_says_so_and_finds_nothing() -> None:
    found = segment(phantom(), click((5, 55, 40)))
    assert len(found.points) == 0
    assert "nothing stands out from the background at point 5,55,40" in found.warnings


def test_a_click_on_nothing_beside_a_good_one_changes_nothing() -> None:
    alone, both = (
        segment(phantom(), click(BALLS[0])),
        segment(phantom(), PointPrompts(np.array([BALLS[0], (5, 55, 40)]))),
    )
    np.testing.assert_allclose(both.points, alone.points, atol=1e-6)
    assert both.warnings == ("nothing stands out from the background at point 5,55,40",)
    assert len(both.prompt_masks) == 2


def test_a_negative_point_beside_a_particle_leaves_it() -> None:
    """It lies in no mask, and three quarters of a diameter from a particle."""
    beside = BALLS[1] + (0, 7, 0)
    prompts = PointPrompts(np.array([BALLS[0], beside]), np.array([True, False]))
    assert np.linalg.norm(segment(phantom(), prompts).points - BALLS[1], axis=1).min() < 1


@pytest.mark.parametrize("n", [5, 11])
def test_what_is_under_a_negative_point_stays_out_at_any_threshold(n) -> None:
    """By features, and by averages."""
    tomogram, centres = (phantom(), BALLS) if n == 5 else scene(n_kind=11, n_other=9)[:2]
    prompts = PointPrompts(np.round(centres[:2]), np.array([True, False]))
    found = segment(tomogram, prompts, Config().override(matching__threshold=0.0, refinement__is_on=False))
    assert np.linalg.norm(found.points - centres[0], axis=1).min() < 2
    assert np.linalg.norm(found.points - centres[1], axis=1).min() > 4
    allowed = np.zeros(tomogram.shape, dtype=bool)
    allowed[:, :, 30:] = True
    found = segment(
        tomogram, prompts, Config().override(matching__threshold=0.0), options=RunOptions(search_mask=allowed)
    )
    assert (found.candidate_points[found.candidate_scores > 0][:, 2] >= 29.5).all()
    assert len(found.points) == np.count_nonzero(found.candidate_scores > 0) < len(found.candidate_scores)


def test_a_negative_point_on_the_clicked_particle_is_left_out() -> None:
    prompts = PointPrompts(np.array([BALLS[0], BALLS[0] + (0, 1, 0)]), np.array([True, False]))
    found = segment(phantom(), prompts)
    assert any("negative point 10,13,14 lies on the particle that was clicked" in each for each in found.warnings)
    assert np.linalg.norm(found.points - BALLS[0], axis=1).min() < 1


def test_clicks_that_cannot_be_compared_or_are_of_another_kind_are_named() -> None:
    tomogram, centres, _ = scene(n_kind=11, n_other=9)
    clicks = np.round(centres[[0, 1, 2, 15]])
    config = Config().override(refinement__is_on=False, averaging__uses_descriptors=False)
    found = segment(tomogram, PointPrompts(clicks), config)
    unlike = [each for each in found.warnings if "not resemble the average" in each]
    assert any("at {:g},{:g},{:g} does".format(*clicks[3]) in sentence for sentence in unlike)
    assert not any("at {:g},{:g},{:g} does".format(*clicks[0]) in sentence for sentence in unlike)
    allowed = np.ones(tomogram.shape, dtype=bool)
    allowed[:, :40, :40] = False  # where the first one is
    found = segment(tomogram, click(clicks[0]), options=RunOptions(search_mask=allowed))
    assert any("at {:g},{:g},{:g} could not be compared".format(*clicks[0]) in each for each in found.warnings)
    assert "click_probability" not in found.provenance


def test_descriptors_keep_an_average_of_most_clicks_on_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three clicks on eleven particles of a kind, one on another: most of the eleven, none of the others.

    In single precision: in bfloat16 on processors with AMX the average drifts, which the run says by refusing clicks.
    """
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    tomogram, centres, _ = scene(n_kind=11, n_other=9)
    clicks = np.round(centres[[0, 1, 2, 15]])
    found = segment(tomogram, PointPrompts(clicks), Config().override(refinement__is_on=False))
    nearest = np.linalg.norm(found.points[:, None] - centres, axis=2).argmin(axis=1)
    assert len(np.unique(nearest)) >= 8
    assert (nearest < 11).all()
    unlike = [each for each in found.warnings if "not resemble the average" in each]
    assert any("at {:g},{:g},{:g} does".format(*clicks[3]) in sentence for sentence in unlike)
    assert len(unlike) <= 2


def test_an_empty_search_mask_says_so() -> None:
    found = segment(phantom(), click(BALLS[0]), options=RunOptions(search_mask=np.zeros(SHAPE, dtype=bool)))
    assert len(found.points) == 0
    assert "nothing in the searched region is similar to what was clicked" in found.warnings


def test_search_mask_and_margin() -> None:
    allowed = np.zeros(SHAPE, dtype=bool)
    allowed[:, :, 40:] = True
    found = segment(phantom(), click(BALLS[0]), options=RunOptions(search_mask=allowed))
    assert score_detections(found.points, BALLS[BALLS[:, 2] > 40], 1.0).f1 == 1
    config = Config().override(matching__edge_margin=11)
    found = segment(phantom(), click(BALLS[0]), config)
    assert score_detections(found.points, BALLS[(BALLS[:, 0] >= 11) & (BALLS[:, 0] <= 24)], 1.0).f1 == 1


def test_max_particles_is_said() -> None:
    found = segment(phantom(), click(BALLS[0]), Config().override(matching__max_particles=2))
    assert len(found.points) == 2
    assert any("best 2" in warning for warning in found.warnings)


def test_threshold_can_be_moved_without_computing_again() -> None:
    automatic = segment(phantom(), click(BALLS[0]))
    threshold = 0.95
    again = segment(phantom(), click(BALLS[0]), Config().override(matching__threshold=threshold))
    kept = automatic.candidate_scores >= threshold
    np.testing.assert_array_equal(again.points, automatic.candidate_points[kept])
    assert len(automatic.candidate_masks) == len(kept)
    n_voxels = [mask.n_voxels for mask, is_kept in zip(automatic.candidate_masks, kept, strict=True) if is_kept]
    assert [mask.n_voxels for mask in again.masks] == n_voxels


def test_diameter_in_angstrom() -> None:
    config = Config(diameter_angstrom=85.0)
    found = segment(phantom(), click(BALLS[0]), config)
    assert found.provenance["diameter_voxels"] == pytest.approx(8.5)
    assert score_detections(found.points, BALLS, 1.0).f1 == 1
    unknown = Tomogram(phantom().data, None)
    with pytest.raises(VoxelSizeError, match="--voxel-size"):
        segment(unknown, click(BALLS[0]), config)


@pytest.mark.parametrize(("angstrom", "advice"), [(8.5, "is it in nanometres"), (24.0, "check the number")])
def test_a_diameter_that_is_far_too_small_is_refused(angstrom, advice) -> None:
    with pytest.raises(PromptError, match=rf"{angstrom:g} A is .* but what was clicked is about \d\d A: {advice}"):
        segment(phantom(), click(BALLS[0]), Config(diameter_angstrom=angstrom))


def test_a_trial_click_does_not_end_a_run() -> None:
    """What lies under it may be larger than the kind."""
    opened = scene_module.Scene.open(phantom(), BALLS[:1], Config(diameter_angstrom=8.5))
    kind = ClickedKind(click(BALLS[0]))
    with pytest.raises(PromptError, match="nanometres"):
        kind.seed(opened)
    seed, _ = replace(kind, is_trial=True).seed(opened)
    assert len(seed.clicks) == 1


def test_a_diameter_that_is_far_too_large_is_doubted() -> None:
    found = segment(phantom(), click(BALLS[0]), Config(diameter_angstrom=280.0))
    (said,) = [str(warning) for warning in found.report.warnings if warning.code == "diameter_far_off"]
    assert said.startswith("the diameter of 280 A is 28 voxels, but what was clicked is about 8")


def test_refusals() -> None:
    with pytest.raises(PromptError, match="outside"):
        segment(phantom(), click((5, 5, 99)))
    with pytest.raises(TomogramError, match="search mask"):
        segment(phantom(), click(BALLS[0]), options=RunOptions(search_mask=np.ones((3, 4, 5), dtype=bool)))


def test_two_dimensional_models_run_the_same_method(monkeypatch, tmp_path) -> None:
    """Tiny random models find nothing sensible; what is checked is that their answers go through whole."""
    extractor = DinoFeatures(tiny_dinov2(), "cpu")
    calls = []
    original = extractor.extract
    monkeypatch.setattr(extractor, "extract", lambda images: calls.append(len(images)) or original(images))
    monkeypatch.setattr(tomogram_features, "load_features", lambda *_, **__: extractor)
    monkeypatch.setattr(scene_module, "load_segmenter", lambda *_, **__: SamSegmenter(tiny_sam(), "cpu"))
    config = Config.from_preset("fast").override(
        matching__strides=(8, 4),
        matching__coarse_similarity=-1.0,
        matching__candidate_similarity=0.0,
        matching__volume_tolerance=None,
        matching__threshold=0.5,
        matching__max_particles=3,
        propagation__min_score=0.0,
        features__slice_px=56,
        diameter_angstrom=80.0,
    )
    cache = FeatureCache(tmp_path)
    first = pick(phantom(), click(BALLS[0]), config, RunOptions(cache=cache))
    assert 1 <= len(first.points) <= 3
    n_calls = len(calls)
    assert n_calls > 0
    again = pick(phantom(), click(BALLS[0]), config, RunOptions(cache=cache))
    assert len(calls) == n_calls
    np.testing.assert_array_equal(again.points, first.points)


def test_real_microtubule_is_followed_along_its_length(shared_data) -> None:
    tomogram = read_tomogram(shared_data / "microtubule_13pf.tif")
    found = segment_prompts(tomogram, click((18, 83, 69)))
    assert found.provenance["contrast"] == "bright"
    _, y, x = np.nonzero(found.labels())
    assert len(np.unique(y)) >= 0.9 * tomogram.shape[1]
    areas = np.bincount(y, minlength=tomogram.shape[1])
    assert areas.max() < 0.15 * tomogram.shape[0] * tomogram.shape[2]  # it did not flood the slice
    assert found.labels()[18, 83, 52:64].max() == 0  # nor the inside of the tube
    assert abs(np.corrcoef(y, x)[0, 1]) > 0.9  # along the tube, which runs obliquely
