"""The whole answer: label volumes, and the answers of several kinds joined."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryosam.arrays import Mask
from cryosam.masks import InstanceMask
from cryosam.results import Segmentation
from mask_volumes import SHAPE, block, masks


def segmentation(volumes: list[Mask]) -> Segmentation:
    n = len(volumes)
    return Segmentation(
        shape=SHAPE,
        points=np.zeros((n, 3)),
        scores=np.linspace(1, 0, n),
        masks=tuple(InstanceMask.crop(v) for v in volumes),
    )


@given(st.lists(masks, max_size=5))
def test_labels_give_a_voxel_to_the_best_score(volumes: list[Mask]) -> None:
    expected = np.zeros(SHAPE, dtype=int)
    for label, volume in enumerate(volumes, start=1):
        expected[volume & (expected == 0)] = label
    answer = segmentation(volumes)
    np.testing.assert_array_equal(answer.labels(), expected)
    np.testing.assert_array_equal(answer.semantic(), expected > 0)


@pytest.mark.parametrize(("n", "dtype"), [(0, "u1"), (1, "u1"), (255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4")])
def test_labels_have_the_smallest_type_that_holds_them(n: int, dtype: str) -> None:
    voxel = np.ones((1, 1, 1), dtype=bool)
    last = InstanceMask((3, 4, 6), voxel)
    answer = Segmentation(
        shape=SHAPE,
        points=np.zeros((n, 3)),
        scores=np.ones(n),
        masks=(InstanceMask.empty(),) * (n - 1) + (last,) * min(n, 1),
    )
    labels = answer.labels()
    assert labels.dtype == dtype
    assert labels[3, 4, 6] == n


def test_orientations_of_several_kinds_are_joined() -> None:
    """A kind of which nothing was found has none; where those of a kind that was found are lacking, it is said."""
    turns = Rotation.from_rotvec([[0.1, 0, 0], [0, 0.2, 0]])
    oriented = replace(segmentation([block((0, 1), (0, 1), (0, 1))] * 2), rotations=turns, kind="oriented")
    nothing, bare = replace(segmentation([]), kind="nothing"), replace(segmentation([block((2, 3))]), kind="bare")
    joined = Segmentation.combine([oriented, nothing])
    assert joined.rotations is not None
    assert (joined.rotations * turns.inv()).magnitude().max() < 1e-9
    assert not joined.warnings
    lacking = Segmentation.combine([oriented, bare])
    assert lacking.rotations is None
    assert lacking.warnings == (
        "the orientations of the other kinds are left out, because those of bare are not known",
    )
    assert not Segmentation.combine([bare, nothing]).warnings
