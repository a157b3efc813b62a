"""Hierarchical matching against slow oracles, and what users rely on: no duplicates, masks, margins, negatives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryosam.config import MatchingConfig
from cryosam.geometry import level_shape, level_to_voxel
from cryosam.masks import InstanceMask
from cryosam.matching.features import FeatureField
from cryosam.matching.peaks import find_peaks
from cryosam.matching.scoring import agreement, kind_volume
from cryosam.matching.similarity import build_query, match, search_levels
from oracles import hierarchical_search, peaks_by_definition


class BlobField:
    """Two channels: closeness to some points of one kind, and to some of another."""

    n_channels = 2

    def __init__(self, shape, kind_a, kind_b=()) -> None:
        self.shape = shape
        self.kinds = [np.asarray(kind_a, dtype=float).reshape(-1, 3), np.asarray(kind_b, dtype=float).reshape(-1, 3)]

    def sample(self, points):
        features = np.zeros((len(points), 2), dtype=np.float32)
        for channel, centres in enumerate(self.kinds):
            for centre in centres:
                features[:, channel] += np.exp(-((points - centre) ** 2).sum(axis=1) / 18)
        return features

    def similarity_at(self, query, points):
        return self.sample(points) @ query.astype(np.float32) / np.linalg.norm(query)

    def similarity_map(self, query, stride, where=None):
        similarity = np.full(level_shape(self.shape, stride), np.nan, dtype=np.float32)
        where = np.ones(similarity.shape, dtype=bool) if where is None else where
        similarity[where] = self.similarity_at(query, level_to_voxel(np.argwhere(where), stride, self.shape))
        return similarity


SHAPE = (25, 30, 37)
A = [[6, 7, 8], [12, 20, 30], [18, 9, 25]]
B = [[17, 23, 9]]
QUERY_A = np.array([1.0, 0.0])


def test_blob_field_is_a_feature_field() -> None:
    assert isinstance(BlobField(SHAPE, A), FeatureField)


def test_every_particle_is_found_once_and_to_a_fraction_of_a_voxel() -> None:
    found = match(BlobField(SHAPE, A, B), QUERY_A, MatchingConfig(candidate_similarity=0.5), diameter=6)
    assert len(found.points) == 3
    nearest = np.linalg.norm(found.points[:, None] - np.array(A), axis=2).min(axis=0)
    assert nearest.max() < 0.35


@pytest.mark.parametrize("strides", [(2,), (8, 4, 2), (12, 4)])
def test_levels_agree_with_the_definition(strides) -> None:
    field = BlobField(SHAPE, A, B)

    def similarity(point):
        return field.similarity_at(QUERY_A, point)

    fast = search_levels(field, QUERY_A, strides, 0.02)
    slow = hierarchical_search(similarity, SHAPE, strides, 0.02)
    np.testing.assert_array_equal(np.isnan(fast), np.isnan(slow))
    np.testing.assert_allclose(fast, slow, atol=1e-4)


def test_coarse_levels_rule_cells_out() -> None:
    similarity = search_levels(BlobField(SHAPE, A), QUERY_A, (8, 2), 0.3)
    assert 0 < np.isnan(similarity).mean() < 1


@given(st.integers(0, 10_000), st.floats(0, 5))
def test_peaks_agree_with_the_definition(seed, min_distance) -> None:
    values = np.random.default_rng(seed).permutation(4 * 5 * 6).reshape(4, 5, 6).astype(np.float32) / 120
    values[values < 0.1] = np.nan
    points, scores = find_peaks(values, 2, 0.0, 0.3)
    expected = peaks_by_definition(values, 2, 0.0, 0.3)
    np.testing.assert_allclose(scores, [value for value, _ in expected])
    # refined by at most half a cell
    assert np.abs(points - np.array([p for _, p in expected]).reshape(-1, 3)).max(initial=0) <= 1
    thinned, _ = find_peaks(values, 2, min_distance, 0.3)
    gaps = np.linalg.norm(thinned[:, None] - thinned, axis=2)[~np.eye(len(thinned), dtype=bool)]
    assert gaps.min(initial=np.inf) >= min_distance - 1e-6


def test_peak_beside_cells_that_were_not_evaluated_raises_no_warning() -> None:
    values = np.full((3, 4, 5), np.nan, dtype=np.float32)
    values[1, 1, 1] = 0.9
    points, _ = find_peaks(values, 1, 2.0, 0.5)
    np.testing.assert_array_equal(points, [[1, 1, 1]])


def test_search_mask_and_margin_exclude_and_do_not_shadow() -> None:
    field = BlobField(SHAPE, [[6, 7, 8], [6, 7, 12]])
    allowed = np.ones(SHAPE, dtype=bool)
    allowed[:, :, :10] = False  # hides the first, which must not suppress its neighbour
    config = MatchingConfig(candidate_similarity=0.5, min_distance_diameters=1)
    found = match(field, QUERY_A, config, diameter=6, search_mask=allowed)
    assert len(found.points) == 1
    assert found.points[0, 2] > 9
    margin = MatchingConfig(candidate_similarity=0.5, edge_margin=5)
    near_and_far = BlobField(SHAPE, [[2, 15, 18], [12, 15, 18]])
    np.testing.assert_allclose(match(near_and_far, QUERY_A, margin, diameter=6).points, [[12, 15, 18]], atol=0.3)


def test_query_is_read_at_the_masks_centroid() -> None:
    field = BlobField(SHAPE, A)
    mask = InstanceMask((5, 6, 7), np.ones((3, 3, 3), dtype=bool))
    off_centre = np.array([[7.0, 8.0, 9.0]])
    at_centroid = build_query(field, off_centre, [mask])
    np.testing.assert_allclose(at_centroid, field.sample(np.array([[6.0, 7.0, 8.0]]))[0])
    at_click = build_query(field, off_centre, [InstanceMask.empty()])
    np.testing.assert_allclose(at_click, field.sample(off_centre)[0])
    assert build_query(field, off_centre, [mask], "mean")[0] < at_centroid[0]


def test_a_plateau_is_one_peak() -> None:
    similarity = np.zeros((5, 6, 9), dtype=np.float32)
    similarity[2, 3, 2:4] = similarity[3, 4, 4] = 0.9
    similarity[1, 1, 7] = 0.8
    points, values = find_peaks(similarity, stride=1, min_distance=0, floor=0.5)
    assert len(points) == 2
    np.testing.assert_allclose(values, [0.9, 0.8])


def test_order_of_prompts_does_not_matter() -> None:
    field = BlobField(SHAPE, A)
    points = np.array(A, dtype=float)
    masks = [InstanceMask.empty()] * 3
    np.testing.assert_allclose(build_query(field, points, masks), build_query(field, points[::-1], masks), rtol=1e-6)


def cube(centre, edge) -> InstanceMask:
    z, y, x = (int(c) - edge // 2 for c in centre)
    return InstanceMask((z, y, x), np.ones((edge,) * 3, dtype=bool))


def test_agreement_is_the_formula() -> None:
    masks = [cube(A[0], 3), cube(A[1], 5), InstanceMask.empty(), cube(A[2], 3)]
    scores = agreement(BlobField(SHAPE, A), QUERY_A, np.array([0.9, 0.8, 0.7, 0.6]), masks, 27, 0.5)
    np.testing.assert_allclose(scores[0], np.sqrt(0.9), rtol=1e-4)
    np.testing.assert_allclose(scores[1], np.sqrt(0.8) * np.exp(-0.5 * (np.log(125 / 27) / 0.5) ** 2), rtol=1e-4)
    assert scores[2] == 0
    np.testing.assert_allclose(scores[3], np.sqrt(0.6), rtol=1e-4)


def test_one_leaked_prompt_mask_does_not_decide_the_volume() -> None:
    masks = [cube(centre, 3) for centre in A]
    volume = kind_volume(BlobField(SHAPE, A), QUERY_A, np.full(3, 0.9), masks, [729.0])
    np.testing.assert_allclose(volume, 27)


def test_the_most_similar_tell_the_volume_and_empty_masks_do_not() -> None:
    masks = [cube(A[0], 3), InstanceMask.empty(), cube(A[2], 5), *(cube(A[1], 3) for _ in range(5))]
    scores = np.array([0.9, 0.9, 0.5, 0.8, 0.8, 0.8, 0.8, 0.8])
    field, nobody = BlobField(SHAPE, A), [InstanceMask.empty()]
    np.testing.assert_allclose(kind_volume(field, QUERY_A, scores, masks, []), 27)
    assert kind_volume(field, QUERY_A, np.array([0.9]), nobody, []) == 1


def test_nothing_similar_gives_no_candidates() -> None:
    found = match(BlobField(SHAPE, A), np.array([0.0, 1.0]), MatchingConfig(), diameter=6)
    assert found.points.shape == (0, 3)
    assert found.scores.shape == (0,)
