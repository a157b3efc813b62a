"""The size of touching shells, where masks cannot tell it."""

import numpy as np
import pytest

from cryosam import Config, PointPrompts, segment
from cryosam.evaluation.scores import score_detections
from cryosam.likely_diameter import likely_diameter
from cryosam.missing_wedge import MissingWedge
from cryosam.tomogram import Tomogram
from scenes import SHELL_DIAMETER, touching_shells


@pytest.mark.parametrize("offset", [(0, 0, 0), (1, 0, -1)])
def test_the_size_of_touching_shells_is_told_by_the_others(offset: tuple[int, int, int]) -> None:
    tomogram, centres = touching_shells()
    bright = Tomogram(-tomogram.data)
    found = likely_diameter(bright, centres[30:31] + np.array(offset), MissingWedge(tilt_range=(-90, 90)))
    assert found is not None
    assert SHELL_DIAMETER / 1.2 < found < SHELL_DIAMETER * 1.2


def test_a_click_in_noise_finds_hardly_anything() -> None:
    noise = Tomogram(np.random.default_rng(3).normal(size=(44, 90, 90)).astype(np.float32))
    found = segment(noise, PointPrompts(np.array([[22.0, 45, 45]])), Config().override(tomogram__contrast="dark"))
    assert len(found.points) <= 3


def test_without_a_diameter_all_shells_are_found_from_the_light_middle_of_one() -> None:
    tomogram, centres = touching_shells()
    found = segment(tomogram, PointPrompts(centres[30:31]), Config().override(tomogram__contrast="dark"))
    scores = score_detections(found.points, centres, SHELL_DIAMETER / 4)
    assert scores.recall >= 0.9
    assert scores.precision >= 0.9
