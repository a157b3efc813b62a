import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from cryosam.errors import InputError
from cryosam.evaluation.scores import match_points, score_detections, score_instances
from oracles_evaluation import best_iou_sum, best_matching, curve, instance_ious, panoptic

# whole-number positions make equal distances, shared particles and chains common
POINTS = st.integers(0, 5).flatmap(
    lambda n: npst.arrays(float, (n, 3), elements=st.integers(0, 4).map(float), fill=st.nothing())
)
LABELS = npst.arrays(np.int16, (2, 3, 5), elements=st.integers(0, 3), fill=st.nothing())


def on_x(*positions):
    return np.array([[2.0, 3.0, x] for x in positions]).reshape(-1, 3)


def test_greedy_would_lose_a_pair():
    matching = match_points(on_x(1, -3), on_x(0, 4), 3.0)
    np.testing.assert_array_equal(matching.predicted, [0, 1])
    np.testing.assert_array_equal(matching.truth, [1, 0])
    np.testing.assert_array_equal(matching.distances, [3, 3])


def test_more_pairs_win_over_shorter_ones_but_ties_take_the_shortest():
    matching = match_points(on_x(0, 1), on_x(1, 0), 5.0)
    np.testing.assert_array_equal(matching.truth, [1, 0])
    assert matching.distances.sum() == 0


def test_the_distance_itself_is_a_hit_and_more_is_not():
    assert len(match_points(on_x(0), on_x(3), 3.0).truth) == 1
    assert len(match_points(on_x(0), on_x(3), 2.999).truth) == 0


def test_distance_is_three_dimensional():
    assert len(match_points(np.array([[0.0, 0, 0]]), np.array([[1.0, 2, 2]]), 3.0).truth) == 1
    assert len(match_points(np.array([[0.0, 0, 0]]), np.array([[2.0, 2, 2]]), 3.0).truth) == 0


def test_two_picks_on_one_particle_are_one_hit():
    scores = score_detections(on_x(9, 10, 11), on_x(10, 30), 3.0)
    assert (scores.n_matched, scores.n_predicted, scores.n_truth) == (1, 3, 2)
    assert scores.precision == pytest.approx(1 / 3)
    assert scores.recall == 0.5
    assert scores.f1 == pytest.approx(0.4)
    assert scores.mean_distance == 0


def test_czii_weighs_recall_sixteen_times():
    scores = score_detections(on_x(0, 50, 60, 70), on_x(0, 20), 1.0, beta=4.0)
    precision, recall = 1 / 4, 1 / 2
    assert scores.f_beta == pytest.approx(17 * precision * recall / (16 * precision + recall))


def test_average_precision_and_best_threshold_by_hand():
    # best first: hit, miss, hit, miss -> precision 1 at recall 1/2, 2/3 at recall 1
    scores = score_detections(on_x(0, 50, 20, 60), on_x(0, 20), 1.0, scores=np.array([0.9, 0.8, 0.7, 0.6]))
    assert scores.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert scores.best_f1 == pytest.approx(4 / 5)
    assert scores.best_threshold == 0.7
    assert scores.f1 == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("n_picks", "n_truth", "expected"), [(0, 0, (1, 1, 1, 1)), (2, 0, (0, 0, 0, 0)), (0, 2, (0, 0, 0, 0))]
)
def test_nothing_to_find(n_picks, n_truth, expected):
    scores = score_detections(on_x(*range(n_picks)), on_x(*range(n_truth)), 1.0, scores=np.linspace(1, 0, n_picks))
    assert (scores.precision, scores.recall, scores.f1, scores.average_precision) == expected
    assert scores.mean_distance is None


@given(POINTS, POINTS, st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.5]))
@settings(max_examples=60, deadline=None)
def test_matching_agrees_with_trying_everything(predicted, truth, distance):
    matching = match_points(predicted, truth, distance)
    n_pairs, total = best_matching(predicted, truth, distance)
    assert len(matching.predicted) == n_pairs
    assert matching.distances.sum() == pytest.approx(total)
    assert len(set(matching.predicted.tolist())) == len(set(matching.truth.tolist())) == n_pairs
    gaps = np.linalg.norm(predicted[matching.predicted] - truth[matching.truth], axis=1)
    np.testing.assert_allclose(gaps, matching.distances)


@given(POINTS, POINTS, st.data())
@settings(max_examples=60, deadline=None)
def test_score_curve_agrees_with_trying_every_threshold(predicted, truth, data):
    levels = st.sampled_from([0.1, 0.4, 0.5, 0.9])
    scores = np.array([data.draw(levels) for _ in predicted])
    found = score_detections(predicted, truth, 1.5, scores=scores)
    if len(predicted) and len(truth):
        area, best_f1, threshold = curve(predicted, truth, 1.5, scores)
        assert found.average_precision == pytest.approx(area)
        assert found.best_f1 == pytest.approx(best_f1)
        assert found.best_threshold == threshold
    assert found.best_f1 >= found.f1 - 1e-12


