"""Images and logits find their way into a model's frame and back to the same pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from cryosam.backends.framing import imagenet_rgb, into_frame, model_input, out_of_frame
from cryosam.geometry import ModelFrame

sides = st.integers(5, 40)


def _ramp(frame: ModelFrame, n_cells: int) -> torch.Tensor:
    """Row and column of each cell's centre, in model pixels."""
    centres = (torch.arange(n_cells, dtype=torch.float64) + 0.5) * frame.size_px / n_cells - 0.5
    return torch.stack(torch.meshgrid(centres, centres, indexing="ij"))


@given(sides, sides, st.sampled_from([32, 48]))
def test_a_ramp_over_the_model_input_comes_out_as_the_frame_says(height: int, width: int, size_px: int) -> None:
    frame = ModelFrame(height, width, size_px)
    rows, cols = out_of_frame(_ramp(frame, size_px // 4), frame).numpy()
    expected = frame.to_model(np.stack(np.mgrid[:height, :width], axis=-1).reshape(-1, 2).astype(float))
    expected = expected.reshape(height, width, 2)
    # along the border there is nothing beyond to average with
    reach = max(4.0, size_px / max(height, width)) + 2
    inside = np.all((expected > reach) & (expected < size_px - 1 - reach), axis=-1)
    # exact where the map is interpolated; where it is averaged, within a tenth of a cell (of four pixels)
    tolerance = 1e-9 if 4 * height >= frame.content_px[0] and 4 * width >= frame.content_px[1] else 0.4
    np.testing.assert_allclose(rows[inside], expected[..., 0][inside], atol=tolerance)
    np.testing.assert_allclose(cols[inside], expected[..., 1][inside], atol=tolerance)


@pytest.mark.parametrize(("height", "width"), [(25, 40), (40, 25), (65, 35), (90, 100)])
@pytest.mark.parametrize("n_cells", [32, 16])
def test_a_blob_keeps_its_place_there_and_back(height: int, width: int, n_cells: int) -> None:
    frame = ModelFrame(height, width, 32)
    row, col = height * 0.45, width * 0.55
    rows, cols = np.mgrid[:height, :width]
    sigma = min(height, width) / 8
    blob = np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * sigma**2))
    returned = out_of_frame(into_frame(torch.from_numpy(blob)[None], frame, n_cells), frame)[0].numpy()
    # the peak must not wander, and the shape only blur
    centre = [(returned * axis).sum() / returned.sum() for axis in (rows, cols)]
    expected = [(blob * axis).sum() / blob.sum() for axis in (rows, cols)]
    np.testing.assert_allclose(centre, expected, atol=0.02 * sigma)
    assert np.abs(returned - blob).max() < 0.3


@given(st.integers(2, 24), st.sampled_from([8, 16, 40]), st.integers(0, 9))
def test_square_images_resize_as_in_torch(side: int, size_px: int, seed: int) -> None:
    images = torch.rand(2, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected = interpolate(images[None], (size_px, size_px), mode="bilinear", antialias=True, align_corners=False)[0]
    torch.testing.assert_close(into_frame(images, ModelFrame(side, side, size_px), size_px), expected)


def test_a_frame_of_the_images_own_size_changes_nothing() -> None:
    image = torch.arange(35.0).reshape(1, 7, 5)
    framed = into_frame(image, ModelFrame(7, 5, 7), 7)
    torch.testing.assert_close(framed[:, :, :5], image)
    assert (framed[:, :, 5:] == image.min()).all()
    torch.testing.assert_close(out_of_frame(framed, ModelFrame(7, 5, 7)), image)


def test_shrinking_averages() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 32, 32)
    inner = into_frame(stripes, ModelFrame(32, 32, 8), 8)[0, 1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 0.5), atol=0.01, rtol=0)


def test_padding_is_zero_after_normalisation_and_lies_at_the_bottom_or_right() -> None:
    wide = model_input(torch.full((1, 4, 8), 0.8), ModelFrame(4, 8, 16))[0]
    assert (wide[:, 8:] == 0).all()
    torch.testing.assert_close(wide[:, :8, 0], imagenet_rgb(torch.full((1, 8, 1), 0.8))[0, :, :, 0])
    tall = model_input(torch.full((1, 8, 4), 0.8), ModelFrame(8, 4, 16))[0]
    torch.testing.assert_close(tall, wide.transpose(1, 2))


def test_grey_is_normalised_by_the_statistics_of_imagenet() -> None:
    # black and white, as the published pre-processing gives them: (0 - mean) / std and (1 - mean) / std
    colours = imagenet_rgb(torch.tensor([[[0.0, 1.0]]]))[0, :, 0]
    expected = torch.tensor([[-2.1179, 2.2489], [-2.0357, 2.4286], [-1.8044, 2.6400]])
    torch.testing.assert_close(colours, expected, atol=1e-4, rtol=0)
