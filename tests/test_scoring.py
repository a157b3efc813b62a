"""Scores of candidates by similarity and volume."""

import numpy as np

from blob_field import QUERY_A, SHAPE, A, BlobField
from cryosam.masks import InstanceMask
from cryosam.matching.scoring import agreement, kind_volume


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
