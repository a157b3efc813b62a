"""What one prompt in windows of slices tells of the size of an object and of the noise."""

import numpy as np
import pytest
from scipy import ndimage

from cryosam.backends import load_segmenter
from cryosam.backends.classical import ClassicalSegmenter
from cryosam.config import PropagationConfig
from cryosam.instances.windows import choose_windows
from cryosam.tomogram import Tomogram


def noisy(mask):
    values = mask.astype(np.float32) + np.random.default_rng(0).normal(0, 0.02, mask.shape)
    return Tomogram(values.astype(np.float32))


@pytest.mark.parametrize("radius", [5.0, 9.0])
def test_the_view_of_an_object_tells_its_diameter(radius: float) -> None:
    centre = (30.0, 32.0, 35.0)
    z, y, x = np.indices((60, 64, 70), sparse=True)
    tomogram = noisy((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2)
    (view,) = choose_windows(tomogram, np.array([centre]), ClassicalSegmenter(), PropagationConfig())
    assert view.diameter == pytest.approx(2 * radius, rel=0.1)
    assert view.window > view.diameter


def test_what_reaches_beyond_its_window_has_no_diameter() -> None:
    z, _, x = np.indices((40, 300, 44))
    tomogram = noisy((z - 20) ** 2 + (x - 22) ** 2 <= 16)
    (view,) = choose_windows(tomogram, np.array([[20.0, 150.0, 22.0]]), ClassicalSegmenter(), PropagationConfig())
    assert view.diameter is None


def test_where_nothing_is_seen_there_is_no_diameter() -> None:
    (view,) = choose_windows(
        Tomogram(np.zeros((20, 20, 20), dtype=np.float32)),
        np.full((1, 3), 10.0),
        ClassicalSegmenter(),
        PropagationConfig(),
    )
    assert view.diameter is None


def test_noise_is_smoothed_away() -> None:
    z, y, x = np.indices((60, 64, 70), sparse=True)
    ball = ((z - 30) ** 2 + (y - 32) ** 2 + (x - 35) ** 2 <= 81).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 1, ball.shape)
    segmenter = load_segmenter("embedded", device="cpu")
    found = [
        choose_windows(
            Tomogram((ball + level * noise).astype(np.float32)),
            np.array([[30.0, 32, 35]]),
            segmenter,
            PropagationConfig(),
        )[0]
        for level in (0.1, 4.0)
    ]
    assert found[1].smoothing > 1.3 * found[0].smoothing
    assert [view.diameter for view in found] == pytest.approx([18, 18], rel=0.2)


def test_a_large_object_is_seen_in_noise_that_hides_it_from_the_eye() -> None:
    z, y, x = np.indices((70, 76, 80), sparse=True)
    ball = ((z - 34) ** 2 + (y - 38) ** 2 + (x - 41) ** 2 <= 13**2).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 24, ball.shape).astype(np.float32)
    segmenter = load_segmenter("embedded", device="cpu")
    (view,) = choose_windows(Tomogram(ball + noise), np.array([[34.0, 38, 41]]), segmenter, PropagationConfig())
    assert view.diameter == pytest.approx(26, rel=0.15)


def test_the_slices_beside_are_smoothed_in_three_dimensions() -> None:
    volume = np.random.default_rng(0).random((60, 64, 68)).astype(np.float32)
    shown = []

    class Watching:
        digest = "watching"
        segment = staticmethod(ClassicalSegmenter().segment)

        @staticmethod
        def beside(height, width):
            return (-2, 3)

        @staticmethod
        def embed(images, beside):
            shown.append(np.concatenate([images[:, None], beside], axis=1))
            return ClassicalSegmenter().embed(images)

    point = (28, 32, 36)
    choose_windows(Tomogram(volume), np.array([point], dtype=float), Watching(), PropagationConfig())
    window = tuple(slice(c - 8, c + 8) for c in point)
    planes = np.split(shown[0], 3)  # of the smallest windows, 16 voxels wide
    for axis, images in enumerate(planes):
        depths = point[axis] + np.array([0, -2, 3])
        for sigma, found in zip((0.8, 1.7, 3.4, 6.8), images, strict=True):
            smooth = np.take(ndimage.gaussian_filter(volume, sigma), depths, axis=axis)
            box = tuple(slice(None) if a == axis else window[a] for a in range(3))
            np.testing.assert_allclose(found, np.moveaxis(smooth[box], axis, 0), atol=1e-3)


@pytest.mark.parametrize(("radius", "largest"), [(9.0, 100), (25.0, 128)])
def test_large_windows_are_tried_for_large_objects_alone(radius: float, largest: int) -> None:
    z, y, x = np.indices((100, 110, 120), sparse=True)
    tomogram = noisy((z - 50) ** 2 + (y - 54) ** 2 + (x - 61) ** 2 <= radius**2)
    segmenter = load_segmenter("embedded", device="cpu")
    sizes = []

    class Recording:
        digest = segmenter.digest
        beside = staticmethod(segmenter.beside)
        segment = staticmethod(segmenter.segment)

        @staticmethod
        def embed(images, beside):
            sizes.append(images.shape[1])
            return segmenter.embed(images, beside)

    (view,) = choose_windows(tomogram, np.array([[50.0, 54, 61]]), Recording(), PropagationConfig())
    assert view.diameter == pytest.approx(2 * radius, rel=0.15)
    assert max(sizes) == largest
