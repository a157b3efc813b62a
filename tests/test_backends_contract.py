"""What every backend promises, asked of each: embedded ones, and tiny random models of each family of transformers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cryosam.backends import MaskCandidates, SlicePrompts
from cryosam.backends.classical import ClassicalSegmenter
from cryosam.backends.dino import DinoFeatures
from cryosam.backends.embedded import EmbeddedSegmenter
from cryosam.backends.promptable import Embedding, ModelPrompts, PromptableModel
from cryosam.backends.sam import SamHQSegmenter, SamSegmenter
from cryosam.backends.sam2 import Sam2Segmenter
from cryosam.geometry import ModelFrame
from tiny_models import tiny_dinov2, tiny_dinov2_registers, tiny_dinov3, tiny_sam, tiny_sam2, tiny_sam_hq

MODELS: dict[str, Callable[[], PromptableModel]] = {
    "sam": lambda: SamSegmenter(tiny_sam(), objects_per_batch=3, precision="float32"),
    "sam-hq": lambda: SamHQSegmenter(tiny_sam_hq(), objects_per_batch=3, precision="float32"),
    "sam2": lambda: Sam2Segmenter(tiny_sam2(), objects_per_batch=3, precision="float32"),
}
SEGMENTERS: dict[str, Callable[[], Any]] = {
    "classical": ClassicalSegmenter,
    "embedded": lambda: EmbeddedSegmenter(images_per_batch=2, objects_per_batch=3),
    **MODELS,
}
EXTRACTORS: dict[str, Callable[[], DinoFeatures]] = {
    "dinov2": lambda: DinoFeatures(tiny_dinov2(), images_per_batch=2, precision="float32"),
    "dinov2-registers": lambda: DinoFeatures(tiny_dinov2_registers(), images_per_batch=2, precision="float32"),
    "dinov3": lambda: DinoFeatures(tiny_dinov3(), images_per_batch=2, precision="float32"),
}
# float32 on another batch size is summed in another order
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
# a hundred times as much as rounding may do
CHANGE = 0.01


@pytest.fixture(params=SEGMENTERS, scope="module")
def segmenter(request: pytest.FixtureRequest) -> Any:
    return SEGMENTERS[request.param]()


@pytest.fixture(params=MODELS, scope="module")
def model(request: pytest.FixtureRequest) -> PromptableModel:
    return MODELS[request.param]()


@pytest.fixture(params=EXTRACTORS, scope="module")
def extractor(request: pytest.FixtureRequest) -> DinoFeatures:
    return EXTRACTORS[request.param]()


# an answer in bfloat16, of a model whose numbers are around 1, differs by this much
HALF = 0.05
BUILDS: dict[str, Callable[..., Any]] = {
    "sam": lambda **options: SamSegmenter(tiny_sam(), **options),
    "sam-hq": lambda **options: SamHQSegmenter(tiny_sam_hq(), **options),
    "sam2": lambda **options: Sam2Segmenter(tiny_sam2(), **options),
}


def _images(n: int, height: int = 26, width: int = 38, seed: int = 0) -> np.ndarray:
    """Noise with one bright disc at (12, 15) and another at (17, 29)."""
    rows, cols = np.mgrid[:height, :width]
    discs = (np.hypot(rows - 12, cols - 15) < 5) | (np.hypot(rows - 17, cols - 29) < 4)
    noise = np.random.default_rng(seed).uniform(0, 0.2, (n, height, width))
    return (0.3 + 0.5 * discs + noise).astype(np.float32)


def _prompts(n: int, n_images: int, seed: int = 1) -> SlicePrompts:
    """Objects, each with one point near a disc and a second, negative one away from both."""
    rng = np.random.default_rng(seed)
    near = np.where(rng.integers(0, 2, (n, 1)) == 0, [[12.0, 15.0]], [[17.0, 29.0]]) + rng.uniform(-2, 2, (n, 2))
    points = np.stack([near, np.tile([[3.0, 3.0]], (n, 1))], axis=1)
    return SlicePrompts(rng.integers(0, n_images, n), points, np.tile([[True, False]], (n, 1)))


def _rows(prompts: SlicePrompts, order: Any) -> SlicePrompts:
    """Some of the objects, or another order."""
    given = {name: getattr(prompts, name) for name in ("image_index", "points", "is_positive", "logits", "boxes")}
    return SlicePrompts(**{name: None if values is None else values[order] for name, values in given.items()})


@contextmanager
def _watched(module: torch.nn.Module, given: list[torch.Tensor]) -> Iterator[None]:
    """Keep what a part of a model is given first, in each call."""
    hook = module.register_forward_pre_hook(
        lambda _, args, kwargs: given.append([*args, *kwargs.values()][0]), with_kwargs=True
    )
    try:
        yield
    finally:
        hook.remove()


def _assert_close(found: MaskCandidates, expected: MaskCandidates) -> None:
    np.testing.assert_allclose(found.logits, expected.logits, **TOLERANCE)
    np.testing.assert_allclose(found.scores, expected.scores, **TOLERANCE)


def _assert_equal(found: MaskCandidates, expected: MaskCandidates) -> None:
    np.testing.assert_array_equal(found.logits, expected.logits)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_one_object_at_a_time_gives_the_same(segmenter: Any) -> None:
    prompts = _prompts(7, 2)
    embedding = segmenter.embed(_images(2))
    together = segmenter.segment(embedding, prompts)
    for i in range(7):
        alone = segmenter.segment(embedding, _rows(prompts, slice(i, i + 1)))
        _assert_close(alone, MaskCandidates(together.logits[i : i + 1], together.scores[i : i + 1]))


def test_one_image_at_a_time_gives_the_same(segmenter: Any) -> None:
    images, prompts = _images(3), _prompts(6, 3)
    together = segmenter.segment(segmenter.embed(images), prompts)
    for i, image in enumerate(prompts.image_index):
        alone = replace(_rows(prompts, slice(i, i + 1)), image_index=np.array([0]))
        answer = segmenter.segment(segmenter.embed(images[image : image + 1]), alone)
        _assert_close(answer, MaskCandidates(together.logits[i : i + 1], together.scores[i : i + 1]))


def test_another_order_of_objects_is_the_same_order_of_answers(segmenter: Any) -> None:
    prompts, order = _prompts(5, 2), np.array([3, 0, 4, 1, 2])
    embedding = segmenter.embed(_images(2))
    expected = segmenter.segment(embedding, prompts)
    answer = segmenter.segment(embedding, _rows(prompts, order))
    _assert_close(answer, MaskCandidates(expected.logits[order], expected.scores[order]))


def test_nothing_is_remembered_between_calls(segmenter: Any) -> None:
    first, second = _images(1), _images(1, 31, 22, seed=9)
    prompts = _prompts(2, 1)
    expected = [segmenter.segment(segmenter.embed(images), prompts) for images in (first, second)]
    embeddings = [segmenter.embed(first), segmenter.embed(second)]
    for i in (1, 0, 1):
        _assert_equal(segmenter.segment(embeddings[i], prompts), expected[i])


def test_a_second_instance_answers_the_same(segmenter: Any, request: pytest.FixtureRequest) -> None:
    again = SEGMENTERS[request.node.callspec.params["segmenter"]]()
    assert again.digest == segmenter.digest
    prompts = _prompts(2, 1)
    _assert_equal(
        again.segment(again.embed(_images(1)), prompts), segmenter.segment(segmenter.embed(_images(1)), prompts)
    )


def test_answers_have_the_images_size_and_scores_between_0_and_1(segmenter: Any) -> None:
    answer = segmenter.segment(segmenter.embed(_images(1, 19, 33)), _prompts(4, 1))
    assert answer.logits.shape == (4, answer.scores.shape[1], 19, 33)
    assert answer.scores.min() >= 0
    assert answer.scores.max() <= 1
    assert np.isfinite(answer.logits).all()


def test_no_objects_are_answered_by_no_candidates(segmenter: Any) -> None:
    answer = segmenter.segment(segmenter.embed(_images(1, 19, 33)), _rows(_prompts(2, 1), slice(0, 0)))
    assert answer.logits.shape[0] == answer.scores.shape[0] == 0
    assert answer.logits.shape[2:] == (19, 33)


def test_the_point_decides(segmenter: Any) -> None:
    """The same image answers differently at each disc."""
    points = np.array([[[12.0, 15.0]], [[17.0, 29.0]]])
    prompts = SlicePrompts(np.array([0, 0]), points, np.ones((2, 1), dtype=bool))
    logits = segmenter.segment(segmenter.embed(_images(1)), prompts).logits
    assert np.abs(logits[0] - logits[1]).max() > CHANGE


def test_a_negative_point_is_not_a_positive_one(segmenter: Any) -> None:
    points = np.tile([[[12.0, 15.0], [12.0, 18.0]]], (2, 1, 1))
    prompts = SlicePrompts(np.array([0, 0]), points, np.array([[True, True], [True, False]]))
    logits = segmenter.segment(segmenter.embed(_images(1)), prompts).logits
    assert np.abs(logits[0] - logits[1]).max() > CHANGE


def test_a_mask_prompt_changes_the_answer(segmenter: Any) -> None:
    images, prompts = _images(1), _prompts(2, 1)
    near = np.hypot(*(np.mgrid[:26, :38] - np.array([12, 15])[:, None, None])) < 3
    embedding = segmenter.embed(images)
    without = segmenter.segment(embedding, prompts)
    with_mask = segmenter.segment(
        embedding, replace(prompts, logits=np.tile(np.where(near, 6.0, -6.0), (2, 1, 1)).astype(np.float32))
    )
    assert np.abs(with_mask.logits - without.logits).max() > CHANGE


def test_a_box_limits_the_answer_to_a_point(segmenter: Any) -> None:
    embedding = segmenter.embed(_images(1))
    free = SlicePrompts(np.array([0]), np.array([[[12.0, 15.0]]]), np.array([[True]]))
    boxed = replace(free, boxes=np.array([[9.0, 13.0, 14.0, 17.0]]))
    difference = segmenter.segment(embedding, boxed).logits - segmenter.segment(embedding, free).logits
    assert np.abs(difference).max() > CHANGE


def test_boxes_without_points_are_answered(model: PromptableModel) -> None:
    prompts = SlicePrompts(
        np.array([0, 0]),
        np.empty((2, 0, 2)),
        np.empty((2, 0), dtype=bool),
        boxes=np.array([[6.0, 9.0, 18.0, 21.0], [12.0, 24.0, 22.0, 34.0]]),
    )
    logits = model.segment(model.embed(_images(1)), prompts).logits
    assert np.abs(logits[0] - logits[1]).max() > CHANGE


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20), (37, 23), (90, 120)])
def test_a_point_lands_on_the_pixel_it_was_put_on(model: PromptableModel, height: int, width: int) -> None:
    """Where the model sees a bright spot of the image is where it is told that the point is."""
    row, col = round(0.3 * height), round(0.7 * width)
    rows, cols = np.mgrid[:height, :width]
    spot = np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / 8).astype(np.float32)
    seen: list[torch.Tensor] = []
    told: list[torch.Tensor] = []
    prompts = SlicePrompts(np.array([0]), np.array([[[float(row), float(col)]]]), np.array([[True]]))
    encoder, positions = model.model.vision_encoder, model.model.prompt_encoder.shared_embedding
    with _watched(encoder, seen), _watched(positions, told):
        model.segment(model.embed(spot[None]), prompts)
    brightness = seen[0][0, 0].numpy()
    frame = ModelFrame(height, width, model.size_px)
    content = brightness[: frame.content_px[0], : frame.content_px[1]]
    content = content - content.min()
    centre = [(content * axis).sum() / content.sum() for axis in np.mgrid[: content.shape[0], : content.shape[1]]]
    # SAM adds half a pixel to what it is told
    x, y = told[0][0, 0, 0].numpy() - 0.5
    np.testing.assert_allclose([y, x], frame.to_model(np.array([[row, col]], dtype=float))[0], atol=1e-4)
    np.testing.assert_allclose(centre, [y, x], atol=0.1)


class _Echo(PromptableModel):
    """Answers with the position of each cell in the model's input: first the rows, then the columns."""

    size_px = 32  # type: ignore[assignment]
    n_candidates = 2  # type: ignore[assignment]

    def _encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (pixels,)

    def _decode(self, maps: tuple[torch.Tensor, ...], prompts: ModelPrompts) -> tuple[torch.Tensor, torch.Tensor]:
        n = len(maps[0])
        centres = (torch.arange(8.0) + 0.5) * 4 - 0.5
        positions = torch.stack(torch.meshgrid(centres, centres, indexing="ij"))
        return positions.expand(n, 2, 8, 8), torch.full((n, 2), 2.0)


