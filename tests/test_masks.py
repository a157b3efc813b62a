"""Masks kept as boxes against the same masks kept as whole volumes."""

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cryosam.arrays import Mask
from cryosam.masks import InstanceMask, merge_duplicates
from mask_volumes import SHAPE, block, masks


def paint(mask: InstanceMask) -> Mask:
    """The whole volume of a mask."""
    volume = np.zeros(SHAPE, dtype=bool)
    volume[mask.box] = mask.data
    return volume


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
