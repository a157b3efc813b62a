"""What a run says of its decision, and which threshold it takes."""

import numpy as np
import pytest

from cryosam.classification.decision import warn_of_doubts, with_threshold
from cryosam.config import Config
from cryosam.scene import Scene
from cryosam.tomogram import Tomogram
from stand_ins import candidates

TOMOGRAM = Tomogram(np.random.default_rng(0).normal(size=(20, 30, 50)).astype(np.float32))
POINTS = [(10.0, 10, 10), (10, 10, 25), (10, 10, 40)]


def scene(separation: float = 9.0, **settings: object) -> Scene:
    """A scene in which a kind stands that far apart."""
    found = Scene.open(TOMOGRAM, np.zeros((0, 3)), Config().override(**settings))
    found.record.note(separation=separation, most_typical=(10.0, 10.0, 25.0), click_probability=0.9)
    return found


def codes(found: Scene) -> list[str]:
    return [warning.code for warning in found.record.report.warnings]


def test_nothing_is_sure_enough_for_a_limit_that_the_best_does_not_keep() -> None:
    """One in ten of the best is expected to be false, one in twenty may be."""
    limited, found = scene(matching__max_false_discovery=0.05), candidates(POINTS, [0.9, 0.8, 0.1])
    warn_of_doubts(limited, found, np.zeros((0, 3)), "look")
    (warning,) = limited.record.report.warnings
    assert warning.code == "none_sure_enough"
    assert (
        "none of 2 detections is probable enough for a share of 0.05 false ones: the best has probability 0.90"
        in str(warning)
    )
    assert not with_threshold(limited, found).is_accepted.any()


def test_a_limit_that_the_best_keeps_is_no_news() -> None:
    limited, found = scene(matching__max_false_discovery=0.16), candidates(POINTS, [0.9, 0.8, 0.1])
    warn_of_doubts(limited, found, np.zeros((0, 3)), "look")
    assert codes(limited) == []
    assert with_threshold(limited, found).is_accepted.tolist() == [True, True, False]


@pytest.mark.parametrize(("separation", "expected"), [(3.7, ["hardly_apart"]), (3.9, [])])
def test_a_kind_that_hardly_stands_apart_is_told_with_advice(separation: float, expected: list[str]) -> None:
    told = scene(separation)
    warn_of_doubts(told, candidates(POINTS, [0.9, 0.8, 0.1]), np.zeros((0, 3)), "click elsewhere")
    assert codes(told) == expected
    assert all(str(warning).endswith("click elsewhere") for warning in told.record.report.warnings)


def test_clicks_that_are_no_candidate_or_unlike_the_others_are_named() -> None:
    told, clicks = scene(), np.array([[10.0, 10, 11], [10, 10, 39], [3, 3, 3]])
    warn_of_doubts(told, candidates(POINTS, [0.9, 0.8, 0.1]), clicks, "look")
    assert [(each.code, each.point) for each in told.record.report.warnings] == [
        ("click_not_compared", (3.0, 3.0, 3.0)),
        ("click_unlike_average", (10.0, 10.0, 39.0)),
    ]


def test_where_no_click_is_like_the_average_a_better_one_is_told() -> None:
    told = scene()
    told.record.note(click_probability=0.2)
    warn_of_doubts(told, candidates(POINTS, [0.9, 0.8, 0.1]), np.array([[10.0, 10, 40]]), "look")
    (warning,) = told.record.report.warnings
    assert warning.code == "no_click_like_average"
    assert "a better click may be 10,10,25" in str(warning)


def test_a_threshold_that_was_asked_for_wins() -> None:
    asked = scene(matching__threshold=0.85)
    assert with_threshold(asked, candidates(POINTS, [0.9, 0.8, 0.1])).threshold == 0.85