@pytest.mark.parametrize(("height", "width"), [(16, 32), (32, 16), (21, 29)])
def test_an_answer_at_a_place_comes_back_at_that_place(height: int, width: int) -> None:
    echo = _Echo(torch.nn.Identity())
    embedding = echo.embed(np.zeros((1, height, width), dtype=np.float32))
    answer = echo.segment(embedding, _prompts(1, 1))
    assert answer.scores.tolist() == [[1.0, 1.0]]
    rows_cols = np.stack(np.mgrid[:height, :width], axis=-1).reshape(-1, 2).astype(float)
    expected = ModelFrame(height, width, 32).to_model(rows_cols).reshape(height, width, 2)
    inside = np.all((expected >= 1.5) & (expected <= 29.5), axis=-1)
    for candidate, axis in enumerate((0, 1)):
        np.testing.assert_allclose(answer.logits[0, candidate][inside], expected[..., axis][inside], atol=1e-4)


def test_a_mask_prompt_arrives_where_the_mask_is(model: PromptableModel) -> None:
    """A wide image: its mask fills the upper half of the model's grid, the padding is background."""
    given: list[torch.Tensor] = []
    logits = np.full((2, 16, 32), -5.0, dtype=np.float32)
    logits[0, :8, :16] = 5
    logits[1, 8:, 16:] = 5
    prompts = SlicePrompts(np.array([0, 0]), np.array([[[2.0, 2.0]], [[12.0, 20.0]]]), np.ones((2, 1), dtype=bool))
    with _watched(model.model.prompt_encoder.mask_embed, given):
        model.segment(model.embed(np.zeros((1, 16, 32), dtype=np.float32)), replace(prompts, logits=logits))
    masks = given[0][:, 0].numpy() > 0
    assert masks.shape == (2, 16, 16)
    expected = np.zeros((2, 16, 16), dtype=bool)
    expected[0, :4, :8] = True
    expected[1, 4:8, 8:] = True
    np.testing.assert_array_equal(masks, expected)
    assert given[0][:, 0, 8:].max() == -5


