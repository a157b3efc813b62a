"""Masks kept as boxes against the same masks kept as whole volumes."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from cryosam.arrays import Mask
from cryosam.masks import InstanceMask, merge_duplicates
from cryosam.results import Segmentation

SHAPE = (4, 5, 7)

dense = hnp.arrays(bool, SHAPE)
boxes = st.tuples(*[st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted) for n in SHAPE])


def block(*ranges: tuple[int, int]) -> Mask:
    """Volume whose True voxels are one block."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


blocks = boxes.map(lambda ranges: block(*ranges))
masks = st.one_of(dense, blocks)


def paint(mask: InstanceMask) -> Mask:
    """The whole volume of a mask."""
    volume = np.zeros(SHAPE, dtype=bool)
    volume[mask.box] = mask.data
    return volume


def segmentation(volumes: list[Mask]) -> Segmentation:
    n = len(volumes)
    return Segmentation(
        shape=SHAPE,
        points=np.zeros((n, 3)),
        scores=np.linspace(1, 0, n),
        masks=tuple(InstanceMask.crop(v) for v in volumes),
    )


# one mask


@given(masks)
def test_crop_and_paint(volume: Mask) -> None:
    np.testing.assert_array_equal(paint(InstanceMask.crop(volume)), volume)


@given(masks.filter(np.any))
def test_the_box_is_the_smallest(volume: Mask) -> None:
    """Each of its six faces holds a voxel of the mask."""
    data = InstanceMask.crop(volume).data
    for axis in range(3):
        assert data.take(0, axis).any()
        assert data.take(-1, axis).any()


@given(masks, st.tuples(*[st.integers(-5, 5)] * 3))
def test_origin_of_the_cropped_part_is_added(volume: Mask, origin: tuple[int, int, int]) -> None:
    here, there = InstanceMask.crop(volume), InstanceMask.crop(volume, origin)
    np.testing.assert_array_equal(here.data, there.data)
    np.testing.assert_allclose(there.centroid, here.centroid + origin)  # NaN equals NaN here: empty masks


def test_crop_does_not_hold_on_to_the_volume() -> None:
    volume = block((1, 3), (1, 3), (1, 3))
    mask = InstanceMask.crop(volume)
    volume[:] = False
    assert mask.n_voxels == 8
    assert mask.data.base is None


@given(masks)
def test_size_and_centroid(volume: Mask) -> None:
    mask = InstanceMask.crop(volume)
    assert mask.n_voxels == volume.sum()
    expected = np.argwhere(volume).mean(axis=0) if volume.any() else np.full(3, np.nan)
    np.testing.assert_allclose(mask.centroid, expected)


# two masks


@given(masks, masks)
def test_overlap_and_iou(first: Mask, second: Mask) -> None:
    a, b = InstanceMask.crop(first), InstanceMask.crop(second)
    shared, union = (first & second).sum(), (first | second).sum()
    assert a.overlap(b) == b.overlap(a) == shared
    assert a.iou(b) == b.iou(a) == (shared / union if union else 0)


def test_boxes_that_touch_do_not_overlap() -> None:
    left, right = InstanceMask.crop(block((0, 2), (0, 2), (0, 2))), InstanceMask.crop(block((0, 2), (0, 2), (2, 4)))
    assert left.overlap(right) == 0


# duplicates


def drop_duplicates(volumes: list[Mask], max_overlap: float) -> list[int]:
    """From the definition: best first, kept if no kept one shares too much of the smaller of the two."""
    kept: list[int] = []
    for i, mine in enumerate(volumes):
        shares = [(mine & volumes[k]).sum() / max(1, min(mine.sum(), volumes[k].sum())) for k in kept]
        if all(share <= max_overlap for share in shares):
            kept.append(i)
    return kept


@given(st.lists(masks, max_size=6), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_merge_duplicates(volumes: list[Mask], max_overlap: float) -> None:
    cropped = [InstanceMask.crop(v) for v in volumes]
    kept = merge_duplicates(cropped, max_overlap).tolist()
    assert kept == drop_duplicates(volumes, max_overlap)
    for a, b in combinations(kept, 2):
        assert cropped[a].overlap(cropped[b]) <= max_overlap * min(cropped[a].n_voxels, cropped[b].n_voxels)


def test_the_better_of_two_copies_is_kept_and_neighbours_stay() -> None:
    first, second = block((0, 2), (0, 2), (0, 3)), block((2, 4), (3, 5), (4, 7))
    order = [InstanceMask.crop(v) for v in (first, second, first)]
    assert merge_duplicates(order).tolist() == [0, 1]


def test_a_small_mask_within_a_large_one_is_a_duplicate_however_low_the_iou() -> None:
    large, small = block((0, 4), (0, 5), (0, 7)), block((1, 2), (1, 2), (1, 3))
    assert merge_duplicates([InstanceMask.crop(large), InstanceMask.crop(small)]).tolist() == [0]


def test_empty_masks_are_all_kept() -> None:
    assert merge_duplicates([InstanceMask.empty()] * 3).tolist() == [0, 1, 2]


# the whole answer


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
    assert lacking.warnings == ("the orientations of the other kinds are left out, for those of bare are not known",)
    assert not Segmentation.combine([bare, nothing]).warnings
