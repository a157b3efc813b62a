"""The weight-free segmenter on pictures whose answer is visible."""

import numpy as np
import pytest

from cryosam.backends import SlicePrompts
from cryosam.backends.classical import ClassicalSegmenter


def discs(*centres, radius=6, shape=(41, 53), noise=0.03):
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for row, col in centres:
        image = np.maximum(image, np.hypot(rows - row, cols - col) < radius)
    return (image + np.random.default_rng(0).normal(0, noise, shape)).astype(np.float32)


def ask(image, positive, negative=(), logits=None, box=None):
    points = np.array([[*positive, *negative]], dtype=float).reshape(1, -1, 2)
    flags = np.array([[True] * len(positive) + [False] * len(negative)], dtype=bool)
    prompts = SlicePrompts(
        np.array([0]),
        points,
        flags,
        None if logits is None else logits[None],
        None if box is None else np.array([box], dtype=float),
    )
    segmenter = ClassicalSegmenter()
    candidates = segmenter.segment(segmenter.embed(image[None]), prompts)
    best = int(candidates.scores[0].argmax())
    return candidates.logits[0, best] > 0, float(candidates.scores[0, best]), candidates.logits[0, best]


def iou(a, b):
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_a_disc_is_found_from_any_point_inside() -> None:
    image = discs((20, 26))
    truth = discs((20, 26), noise=0) > 0
    for point in [(20, 26), (16, 24), (24, 29)]:
        mask, score, _ = ask(image, [point])
        assert iou(mask, truth) > 0.95
        assert score > 0.8


def test_a_ring_clicked_in_its_hole_is_filled() -> None:
    rows, cols = np.mgrid[:41, :53]
    radius = np.hypot(rows - 20, cols - 26)
    ring = ((radius < 7) & (radius > 3)).astype(np.float32)
    mask, _, _ = ask(ring + np.random.default_rng(0).normal(0, 0.02, ring.shape).astype(np.float32), [(20, 27)])
    assert iou(mask, radius < 7) > 0.95


def test_only_the_prompted_disc_is_taken() -> None:
    image = discs((20, 12), (20, 40))
    mask, _, _ = ask(image, [(20, 40)])
    assert not mask[:, :26].any()
    assert iou(mask, discs((20, 40), noise=0) > 0) > 0.95


def test_touching_neighbours_come_apart_in_a_candidate() -> None:
    rows, cols = np.mgrid[:41, :53]
    blobs = [np.exp(-((rows - 20) ** 2 + (cols - c) ** 2) / 40) for c in (19, 34)]
    image = np.maximum(*blobs).astype(np.float32)
    prompts = SlicePrompts(np.array([0]), np.array([[[20.0, 19.0]]]), np.array([[True]]))
    segmenter = ClassicalSegmenter()
    masks = segmenter.segment(segmenter.embed(image[None]), prompts).logits[0] > 0
    areas = masks.sum(axis=(1, 2))
    assert (np.diff(areas) <= 0).all()  # nested: the later, the smaller
    assert not masks[-1][:, 30:].any()
    assert masks[-1][20, 19]


def test_a_negative_point_takes_its_core_away() -> None:
    image = discs((20, 12), (20, 40))
    mask, score, _ = ask(image, [(20, 12)], negative=[(20, 12)])
    assert not mask.any()
    assert score == 0


def test_a_box_bounds_the_mask_and_needs_no_point() -> None:
    image = discs((20, 12), (20, 40))
    mask, _, _ = ask(image, [], box=(10, 30, 30, 50))
    assert iou(mask, discs((20, 40), noise=0) > 0) > 0.95
    assert not mask[:, :30].any()


def test_the_mask_prompt_steadies_a_faint_slice() -> None:
    clear = discs((20, 26), noise=0.1)
    _, _, logits = ask(clear, [(20, 26)])
    faint = discs((20, 26), noise=0.0) * 0.3 + np.random.default_rng(3).normal(0, 0.12, (41, 53)).astype(np.float32)
    truth = discs((20, 26), noise=0) > 0
    with_memory, _, _ = ask(faint.astype(np.float32), [(20, 26)], logits=logits)
    without, _, _ = ask(faint.astype(np.float32), [(20, 26)])
    assert iou(with_memory, truth) > iou(without, truth) + 0.02


def test_past_the_end_of_an_object_the_score_falls() -> None:
    _, inside, logits = ask(discs((20, 26)), [(20, 26)])
    _, beyond, _ = ask(discs(), [(20, 26)], logits=logits)
    assert inside > 0.8
    assert beyond < 0.5


def test_a_constant_image_has_no_object() -> None:
    mask, score, _ = ask(np.full((21, 25), 0.5, dtype=np.float32), [(10, 12)])
    assert not mask.any()
    assert score == 0


@pytest.mark.parametrize("gain", [0.01, 1.0, 40.0])
def test_brightness_and_contrast_of_the_image_do_not_matter(gain) -> None:
    mask, _, _ = ask(discs((20, 26)) * np.float32(gain) + np.float32(3 * gain), [(20, 26)])
    reference, _, _ = ask(discs((20, 26)), [(20, 26)])
    np.testing.assert_array_equal(mask, reference)