def test_embeddings_do_not_keep_a_graph(model: PromptableModel) -> None:
    embedding = model.embed(_images(1))
    assert isinstance(embedding, Embedding)
    assert not any(values.requires_grad for values in embedding.maps)


@pytest.mark.parametrize("build", [tiny_dinov2, tiny_dinov2_registers, tiny_dinov3])
def test_tokens_in_half_precision_are_those_in_single_precision_but_for_rounding(build: Callable[..., Any]) -> None:
    single, half = (DinoFeatures(build(), images_per_batch=2, precision=p) for p in ("float32", "bfloat16"))
    images = np.random.default_rng(0).random((3, 2 * half.patch_px, 3 * half.patch_px), dtype=np.float32)
    expected, found = single.extract(images), half.extract(images)
    assert found.dtype == torch.float32
    error = (found - expected).norm(dim=1) / expected.norm(dim=1)
    assert 0 < error.max() < HALF
    for i in range(3):  # and the batch changes no more than that
        assert ((half.extract(images[i : i + 1])[0] - found[i]).norm(dim=0) / found[i].norm(dim=0)).max() < HALF
    assert single.digest != half.digest


@pytest.mark.parametrize("name", BUILDS)
def test_answers_of_an_encoder_in_half_precision_are_those_in_single_precision_but_for_rounding(name: str) -> None:
    single, half = (BUILDS[name](precision=p) for p in ("float32", "bfloat16"))
    images, prompts = _images(2), _prompts(5, 2)
    expected = single.segment(single.embed(images), prompts)
    found = half.segment(half.embed(images), prompts)
    difference = np.abs(found.logits - expected.logits).max() / expected.logits.std()
    assert 0 < difference < 4 * HALF
    np.testing.assert_allclose(found.scores, expected.scores, atol=HALF)
    assert single.digest != half.digest


