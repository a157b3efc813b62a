"""The segmenter that ships with the package: its weights, and what it makes of clear cases."""

from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
import torch
from scipy import ndimage

from cryosam.backends import SlicePrompts, load_segmenter
from cryosam.backends.embedded import EmbeddedSegmenter, load_network, standardise
from cryosam.backends.prompt_unet import draw_prompts
from cryosam.errors import WeightsError


@pytest.fixture(scope="module")
def segmenter() -> EmbeddedSegmenter:
    return EmbeddedSegmenter()


def _noisy(density: np.ndarray, noise: float, seed: int) -> np.ndarray:
    speckle = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(density.shape), 1.5)
    return (0.3 + 0.2 * (ndimage.gaussian_filter(density, 1.2) + noise * speckle / speckle.std())).astype(np.float32)


def _discs(
    size: int,
    centres: list[tuple[float, float]],
    radius: float,
    noise: float = 0.3,
    *,
    contrast: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Discs of a contrast in smoothed noise whose standard deviation is given."""
    rows, cols = np.mgrid[:size, :size]
    image = np.zeros((size, size))
    for row, col in centres:
        image[np.hypot(rows - row, cols - col) < radius] = contrast
    return _noisy(image, noise, seed)


def _balls(
    size: int,
    centres: list[tuple[float, float]],
    radius: float,
    noise: float = 0.3,
    *,
    depth: int = 0,
    seed: int = 0,
) -> np.ndarray:
    """Nine slices through balls in smoothed noise, that in the middle ``depth`` from their centres."""
    z, rows, cols = np.indices((9, size, size), sparse=True)
    volume = np.zeros((9, size, size))
    for row, col in centres:
        volume[(z - 4 + depth) ** 2 + (rows - row) ** 2 + (cols - col) ** 2 < radius**2] = 1
    return _noisy(volume, noise, seed)


def _seen(
    segmenter: EmbeddedSegmenter, slices: np.ndarray, prompts: SlicePrompts
) -> tuple[np.ndarray, float, np.ndarray]:
    """Logits, score and memory of the best mask in the slice in the middle, with those beside it."""
    middle = len(slices) // 2
    beside = slices[middle + np.array(segmenter.beside(*slices.shape[1:]))]
    answer = segmenter.segment(segmenter.embed(slices[middle][None], beside[None]), prompts)
    best = int(answer.scores[0].argmax())
    assert answer.memory is not None
    return answer.logits[0, best], float(answer.scores[0, best]), answer.memory[0, best]


def _click(row: float, col: float, logits: np.ndarray | None = None) -> SlicePrompts:
    return SlicePrompts(np.array([0]), np.array([[[row, col]]], dtype=float), np.array([[True]]), logits)


def _best(segmenter: EmbeddedSegmenter, image: np.ndarray, prompts: SlicePrompts) -> tuple[np.ndarray, float]:
    answer = segmenter.segment(segmenter.embed(image[None]), prompts)
    best = int(answer.scores[0].argmax())
    return answer.logits[0, best], float(answer.scores[0, best])


def _dice(logits: np.ndarray, centre: tuple[float, float], radius: float) -> float:
    truth = np.hypot(*(np.indices(logits.shape) - np.array(centre)[:, None, None])) < radius
    return 2 * np.count_nonzero(truth & (logits > 0)) / (np.count_nonzero(truth) + np.count_nonzero(logits > 0))


@pytest.mark.parametrize(("size", "radius"), [(45, 7), (72, 11), (96, 14)])
def test_a_disc_is_segmented_from_a_click_anywhere_in_it(
    segmenter: EmbeddedSegmenter, size: int, radius: float
) -> None:
    centre = (0.46 * size, 0.52 * size)
    image = _discs(size, [centre], radius)
    for row, col in [(0, 0), (0.5 * radius, 0.3 * radius)]:
        logits, score = _best(segmenter, image, _click(centre[0] + row, centre[1] + col))
        assert _dice(logits, centre, radius) > 0.85
        assert score > 0.6


def test_touching_balls_are_cut_apart(segmenter: EmbeddedSegmenter) -> None:
    centres = [(30.0, 36.0), (51.0, 36.0)]
    found = []
    for seed in range(8):
        balls = _balls(72, centres, 10.5, seed=seed)
        found += [_dice(_seen(segmenter, balls, _click(*centre))[0], centre, 10.5) for centre in centres]
    assert np.mean(found) > 0.85
    assert min(found) > 0.6


def test_a_walk_scores_high_within_a_ball_and_low_past_its_end(segmenter: EmbeddedSegmenter) -> None:
    """A ball of radius 9, slice after slice; in the last ones within it there is little left."""
    for seed in range(3):
        prompts, scores = _click(34, 37), []
        for depth in range(14):
            logits, score, memory = _seen(segmenter, _balls(72, [(34.0, 37.0)], 9, depth=depth, seed=seed), prompts)
            prompts = replace(_click(34, 37, logits[None]), memory=memory[None])
            scores.append(score)
        assert min(scores[:6]) > 0.6
        assert max(scores[10:]) < 0.3


def test_the_mask_prompt_is_followed_to_the_next_slice(segmenter: EmbeddedSegmenter) -> None:
    logits, _ = _best(segmenter, _discs(72, [(34.0, 37.0)], 11), _click(34, 37))
    for seed in range(8):
        after, score = _best(segmenter, _discs(72, [(35.0, 37.0)], 10, seed=seed), _click(34, 37, logits[None]))
        assert _dice(after, (35.0, 37.0), 10) > 0.9
        assert score > 0.5


def test_slices_beside_tell_what_goes_on_from_what_ends(segmenter: EmbeddedSegmenter) -> None:
    """The same faint disc among others like it, and as the smear behind the end of something bright."""
    goes_on, ends = [], []
    for seed in range(6):
        bright, faint = (_discs(72, [(34.0, 37.0)], 9, 0.15, contrast=c, seed=seed + 20) for c in (1.0, 0.25))
        logits, _ = _best(segmenter, bright, _click(34, 37))
        for scores, contrasts in ((goes_on, (0.25, 0.25, 0.25, 0.25, 0.25)), (ends, (1.0, 0.6, 0.25, 0.1, 0.0))):
            slices = [
                _discs(72, [(34.0, 37.0)], 9, 0.15, contrast=c, seed=10 * seed + i) for i, c in enumerate(contrasts)
            ]
            stack = np.stack([slices[0], slices[0], slices[1], slices[1], faint, *np.repeat(slices[3:], 2, axis=0)])
            scores.append(_seen(segmenter, stack, _click(34, 37, logits[None]))[1])
    assert np.mean(goes_on) > 0.6
    assert np.mean(ends) < 0.4


@pytest.mark.parametrize(
    ("size", "expected"), [(18, (-2, -1, 1, 2)), (47, (-2, -1, 1, 2)), (72, (-4, -2, 2, 4)), (1024, (-8, -4, 4, 8))]
)
def test_slices_beside_are_about_two_pixels_of_the_input_apart(
    segmenter: EmbeddedSegmenter, size: int, expected: tuple[int, ...]
) -> None:
    assert segmenter.beside(size, size - 2) == expected


def test_an_object_remembers_or_not_whatever_the_others_do(segmenter: EmbeddedSegmenter) -> None:
    """A row of NaN is no memory, and what one object remembers is nothing to another."""
    image = _discs(72, [(34.0, 37.0)], 11)
    first = segmenter.segment(segmenter.embed(image[None]), _click(34, 37))
    assert first.memory is not None
    best = int(first.scores[0].argmax())
    logits, memory = first.logits[:, best], first.memory[:, best]
    embedding = segmenter.embed(_discs(72, [(35.0, 37.0)], 10)[None])
    without = _click(34, 37, logits)
    reminded = replace(without, memory=memory)
    both = SlicePrompts(
        np.array([0, 0]),
        np.repeat(without.points, 2, axis=0),
        np.array([[True], [True]]),
        np.repeat(logits, 2, axis=0),
        memory=np.concatenate([np.full_like(memory, np.nan), memory]),
    )
    together = segmenter.segment(embedding, both)
    for i, prompts in enumerate((without, reminded)):
        alone = segmenter.segment(embedding, prompts)
        np.testing.assert_allclose(together.logits[i], alone.logits[0], atol=1e-3)
        np.testing.assert_allclose(together.scores[i], alone.scores[0], atol=1e-3)


def test_what_was_seen_before_counts(segmenter: EmbeddedSegmenter) -> None:
    """The same faint picture after another like it, and after a bright one; `training/validate.py` tells which way."""
    faint = {"contrast": 0.2, "noise": 0.15}
    differences = []
    for seed in range(4):
        bright = _discs(72, [(34.0, 37.0)], 8, 0.15, seed=seed)
        logits, _ = _best(segmenter, bright, _click(34, 37))
        scores = []
        for before in (_discs(72, [(34.0, 37.0)], 8, seed=seed, **faint), bright):
            answer = segmenter.segment(segmenter.embed(before[None]), _click(34, 37))
            assert answer.memory is not None
            prompts = replace(_click(34, 37, logits[None]), memory=answer.memory[:, int(answer.scores[0].argmax())])
            scores.append(_best(segmenter, _discs(72, [(34.0, 37.0)], 8, seed=seed + 50, **faint), prompts)[1])
        differences.append(abs(scores[0] - scores[1]))
    assert np.mean(differences) > 0.01


def test_brightness_and_contrast_change_nothing(segmenter: EmbeddedSegmenter) -> None:
    image = _discs(72, [(34.0, 37.0)], 11)
    expected, _ = _best(segmenter, image, _click(34, 37))
    found, _ = _best(segmenter, 0.2 + 0.5 * image, _click(34, 37))
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_an_object_without_noise_has_its_own_size(segmenter: EmbeddedSegmenter) -> None:
    image = _discs(64, [(30.0, 33.0)], 9, noise=0.01)
    logits, _ = _best(segmenter, image, _click(30, 33))
    assert 0.8 < np.sqrt(np.count_nonzero(logits > 0) / np.pi) / 9 < 1.15


def test_standardise_survives_a_constant_image() -> None:
    assert torch.equal(standardise(torch.full((1, 1, 4, 5), 0.7)), torch.zeros(1, 1, 4, 5))


def test_prompts_are_drawn_where_they_are() -> None:
    """A pixel's cell is half its index; what an object lacks leaves its maps empty."""
    maps = draw_prompts(
        (10, 12),
        torch.tensor([[[4.5, 6.5], [12.5, 16.5]], [[8.5, 2.5], [0.0, 0.0]]]),
        torch.tensor([[True, False], [True, True]]),
        boxes=torch.tensor([[2.5, 4.5, 8.5, 10.5], [torch.nan] * 4]),
        priors=torch.stack([torch.full((10, 12), 30.0), torch.full((10, 12), torch.nan)]),
        is_given=torch.tensor([[True, True], [True, False]]),
    )
    assert [divmod(int(maps[0, i].argmax()), 12) for i in (0, 1, 2, 3)] == [(2, 3), (2, 3), (6, 8), (6, 8)]
    assert divmod(int(maps[1, 0].argmax()), 12) == (4, 1)
    assert maps[1, 0, 0, 0] < 1e-3
    inside = torch.zeros(10, 12, dtype=torch.bool)
    inside[1:5, 2:6] = True
    assert torch.equal(maps[0, 4] > 0, inside)
    torch.testing.assert_close(maps[0, 5:], torch.ones(2, 10, 12))
    assert not maps[1, 4:].any()


def test_the_weights_are_small_and_give_the_digest() -> None:
    content = resources.files("cryosam.backends").joinpath("embedded.safetensors").read_bytes()
    assert len(content) < 12e6
    named = load_segmenter("embedded", device="cpu")
    assert named.digest == EmbeddedSegmenter(load_network(content)).digest
    changed = load_network(content)
    with torch.no_grad():
        changed.logits.bias.add_(1)
    assert EmbeddedSegmenter(changed).digest != named.digest


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x00" * 64])
def test_damaged_weights_are_refused(content: bytes) -> None:
    with pytest.raises(WeightsError, match="damaged"):
        load_network(content)
