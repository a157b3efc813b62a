"""Hierarchical matching against slow oracles, and what users rely on: no duplicates, masks, margins."""

import numpy as np
import pytest

from blob_field import QUERY_A, SHAPE, A, B, BlobField
from cryosam.config import MatchingConfig
from cryosam.masks import InstanceMask
from cryosam.matching.features import FeatureField
from cryosam.matching.similarity import build_query, match, search_levels
from oracles import hierarchical_search


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


def test_order_of_prompts_does_not_matter() -> None:
    field = BlobField(SHAPE, A)
    points = np.array(A, dtype=float)
    masks = [InstanceMask.empty()] * 3
    np.testing.assert_allclose(build_query(field, points, masks), build_query(field, points[::-1], masks), rtol=1e-6)


def test_nothing_similar_gives_no_candidates() -> None:
    found = match(BlobField(SHAPE, A), np.array([0.0, 1.0]), MatchingConfig(), diameter=6)
    assert found.points.shape == (0, 3)
    assert found.scores.shape == (0,)