def test_tokens_do_not_depend_on_the_batch(extractor: DinoFeatures) -> None:
    p = extractor.patch_px
    images = np.random.default_rng(0).random((3, 2 * p, 5 * p), dtype=np.float32)
    together = extractor.extract(images)
    assert together.shape == (3, extractor.n_channels, 2, 5)
    for i in range(3):
        np.testing.assert_allclose(extractor.extract(images[i : i + 1])[0], together[i], **TOLERANCE)


def test_a_patch_changes_its_own_token_most(extractor: DinoFeatures) -> None:
    p, rows, cols = extractor.patch_px, 3, 4
    images = np.random.default_rng(0).random((1, rows * p, cols * p), dtype=np.float32)
    before = extractor.extract(images)[0]
    for i in range(rows):
        for j in range(cols):
            changed = images.copy()
            changed[0, i * p : (i + 1) * p, j * p : (j + 1) * p] = np.random.default_rng(1).random((p, p))
            difference = (extractor.extract(changed)[0] - before).norm(dim=0)
            assert divmod(int(difference.argmax()), cols) == (i, j)


@pytest.mark.parametrize("build", [tiny_dinov2, tiny_dinov2_registers])
def test_position_embeddings_follow_the_images_size(build: Callable[..., Any]) -> None:
    """Without layers, tokens of a constant image differ by position alone: on a grid 3 or 5 times as fine, every third
    or fifth patch has the centre of a patch of the model's own grid, and so the same token."""
    model = build()
    model.encoder.layer = torch.nn.ModuleList()
    native = DinoFeatures(model).extract(np.full((1, 42, 42), 0.5, dtype=np.float32))[0]
    finer = DinoFeatures(model).extract(np.full((1, 126, 210), 0.5, dtype=np.float32))[0]
    assert finer.shape == (16, 9, 15)
    torch.testing.assert_close(finer[:, 1::3, 2::5], native, atol=1e-4, rtol=1e-4)
    assert (native[:, 0, 0] - native[:, 0, 1]).norm() > 0.1


