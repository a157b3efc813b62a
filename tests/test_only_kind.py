"""Purified samples: hollow shells that touch on all sides, and nothing else."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from cryosam import Config, PointPrompts, Tomogram
from cryosam.arrays import Points
from cryosam.evaluation.scores import score_detections
from cryosam.kind_sources import ClickedKind
from cryosam.only_kind import find_only_kind
from cryosam.proposals import propose
from cryosam.scene import RunOptions, Scene
from scenes import SHELL_DIAMETER, touching_shells


def _find(tomogram: Tomogram, click: Float[np.ndarray, " 3"], config: Config) -> Points | None:
    kind = ClickedKind(PointPrompts(click[None]))
    scene = Scene.open(tomogram, click[None], config, RunOptions())
    seed, instances = kind.seed(scene)
    seed = replace(seed, is_used=np.ones(1, dtype=bool))
    found = find_only_kind(scene, kind, seed, instances, propose(scene, instances, seed, kind.query(scene, seed)))
    return None if found is None else found.points[found.is_accepted]


def test_touching_hollow_shells_are_all_found_from_the_light_middle_of_one() -> None:
    tomogram, truth = touching_shells()
    config = Config().override(tomogram__contrast="dark", diameter_voxels=SHELL_DIAMETER)
    found = _find(tomogram, truth[len(truth) // 2], config)
    assert found is not None
    scores = score_detections(found, truth, SHELL_DIAMETER / 4)
    assert scores.recall >= 0.9
    assert scores.precision >= 0.9


def test_a_click_in_noise_finds_nothing() -> None:
    random = np.random.default_rng(1)
    tomogram = Tomogram(gaussian_filter(random.normal(size=(44, 110, 110)), 0.8).astype(np.float32))
    config = Config().override(tomogram__contrast="dark", diameter_voxels=SHELL_DIAMETER)
    assert _find(tomogram, np.array([22.0, 55.0, 55.0]), config) is None


def test_the_setting_switches_it_off() -> None:
    tomogram, truth = touching_shells()
    config = Config().override(
        tomogram__contrast="dark", diameter_voxels=SHELL_DIAMETER, classification__only_kind=None
    )
    assert _find(tomogram, truth[0], config) is None
