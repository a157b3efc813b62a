"""What a segmenter is shown of slices, and of those beside them."""

import numpy as np
import pytest

from cryosam.arrays import PLANES, Plane
from cryosam.backends import MaskCandidates
from cryosam.config import PropagationConfig
from cryosam.geometry import AXIS, Window
from cryosam.instances.slices import CachingSegmenter, SliceWindow, segment_windows
from cryosam.tomogram import Tomogram

OFFSETS = (-3, 1, 2)


class Watching:
    """Keeps what it is shown, and sees nothing."""

    digest = "watching"

    def __init__(self, offsets: tuple[int, ...] = OFFSETS) -> None:
        self.offsets = offsets
        self.shown: list[tuple[np.ndarray, np.ndarray | None]] = []

    def beside(self, height: int, width: int) -> tuple[int, ...]:
        return self.offsets

    def embed(self, images, beside=None):
        self.shown.append((images, beside))
        return images

    def segment(self, embedding, prompts):
        n = len(prompts.image_index)
        return MaskCandidates(np.full((n, 1, *embedding.shape[1:]), -1, dtype=np.float32), np.zeros((n, 1)))


@pytest.fixture
def tomogram() -> Tomogram:
    return Tomogram(np.random.default_rng(0).random((14, 12, 13)).astype(np.float32))


def _show(tomogram: Tomogram, segmenter: Watching, places: list[SliceWindow]) -> None:
    prompts = [np.array([5.0, 6.0])] * len(places)
    sources = [tomogram] * len(places)
    assert segment_windows(sources, segmenter, places, prompts, None, np.inf, PropagationConfig()) == [None] * len(
        places
    )


@pytest.mark.parametrize("plane", PLANES)
def test_the_slices_beside_are_shown_in_the_same_window(tomogram: Tomogram, plane: Plane) -> None:
    segmenter = Watching()
    window = Window(2, 3, 7, 6)
    depths = [0, 5, tomogram.shape[AXIS[plane]] - 1]
    _show(tomogram, segmenter, [SliceWindow(plane, depth, window) for depth in depths])
    ((images, beside),) = segmenter.shown
    assert beside is not None
    stack = np.moveaxis(tomogram.data, AXIS[plane], 0)[:, 2:9, 3:9]
    for depth, image, others in zip(depths, images, beside, strict=True):
        np.testing.assert_array_equal(image, stack[depth])
        for offset, other in zip(OFFSETS, others, strict=True):
            np.testing.assert_array_equal(other, stack[np.clip(depth + offset, 0, len(stack) - 1)])


def test_beyond_the_faces_all_of_them_are_filled_alike(tomogram: Tomogram) -> None:
    segmenter = Watching()
    _show(tomogram, segmenter, [SliceWindow("z", 6, Window(-4, 9, 8, 8))])
    ((images, beside),) = segmenter.shown
    assert beside is not None
    shown = np.concatenate([images, beside[0]])
    for depth, image in zip((6, 3, 7, 8), shown, strict=True):
        np.testing.assert_array_equal(image[4:, :4], tomogram.data[depth, :4, 9:])
        filling = np.median(tomogram.data[6, :4, 9:])
        assert (image[:4] == filling).all()
        assert (image[4:, 4:] == filling).all()


def test_who_wants_none_is_shown_none(tomogram: Tomogram) -> None:
    segmenter = Watching(())
    _show(tomogram, segmenter, [SliceWindow("y", 6, Window(0, 0, 8, 8))])
    assert segmenter.shown[0][1] is None


def test_images_are_embedded_again_where_others_lie_beside_them() -> None:
    segmenter = Watching()
    remembering = CachingSegmenter(segmenter)
    image, beside = np.ones((1, 5, 6), dtype=np.float32), np.zeros((1, 3, 5, 6), dtype=np.float32)
    for shown in (beside, beside.copy(), beside + 1, None, None):
        remembering.embed(image.copy(), shown)
    assert len(segmenter.shown) == 3