def test_the_number_of_special_tokens_is_read_from_the_model() -> None:
    """Tokens are the last ones that the model gives; one register more or less would shift them."""
    model = tiny_dinov2_registers()
    images = np.random.default_rng(0).random((1, 28, 42), dtype=np.float32)
    tokens = DinoFeatures(model, precision="float32").extract(images)[0]
    with torch.no_grad():
        pixels = (torch.from_numpy(images)[:, None] - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / (
            torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        )
        everything = model(pixels).last_hidden_state[0]
    assert len(everything) == 1 + 3 + 6
    torch.testing.assert_close(tokens[:, 1, 2], everything[-1])
    torch.testing.assert_close(tokens[:, 0, 0], everything[-6])


def test_a_size_that_is_no_multiple_of_the_patch_is_refused(extractor: DinoFeatures) -> None:
    with pytest.raises(ValueError, match=f"multiples of {extractor.patch_px} pixels"):
        extractor.extract(np.zeros((1, extractor.patch_px, extractor.patch_px + 1), dtype=np.float32))


@pytest.mark.parametrize("build", [tiny_sam, tiny_sam2, tiny_dinov2], ids=["sam", "sam2", "dinov2"])
def test_the_digest_follows_the_weights(build: Callable[..., Any]) -> None:
    wrap = DinoFeatures if build is tiny_dinov2 else SamSegmenter
    assert wrap(build(seed=0)).digest == wrap(build(seed=0)).digest
    assert wrap(build(seed=0)).digest != wrap(build(seed=1)).digest
    other_settings = build(seed=0)
    other_settings.config.layer_norm_eps = 0.5
    assert wrap(other_settings).digest != wrap(build(seed=0)).digest
