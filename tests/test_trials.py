"""How much an answer depends on the click: the comparison of answers, with a search whose answers are known."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from cryosam import trials
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.results import Segmentation
from cryosam.run_report import RunReport
from cryosam.scene import RunOptions, Scene
from cryosam.segmentation import segment, segment_kinds
from cryosam.tomogram import Tomogram
from scenes import BALLS, SHELLS, click, phantom

PLACES = np.array([[10.0, 10, 10 * (i + 1)] for i in range(8)])
TOMOGRAM = Tomogram(np.random.default_rng(0).normal(size=(20, 20, 90)).astype(np.float32))
NONE = np.zeros((0, 3))


@dataclass
class Answer:
    points: np.ndarray
    scores: np.ndarray
    threshold: float = 0.5

    @property
    def is_accepted(self) -> np.ndarray:
        return self.scores >= self.threshold


def assess(monkeypatch: pytest.MonkeyPatch, answers: dict[int, list[int]], n_trials: int = 6, rivals=NONE):
    """Trust in a click on place 0, where a click on place i finds the places ``answers[i]``, and their centres vary."""
    random = np.random.default_rng(0)

    def find_kind(scene, kind):
        place = int(np.linalg.norm(PLACES - kind.clicks[0], axis=1).argmin())
        points = PLACES[[*answers[place], 7]] + random.uniform(-1, 1, (len(answers[place]) + 1, 3))
        return SimpleNamespace(candidates=Answer(points, np.array([0.9] * len(answers[place]) + [0.1])))

    monkeypatch.setattr(trials, "find_kind", find_kind)

    first = PLACES[answers[0]]
    mask = InstanceMask((7, 7, 7), np.ones((7, 7, 7), dtype=bool))
    found = Segmentation(
        (20, 20, 90),
        first,
        np.linspace(0.9, 0.8, len(first)),
        (mask,) * len(first),
        candidate_points=first,
        candidate_scores=np.linspace(0.9, 0.8, len(first)),
        prompt_masks=(mask,),
        report=RunReport(diameter=8.0),
    )
    scene = Scene.open(TOMOGRAM, PLACES[:1], options=RunOptions(n_trials=n_trials))
    return trials.assess(scene, PointPrompts(PLACES[:1] + 1), found, rivals)


def test_answers_that_agree(monkeypatch):
    found = assess(monkeypatch, {i: [0, 1, 2, 3] for i in range(4)})
    assert found.is_on_clicked.tolist() == [True] * 4 + [False] * 3
    np.testing.assert_array_equal(found.clicks[0], PLACES[0] + 1)
    assert np.linalg.norm(found.clicks[1:4] - PLACES[0], axis=1).max() <= 2  # a quarter of the diameter
    np.testing.assert_array_equal(found.clicks[4:], PLACES[1:4])  # the best that were not clicked
    assert found.agreement.tolist() == [1] * 7
    assert found.found_again.tolist() == [1] * 4
    assert len(found.missed) == 0
    assert found.better_click is None


def test_a_better_click_and_what_was_missed(monkeypatch):
    found = assess(monkeypatch, {0: [0, 1, 2], 1: [1, 2, 3, 4], 2: [1, 2, 3, 4, 5]}, n_trials=3)
    assert found.n_found.tolist() == [3, 3, 4, 5]  # two of three trials lie on other particles, of which two are left
    of_user, of_1, of_2 = [1, 4 / 7, 1 / 2], [4 / 7, 8 / 9], [1 / 2, 8 / 9]  # F1 with each other particle's answers
    np.testing.assert_allclose(found.agreement, [np.mean(each) for each in (of_user, of_user, of_1, of_2)])
    np.testing.assert_allclose(found.found_again, [1 / 3, 1, 1])
    np.testing.assert_allclose(found.missed, PLACES[[3, 4]], atol=1)
    assert found.better_click is None  # 0.73 is hardly more than 0.69


def test_the_click_that_others_support_is_the_better_one(monkeypatch):
    most = [0, 1, 2, 3, 4, 5]
    found = assess(monkeypatch, {0: [0, 1, 2, 6], 1: most, 2: most, 6: most}, n_trials=5)
    assert found.finds_clicked.all()
    np.testing.assert_array_equal(found.better_click, PLACES[1])


def test_a_click_that_does_not_find_the_clicked_particle_is_no_better_one(monkeypatch):
    others = [1, 2, 3, 4, 5]
    found = assess(monkeypatch, {0: [0, 1, 2, 6], 1: others, 2: others, 6: others}, n_trials=5)
    assert found.agreement.argmax() >= 3
    assert found.finds_clicked.tolist() == [True] * 3 + [False] * 3
    assert found.better_click is None


def test_what_belongs_to_another_kind_does_not_count(monkeypatch):
    found = assess(monkeypatch, {0: [0, 1], 1: [0, 1, 2, 3]}, n_trials=2, rivals=PLACES[[2, 3]])
    assert found.agreement.tolist() == [1] * 3


def test_segment_tells_it_when_asked() -> None:
    told: list[int] = []
    plain = segment(phantom(), click(BALLS[0]), options=RunOptions(so_far=lambda _, points: told.append(len(points))))
    with_trials: list[int] = []
    options = RunOptions(n_trials=2, so_far=lambda _, points: with_trials.append(len(points)))
    found = segment(phantom(), click(BALLS[0]), options=options)
    assert with_trials == told  # of the user's click alone, not of the trials
    assert plain.trust is None
    np.testing.assert_array_equal(found.points, plain.points)
    assert found.trust is not None
    assert found.trust.agreement.tolist() == [1] * 3
    assert found.provenance["seconds_trials"] > 0


def test_each_of_several_kinds_is_tried() -> None:
    kinds = [PointPrompts(BALLS[:1], name="ball"), PointPrompts(SHELLS[:1], name="shell")]
    found = segment_kinds(phantom(), kinds, options=RunOptions(n_trials=2))
    assert [len(part.trust.clicks) for part in found.kinds if part.trust is not None] == [3, 3]
    assert found.trust is None


def test_a_click_on_nothing_can_be_tried_too() -> None:
    found = segment(phantom(), click([5, 55, 40]), options=RunOptions(n_trials=2))
    assert len(found.points) == 0
    assert found.trust is not None
    assert found.trust.found_again.shape == (0,)
