"""What lies under a click: neighbours are cut off where the click or the other particles tell, filaments stay whole."""

import numpy as np
import pytest

from cryosam.backends.classical import ClassicalSegmenter
from cryosam.backends.invariants import Invariants
from cryosam.config import MatchingConfig, PropagationConfig
from cryosam.instances.instance_segmenter import InstanceSegmenter
from cryosam.instances.prompted import first_look, second_look
from cryosam.instances.smoothing import Smoothed
from cryosam.instances.visibility import visibility
from cryosam.masks import InstanceMask
from cryosam.matching.features.dense import extract_dense
from cryosam.matching.support import support_from
from cryosam.memory import Workspace
from cryosam.tomogram import Tomogram

SHAPE = (48, 72, 90)
BALLS = [(24, 20, 20), (24, 20, 62), (20, 52, 18), (28, 54, 50), (22, 50, 76)]


def scene(*parts, seed: int = 0) -> Tomogram:
    """Solid parts, each a function of z, y, x to bool, softened, in faint noise."""
    grid = np.mgrid[tuple(slice(0, n) for n in SHAPE)]
    volume = np.random.default_rng(seed).normal(0.1, 0.02, SHAPE)
    volume[np.any([part(*grid) for part in parts], axis=0)] += 0.7
    return Tomogram(np.clip(volume, 0, 1).astype(np.float32))


def ball(centre, radius=6.0):
    return lambda z, y, x: (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2


def bar(z, y, x):
    """Along the whole of x."""
    return (np.abs(z - 24) <= 3) & (np.abs(y - 36) <= 3)


def looks(tomogram, point, support=None):
    points, segmenter, settings = (
        np.array([point], dtype=float),
        ClassicalSegmenter(),
        PropagationConfig(window_voxels=256, smoothing=1.6),
    )
    first, instances = first_look(tomogram, points, segmenter, settings, None, Workspace())
    return first, second_look(first, instances, points, support)


def test_a_lone_particle_keeps_its_mask() -> None:
    first, second = looks(scene(*map(ball, BALLS)), BALLS[0])
    assert second.is_trusted == (True,)
    assert second.masks[0].iou(first.masks[0]) > 0.7
    assert abs(second.diameter - 12) < 2


def test_particles_like_it_tell_where_a_mask_that_holds_a_neighbour_ends() -> None:
    z, y, x = np.mgrid[tuple(slice(0, n) for n in SHAPE)]
    neighbour, click = (24, 20, 34), (24, 20, 25)  # between the two, so that the click alone does not tell
    squares = [(z - c[0]) ** 2 + (y - c[1]) ** 2 + (x - c[2]) ** 2 for c in (*BALLS, neighbour)]
    noise = np.random.default_rng(0).normal(0.1, 0.02, SHAPE)
    tomogram = Tomogram((noise + 0.7 * np.exp(-np.min(squares, axis=0) / 32)).clip(0, 1).astype(np.float32))
    first, alone = looks(tomogram, click)
    field = extract_dense(tomogram, Invariants(), 2, Workspace())
    seen = Smoothed(tomogram, first.smoothing, Workspace())
    instances = InstanceSegmenter(seen, ClassicalSegmenter(), PropagationConfig(window_voxels=256, smoothing=1.6))
    support = support_from(field, instances, MatchingConfig(volume_tolerance=0.4))
    point, lone = np.array(click, dtype=float), InstanceMask.crop(squares[0] <= 36)
    assert support(point, lone) > 0.6 > support(point, first.masks[0])
    _, second = looks(tomogram, click, support)
    assert first.masks[0].n_voxels > 1800
    assert alone.masks[0].n_voxels > 1800
    assert 600 < second.masks[0].n_voxels < 1300


def test_an_untrusted_mask_does_not_stand_in_for_the_click() -> None:
    _, second = looks(scene(*map(ball, BALLS)), BALLS[0], support=lambda point, mask: 0.1)
    assert second.is_trusted == (False,)
    assert second.masks[0].n_voxels > 0
    assert second.trusted_masks[0].n_voxels == 0


def test_a_filament_is_not_bounded() -> None:
    tomogram = scene(bar)
    _, second = looks(tomogram, (24, 36, 30), support=lambda point, mask: pytest.fail("a filament needs no support"))
    assert second.is_trusted == (True,)
    assert second.masks[0].data.shape[2] > 75


def test_visibility_tells_particles_from_background() -> None:
    tomogram = scene(*map(ball, BALLS))
    assert visibility(tomogram, np.array([24.0, 20, 20]), 12.0) > 10
    assert visibility(tomogram, np.array([40.0, 36, 40]), 12.0) < 2.2
