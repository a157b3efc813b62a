"""Fusion of three planes' answers against the definition, voxel by voxel."""

import numpy as np
import pytest
from scipy import ndimage

from cryosam.arrays import PLANES
from cryosam.geometry import AXIS, Window, in_plane_axes
from cryosam.instances.fusion import fuse
from cryosam.instances.slices import UNSEEN, SliceMask
from cryosam.masks import InstanceMask
from oracles import fuse_by_vote

SHAPE = (7, 8, 9)


def draw(seed: int) -> dict:
    """Some slices of each plane, each seen through a window; of every second one a part was kept."""
    rng = np.random.default_rng(seed)
    answers = {}
    for plane in PLANES:
        sizes = [SHAPE[axis] for axis in in_plane_axes(plane)]
        answers[plane] = []
        for depth in sorted(rng.choice(SHAPE[AXIS[plane]], 4, replace=False).tolist()):
            window = Window(1, 0, sizes[0] - 2, sizes[1] - 1)
            logits = rng.normal(0.2, size=(window.height, window.width)).astype(np.float32)
            answer = SliceMask(depth, window, logits, 0.9)
            if depth % 2:
                part = Window(2, 1, window.height - 2, window.width - 2)
                answer = SliceMask(depth, part, logits[1:-1, 1:-1], 0.9, seen=window)
            answers[plane].append(answer)
    return answers


def as_stacks(answers: dict) -> list[np.ndarray]:
    """Each plane's logits as a volume, NaN where it did not look."""
    stacks = []
    for plane, slices in answers.items():
        stack = np.full(SHAPE, np.nan)
        for answer in slices:
            layer = np.moveaxis(stack, AXIS[plane], 0)[answer.depth]
            for window, values in ((answer.seen, UNSEEN), (answer.window, answer.logits)):
                if window is not None:
                    inside, _ = window.overlap(*layer.shape)
                    layer[inside] = values
        stacks.append(stack)
    return stacks


def nearest_part(fused: np.ndarray, point: np.ndarray) -> np.ndarray:
    parts, _ = ndimage.label(fused)
    voxels = np.argwhere(fused)
    nearest = voxels[((voxels - point) ** 2).sum(axis=1).argmin()]
    return parts == parts[tuple(nearest)]


def full(mask: InstanceMask) -> np.ndarray:
    volume = np.zeros(SHAPE, dtype=bool)
    volume[mask.box] = mask.data
    return volume


@pytest.mark.parametrize("rule", ["union", "majority", "intersection"])
@pytest.mark.parametrize("seed", range(5))
def test_votes_are_those_of_the_definition(rule, seed) -> None:
    answers, point = draw(seed), np.array([3.0, 4.0, 5.0])
    opinions = [np.where(np.isnan(stack), None, stack > 0) for stack in as_stacks(answers)]
    expected = nearest_part(fuse_by_vote(opinions, rule), point)
    np.testing.assert_array_equal(full(fuse(answers, point, rule)), expected)


@pytest.mark.parametrize("seed", range(5))
def test_soft_fusion_is_the_weighted_mean_of_probabilities(seed) -> None:
    answers, point = draw(seed), np.array([3.0, 4.0, 5.0])
    weights = np.array([2.0, 1.0, 1.0])
    logits = np.array(as_stacks(answers))
    saw = ~np.isnan(logits)
    probability = np.where(saw, 1 / (1 + np.exp(-np.nan_to_num(logits))), 0)
    known = np.einsum("p,pzyx->zyx", weights, saw)
    mean = np.einsum("p,pzyx->zyx", weights, probability) / np.maximum(known, 1)
    np.testing.assert_array_equal(full(fuse(answers, point, "soft", 2.0)), nearest_part(mean > 0.5, point))


def test_planes_that_see_far_apart_cost_what_they_see() -> None:
    """The box around both answers has 10^12 voxels."""
    answers = {
        "z": [SliceMask(0, Window(0, 0, 3, 3), np.ones((3, 3), dtype=np.float32), 0.9)],
        "y": [SliceMask(9999, Window(9999, 9999, 4, 5), np.ones((4, 5), dtype=np.float32), 0.9)],
    }
    near, far = (fuse(answers, np.full(3, place), "union") for place in (0.0, 9999.0))
    assert (near.origin, near.data.shape) == ((0, 0, 0), (1, 3, 3))
    assert (far.origin, far.data.shape) == ((9999, 9999, 9999), (4, 1, 5))


def test_corners_and_the_ends_of_rows_do_not_join() -> None:
    logits = np.full((2, 4), -1.0, dtype=np.float32)
    logits[0, 3] = logits[1, 0] = 1
    found = fuse({"z": [SliceMask(2, Window(0, 0, 2, 4), logits, 0.9)]}, np.array([2.0, 0, 3]), "union")
    assert (found.origin, found.n_voxels) == ((2, 0, 3), 1)


@pytest.mark.parametrize("rule", ["union", "majority", "intersection", "soft"])
def test_nothing_seen_is_an_empty_mask(rule) -> None:
    nothing = SliceMask(2, Window(0, 0, 2, 4), np.full((2, 4), -1.0, dtype=np.float32), 0.9)
    assert fuse({"z": [nothing]}, np.zeros(3), rule).n_voxels == 0
    assert fuse({}, np.zeros(3), rule).n_voxels == 0