@given(POINTS, POINTS, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_order_of_points_changes_nothing(predicted, truth, random):
    rows, columns = list(range(len(predicted))), list(range(len(truth)))
    random.shuffle(rows)
    random.shuffle(columns)
    scores = np.linspace(0.2, 0.8, len(predicted))
    first = score_detections(predicted, truth, 2.0, scores=scores)
    assert first == score_detections(predicted[rows], truth[columns], 2.0, scores=scores[rows])


def test_a_long_chain_is_solved_and_quickly():
    # pick i lies between particles i - 1 and i, nearer to i - 1: nearest-first leaves the last pick, 0, without any
    truth = on_x(*(2.0 * np.arange(400)))
    picks = on_x(*(2.0 * np.arange(400) - 1.1))[::-1].copy()
    result = score_detections(picks, truth, 1.2, scores=np.linspace(1, 0, 400))
    assert result.n_matched == 400
    assert result.average_precision == pytest.approx(1)


def boxes(*corners_and_labels):
    labels = np.zeros((3, 7, 11), dtype=np.uint8)
    for (z, y, x), (dz, dy, dx), name in corners_and_labels:
        labels[z : z + dz, y : y + dy, x : x + dx] = name
    return labels


def test_instances_by_hand():
    truth = boxes(((0, 0, 0), (1, 2, 4), 5), ((2, 4, 4), (1, 2, 4), 9))  # 8 voxels each
    predicted = boxes(((0, 0, 0), (1, 2, 3), 1), ((2, 4, 7), (1, 2, 3), 2), ((1, 0, 0), (1, 1, 1), 3))
    scores = score_instances(predicted, truth)
    # pair 5-1: 6 of 8 voxels; pair 9-2: 2 shared of 12; instance 3 overlaps nothing
    assert (scores.n_predicted, scores.n_truth, scores.n_paired, scores.n_matched) == (3, 2, 2, 1)
    assert scores.mean_iou == pytest.approx((6 / 8 + 2 / 12) / 2)
    assert scores.mean_dice == pytest.approx((12 / 14 + 4 / 14) / 2)
    assert scores.segmentation_quality == pytest.approx(6 / 8)
    assert scores.recognition_quality == pytest.approx(1 / 2.5)
    assert scores.panoptic_quality == pytest.approx(6 / 8 / 2.5)
    assert scores.semantic_dice == pytest.approx(2 * 8 / (13 + 16))


def test_one_kind_only():
    truth = boxes(((0, 0, 0), (1, 2, 4), 5), ((2, 4, 4), (1, 2, 4), 9))
    predicted = boxes(((0, 0, 0), (1, 2, 4), 1), ((2, 4, 4), (1, 2, 4), 2))
    scores = score_instances(predicted, truth, truth_labels=[9])
    assert (scores.n_predicted, scores.n_truth, scores.n_matched) == (2, 1, 1)
    assert scores.recognition_quality == pytest.approx(2 / 3)
    assert scores.semantic_dice == pytest.approx(2 / 3)


def test_empty_volumes_agree_and_different_shapes_are_refused():
    empty = np.zeros((2, 3, 5), dtype=np.int16)
    assert score_instances(empty, empty).panoptic_quality == 1
    assert score_instances(empty, empty).semantic_dice == 1
    with pytest.raises(InputError, match=r"\(2, 3, 5\).*\(3, 2, 5\)"):
        score_instances(empty, empty.reshape(3, 2, 5))


@given(LABELS, LABELS)
@settings(max_examples=60, deadline=None)
def test_instances_agree_with_full_masks(predicted, truth):
    scores = score_instances(predicted, truth)
    table = instance_ious(predicted, truth)
    assert (scores.n_predicted, scores.n_truth) == table.shape
    pq, sq, rq = panoptic(predicted, truth)
    assert scores.panoptic_quality == pytest.approx(pq)
    assert scores.segmentation_quality == pytest.approx(sq)
    assert scores.recognition_quality == pytest.approx(rq)
    if scores.n_paired:
        assert scores.mean_iou * scores.n_paired == pytest.approx(best_iou_sum(predicted, truth))
    dice_parts = (predicted > 0).sum() + (truth > 0).sum()
    if dice_parts:
        assert scores.semantic_dice == pytest.approx(2 * ((predicted > 0) & (truth > 0)).sum() / dice_parts)


@given(LABELS, LABELS, st.permutations([1, 2, 3]))
@settings(max_examples=20, deadline=None)
def test_names_of_labels_do_not_matter(predicted, truth, names):
    renamed = np.array([0, *names], dtype=np.uint16)[predicted]
    ours, theirs = score_instances(renamed, truth), score_instances(predicted, truth)
    assert ours.mean_iou == pytest.approx(theirs.mean_iou)
    assert ours.panoptic_quality == pytest.approx(theirs.panoptic_quality)
