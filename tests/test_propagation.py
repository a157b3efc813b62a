"""Self-prompting in six directions: masks of known objects, axis symmetry, fusion by the definition."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from cryosam.backends import MaskCandidates
from cryosam.backends.classical import ClassicalSegmenter
from cryosam.config import PropagationConfig
from cryosam.geometry import Window
from cryosam.instances import instance_segmenter, propagation, slices
from cryosam.instances.fusion import fuse
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.propagation import _rewindow, follow, propagate
from cryosam.tomogram import Tomogram


def ellipsoid(shape, centre, radii):
    grid = np.stack(np.meshgrid(*[np.arange(n, dtype=float) for n in shape], indexing="ij"), axis=-1)
    return (((grid - np.array(centre)) / np.array(radii)) ** 2).sum(axis=-1) <= 1


def tomogram_of(mask, noise=0.02):
    values = mask.astype(np.float32) + np.random.default_rng(0).normal(0, noise, mask.shape).astype(np.float32)
    return Tomogram(values)


def full(instance, shape):
    mask = np.zeros(shape, dtype=bool)
    mask[instance.box] = instance.data
    return mask


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


SHAPE = (29, 33, 41)
CENTRE = (13.0, 15.0, 20.0)


@pytest.mark.parametrize("fusion", ["union", "majority", "intersection", "soft"])
@pytest.mark.parametrize("diameter", [None, 12.0])
def test_an_ellipsoid_is_recovered(fusion, diameter) -> None:
    truth = ellipsoid(SHAPE, CENTRE, (5, 6, 7))
    config = PropagationConfig(fusion=fusion)
    (found,) = propagate(tomogram_of(truth), np.array([[14.0, 13.0, 21.0]]), ClassicalSegmenter(), config, diameter)
    assert dice(full(found, SHAPE), truth) > 0.97


def test_what_was_segmented_is_not_segmented_again(monkeypatch) -> None:
    centres = np.array([[8.0, 9.0, 10.0], [20.0, 22.0, 30.0], [9.0, 23.0, 29.0]])
    tomogram = tomogram_of(np.logical_or.reduce([ellipsoid(SHAPE, centre, (4, 4, 4)) for centre in centres]))
    instances, n_asked = InstanceSegmenter(tomogram, ClassicalSegmenter(), PropagationConfig()), []

    def counted(voxels, points, *rest):
        n_asked.append(len(points))
        return propagate(voxels, points, *rest)

    monkeypatch.setattr(instance_segmenter, "propagate", counted)
    (second,) = instances.under(centres[1:2], 8.0)
    all_three = instances.under(centres + 0.2, 8.0)
    again = instances.under(centres[::-1], 8.0)
    assert all_three[1] is second
    assert again == all_three[::-1]
    assert [mask.centroid.round().tolist() for mask in all_three] == centres.tolist()
    instances.under(centres[:1], 7.0)
    instances.under(centres[:1] + 0.6, 8.0)
    assert instances.under(np.zeros((0, 3)), 8.0) == ()
    assert n_asked == [1, 2, 0, 1, 1, 0]


def test_each_point_has_its_own_instance_in_order() -> None:
    centres = np.array([[8.0, 9.0, 10.0], [20.0, 22.0, 30.0], [9.0, 23.0, 29.0]])
    truths = [ellipsoid(SHAPE, centre, (4, 4, 4)) for centre in centres]
    tomogram = tomogram_of(np.logical_or.reduce(truths))
    config = PropagationConfig()
    found = propagate(tomogram, centres, ClassicalSegmenter(), config, 8.0)
    for instance, truth in zip(found, truths, strict=True):
        assert dice(full(instance, SHAPE), truth) > 0.97
    alone = [propagate(tomogram, centre[None], ClassicalSegmenter(), config, 8.0)[0] for centre in centres]
    for together, single in zip(found, alone, strict=True):
        np.testing.assert_array_equal(full(together, SHAPE), full(single, SHAPE))


class Counting(ClassicalSegmenter):
    """Counts how often each slice is embedded."""

    def __init__(self):
        self.seen = Counter()

    def embed(self, images, beside=None):
        self.seen.update(image.tobytes() for image in images)
        return super().embed(images, beside)


class Numbering(ClassicalSegmenter):
    """Remembers which of its answers was taken in the slice before."""

    def __init__(self):
        self.n_answers, self.told = 0, []

    def segment(self, embedding, prompts):
        answer = super().segment(embedding, prompts)
        self.told += [] if prompts.memory is None else prompts.memory[:, 0].tolist()
        numbers = self.n_answers + np.arange(answer.scores.size, dtype=np.float32).reshape(*answer.scores.shape, 1)
        self.n_answers += answer.scores.size
        best = np.take_along_axis(numbers[..., 0], answer.scores.argmax(axis=1)[:, None], axis=1)
        self.best = [*getattr(self, "best", []), *best[:, 0].tolist()]
        return MaskCandidates(answer.logits, answer.scores, numbers)


@pytest.mark.parametrize("window", [0.0, 3.0])
def test_each_walk_is_reminded_of_its_own_last_answer(window) -> None:
    truth = ellipsoid(SHAPE, CENTRE, (5, 6, 7))
    segmenter = Numbering()
    config = PropagationConfig(window_diameters=window)
    propagate(tomogram_of(truth), np.array([CENTRE]), segmenter, config, 12.0)
    assert len(segmenter.told) > 30
    assert set(segmenter.told) <= set(segmenter.best)
    n_taken = Counter(segmenter.told)
    assert sorted(n_taken.values())[-3:] == [2, 2, 2]  # both walks from a first slice, in each of the three planes
    assert set(sorted(n_taken.values())[:-3]) == {1}


@pytest.mark.parametrize("fusion", ["union", "majority", "intersection"])
@pytest.mark.parametrize("diameter", [None, 12.0])
def test_sweeps_through_whole_slices_are_the_walks_of_each_point(fusion, diameter, monkeypatch) -> None:
    centres = np.array([[8.0, 9.0, 10.0], [20.0, 22.0, 30.0], [9.0, 23.0, 29.0], [9.0, 9.0, 11.0], [25.0, 2.0, 3.0]])
    tomogram = tomogram_of(np.logical_or.reduce([ellipsoid(SHAPE, centre, (4, 5, 6)) for centre in centres]), 0.1)
    config = PropagationConfig(window_diameters=0, fusion=fusion)
    expected = []
    for centre in centres:
        walks = propagation._walk_all(tomogram, centre[None], ClassicalSegmenter(), config, diameter)
        expected.append(full(fuse(propagation._by_plane(walks), centre, fusion), SHAPE))
    segmenter = Counting()
    found = propagate(tomogram, centres, segmenter, config, diameter)
    assert max(segmenter.seen.values()) == 2  # one sweep in each direction
    monkeypatch.setattr(propagation, "_LARGEST_WINDOW", 8)  # keeps the objects' parts of the slices
    cropped = propagate(tomogram, centres, ClassicalSegmenter(), config, diameter)
    monkeypatch.setattr(propagation, "_HELD_VOXELS", 2 * SHAPE[1] * SHAPE[2])  # two points at a time
    monkeypatch.setattr(slices, "_BATCH_PX", 1)
    in_parts = propagate(tomogram, centres, ClassicalSegmenter(), config, diameter)
    for truth, *others in zip(expected, found, cropped, in_parts, strict=True):
        assert truth.any()
        for other in others:
            np.testing.assert_array_equal(full(other, SHAPE), truth)


def test_what_is_kept_of_whole_slices_does_not_grow_with_them() -> None:
    kept = []
    for shape in ((29, 300, 320), (29, 600, 640)):
        tomogram = tomogram_of(ellipsoid(shape, CENTRE, (4, 5, 6)))
        config = PropagationConfig(window_diameters=0)
        walks = propagation._sweep(tomogram, np.array([CENTRE]), ClassicalSegmenter(), config, None)
        kept.append(sum(answer.logits.size for walk in walks for answer in [*walk.answers, walk.last]))
    assert kept[0] == kept[1] < 100_000


class Plain:
    """Sees images as they are, and nothing beside them."""

    def beside(self, height, width):
        return ()

    def embed(self, images, beside=None):
        return images


class Pieces(Plain):
    """Answers with the connected bright piece under a point: quick."""

    digest = "pieces"

    def segment(self, embedding, prompts):
        logits = np.full((len(prompts.points), 1, *embedding.shape[1:]), -1, dtype=np.float32)
        for i, (which, point) in enumerate(zip(prompts.image_index, prompts.points[:, 0], strict=True)):
            pieces, _ = ndimage.label(embedding[which] > 0.5)
            here = pieces[tuple(np.round(point).astype(int))]
            logits[i, 0][(pieces == here) & (here > 0)] = 1
        return MaskCandidates(logits, np.full((len(logits), 1), 0.9, dtype=np.float32))


@pytest.mark.parametrize("window", [0, 3.0])
def test_memory_grows_with_the_particles_volume_not_with_the_tomograms(window, monkeypatch) -> None:
    """A volume a detection would take 0.4 MB each here."""
    shape = (30, 120, 110)
    grids = np.meshgrid(*(np.arange(12.0, n - 9, 24) for n in shape), indexing="ij")
    centres = np.stack(grids, axis=-1).reshape(-1, 3)
    tomogram = tomogram_of(np.logical_or.reduce([ellipsoid(shape, centre, (4, 4, 4)) for centre in centres]))
    peaks = []
    monkeypatch.setattr(slices, "_BATCH_PX", 1)
    monkeypatch.setattr(propagation, "_HELD_VOXELS", 1)
    for n in (4, len(centres)):
        tracemalloc.start()
        found = propagate(tomogram, centres[:n], Pieces(), PropagationConfig(window_diameters=window), 8.0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(found) == n
        assert all(mask.n_voxels > 100 for mask in found)
    n_more = len(centres) - 4
    assert n_more > 12
    assert peaks[1] - peaks[0] < 0.2 * n_more * np.prod(shape)


def test_permuting_the_volumes_axes_permutes_the_mask() -> None:
    truth = ellipsoid(SHAPE, CENTRE, (4, 6, 8))
    tomogram = tomogram_of(truth)
    config = PropagationConfig()
    point = np.array([[13.0, 15.0, 20.0]])
    (found,) = propagate(tomogram, point, ClassicalSegmenter(), config, 12.0)
    order = (2, 0, 1)
    turned = Tomogram(np.ascontiguousarray(tomogram.data.transpose(order)))
    (other,) = propagate(turned, point[:, list(order)], ClassicalSegmenter(), config, 12.0)
    np.testing.assert_array_equal(full(other, turned.shape), full(found, SHAPE).transpose(order))


def test_a_tilted_filament_is_followed_beyond_its_first_window() -> None:
    shape = (21, 90, 60)
    z, y, x = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    truth = (z - 10) ** 2 + (x - (10 + 0.45 * y)) ** 2 <= 9
    config = PropagationConfig(window_voxels=24)
    (found,) = propagate(tomogram_of(truth), np.array([[10.0, 45.0, 30.0]]), ClassicalSegmenter(), config)
    covered = full(found, shape).any(axis=(0, 2))
    assert covered[2:-2].all()
    assert dice(full(found, shape), truth) > 0.9


def test_background_gives_an_empty_mask() -> None:
    tomogram = tomogram_of(ellipsoid(SHAPE, CENTRE, (4, 4, 4)), noise=0.05)
    (found,) = propagate(tomogram, np.array([[3.0, 3.0, 3.0]]), ClassicalSegmenter(), PropagationConfig())
    assert found.n_voxels < 10


def test_area_limit_refuses_a_leak() -> None:
    slab = np.zeros(SHAPE, dtype=bool)
    slab[10:16] = True  # in plane z it fills the whole slice
    config = PropagationConfig(fusion="union", max_area=20)
    (found,) = propagate(tomogram_of(slab), np.array([[13.0, 15.0, 20.0]]), ClassicalSegmenter(), config)
    assert found.n_voxels < 10  # a speck of noise at most


def test_at_the_faces_of_the_tomogram() -> None:
    truth = ellipsoid(SHAPE, (0, 0, 40), (6, 6, 6))
    (found,) = propagate(
        tomogram_of(truth), np.array([[0.0, 0.0, 40.0]]), ClassicalSegmenter(), PropagationConfig(), 12.0
    )
    assert dice(full(found, SHAPE), truth) > 0.95


class RecordingSegmenter(Plain):
    """Answers a disc of fixed radius at the prompt, and remembers what it was asked."""

    digest = "recording"

    def __init__(self) -> None:
        self.asked = []

    def segment(self, embedding, prompts):
        n, (height, width) = len(prompts.image_index), embedding.shape[1:]
        rows, cols = np.mgrid[:height, :width]
        logits = np.empty((n, 3, height, width), dtype=np.float32)
        for i in range(n):
            row, col = prompts.points[i, 0]
            self.asked.append((embedding[prompts.image_index[i]], row, col, prompts.logits is not None))
            for k in range(3):
                logits[i, k] = (3 + k) - np.hypot(rows - row, cols - col)
        return MaskCandidates(logits, np.tile(np.array([0.6, 0.9, 0.7], dtype=np.float32), (n, 1)))


def test_first_prompts_are_the_point_and_later_ones_the_last_answer() -> None:
    values = np.arange(np.prod((9, 11, 13)), dtype=np.float32).reshape(9, 11, 13)
    segmenter = RecordingSegmenter()
    config = PropagationConfig(window_diameters=0)
    propagate(Tomogram(values), np.array([[4.0, 5.0, 6.0]]), segmenter, config)
    first = [asked for asked in segmenter.asked if not asked[3]]
    for (image, row, col, has_mask), expected in zip(
        first, [(values[4], 5, 6), (values[:, 5], 4, 6), (values[:, :, 6], 4, 5)], strict=True
    ):
        np.testing.assert_array_equal(image, expected[0])
        assert (row, col, has_mask) == (*expected[1:], False)
    assert len(first) == 3
    # every slice of every plane is visited once: this segmenter never stops
    assert len(segmenter.asked) == 9 + 11 + 13


def test_best_score_wins_among_the_admissible() -> None:
    values = np.zeros((9, 11, 13), dtype=np.float32)
    config = PropagationConfig(window_diameters=0, fusion="intersection")
    (found,) = propagate(Tomogram(values), np.array([[4.0, 5.0, 6.0]]), RecordingSegmenter(), config)
    disc = np.hypot(*np.meshgrid(np.arange(11) - 5, np.arange(13) - 6, indexing="ij")) < 4  # candidate 1
    np.testing.assert_array_equal(full(found, (9, 11, 13))[4], disc & (np.abs(np.arange(11) - 5) < 4)[:, None])


def test_a_moved_window_sees_the_same_logits_at_the_same_voxels() -> None:
    logits = np.arange(30, dtype=np.float32).reshape(5, 6)
    source, target = Window(10, 20, 5, 6), Window(12, 19, 5, 6)
    moved = _rewindow(logits, source, target)
    assert moved[0, 1] == logits[2, 0]
    assert moved[2, 5] == logits[4, 4]
    assert (moved[3:] == -20).all()
    assert (moved[:, 0] == -20).all()


class EverywhereSegmenter(Plain):
    """Sees the object in all of every window."""

    digest = "everywhere"

    def segment(self, embedding, prompts):
        n, (_, height, width) = len(prompts.image_index), embedding.shape
        return MaskCandidates(np.ones((n, 1, height, width), dtype=np.float32), np.ones((n, 1), dtype=np.float32))


def test_nothing_is_segmented_beyond_the_tomogram() -> None:
    shape = (9, 10, 11)
    points = np.array([[0.0, 9.0, 5.0]])
    (found,) = propagate(
        Tomogram(np.zeros(shape, dtype=np.float32)), points, EverywhereSegmenter(), PropagationConfig(window_voxels=16)
    )
    assert [(s.start, s.stop) for s in found.box] == [(0, 9), (0, 10), (0, 11)]


def test_a_walk_goes_no_farther_than_the_particle_may_reach() -> None:
    config = PropagationConfig(window_diameters=0.8, max_walk_diameters=0.5, max_area_diameters=10, fusion="union")
    (found,) = propagate(
        Tomogram(np.zeros((41, 41, 41), dtype=np.float32)), np.full((1, 3), 20.0), EverywhereSegmenter(), config, 20.0
    )
    assert [(s.start, s.stop) for s in found.box] == [(10, 31)] * 3


class PiecesSegmenter(Plain):
    """Sees what is bright within six pixels of the prompt, as one that never saw anything long."""

    digest = "pieces"

    def segment(self, embedding, prompts):
        rows, cols = np.indices(embedding.shape[1:])
        away = np.hypot(rows - prompts.points[:, 0, 0, None, None], cols - prompts.points[:, 0, 1, None, None])
        is_object = (away <= 6) & (embedding[prompts.image_index] > 0.5)
        logits = np.where(is_object, 7 - away, -5.0).astype(np.float32)[:, None]
        return MaskCandidates(logits, is_object.any(axis=(1, 2)).astype(np.float32)[:, None])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_filament_is_followed_where_slices_along_it_show_a_piece(axis) -> None:
    z, y, x = np.indices((60, 24, 24))
    along = np.abs(y - 8 - z / 10) + np.abs(x - 12) <= 3
    tomogram, point = Tomogram(np.moveaxis(along, 0, axis).astype(np.float32)), np.insert([10.0, 12.0], axis, 20.0)
    config = PropagationConfig(window_voxels=128)
    (piece,) = propagate(tomogram, point[None], PiecesSegmenter(), config)
    whole = follow(tomogram, point, PiecesSegmenter(), config, [64, 128])
    assert piece.n_voxels < 0.5 * along.sum()
    np.testing.assert_array_equal(full(whole, tomogram.shape), tomogram.data > 0)


@pytest.mark.parametrize(("length", "n_tried"), [(9, 1), (60, 2)])
def test_other_windows_are_tried_for_what_may_be_a_filament(monkeypatch, length, n_tried) -> None:
    z, y, x = np.indices((60, 24, 24))
    tomogram = Tomogram(((np.abs(z - 30) <= length / 2) & (np.hypot(y - 12, x - 12) <= 4)).astype(np.float32))
    tried = []
    walk_all = propagation._walk_all
    monkeypatch.setattr(propagation, "_walk_all", lambda *args: tried.append(args[3].window_voxels) or walk_all(*args))
    follow(tomogram, np.array([30.0, 12, 12]), PiecesSegmenter(), PropagationConfig(), [64, 128])
    assert tried == [64, 128][:n_tried]


def test_a_filament_is_followed_without_memory() -> None:
    segmenter = Numbering()
    follow(tomogram_of(ellipsoid(SHAPE, CENTRE, (5, 6, 7))), np.array(CENTRE), segmenter, PropagationConfig(), [24])
    assert segmenter.told == []
    assert segmenter.best
