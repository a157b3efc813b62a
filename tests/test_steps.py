"""One progress of a search from the reports of its stages."""

import pytest

from cryosam import steps as steps_module
from cryosam.steps import MASKS, SEARCH, Steps

STAGES = [  # of a search with an average, as it reports them
    *(("describing", i, 4) for i in range(5)),
    ("matching", 1, 1),
    *(("segmenting", i, 65) for i in range(0, 66, 5)),
    *(("averaging", i, 3) for i in range(4)),
    ("matching", 1, 1),
    *(("segmenting", i, 20) for i in range(0, 21, 5)),
    *(("averaging", i, 3) for i in range(4)),
    *(("refining", i, 88) for i in range(0, 89, 8)),
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(steps_module.time, "monotonic", lambda: now[0])
    return now


def test_the_share_never_falls_and_reaches_the_end() -> None:
    steps = Steps(SEARCH)
    seen = [steps.update(*stage) for stage in STAGES]
    shares = [each.share for each in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert list(dict.fromkeys(each.step for each in seen)) == [
        "describing the tomogram",
        "finding similar places",
        "segmenting them",
        "averaging",
        "searching again",
        "refining",
    ]
    assert [each.number for each in (seen[0], seen[-1])] == [2, 7]


def test_a_click_that_is_segmented_first_belongs_to_the_first_step() -> None:
    steps = Steps(SEARCH)
    assert steps.now.step == "looking at the click"
    assert steps.update("segmenting", 1, 1).step == "looking at the click"
    assert steps.update("features", 0, 9).step == "describing the tomogram"


def test_several_kinds_share_the_bar() -> None:
    """The particles of all kinds are refined at the end."""
    steps, first = Steps(SEARCH, 2), [stage for stage in STAGES if stage[0] != "refining"]
    assert max(steps.update(*stage).share for stage in first) < 0.5
    for stage in first[5:]:  # the tomogram is described already
        last = steps.update(*stage)
    assert 0.5 < last.share < 1
    for _ in range(2):
        for stage in STAGES[-12:]:
            last = steps.update(*stage)
    assert last.share == pytest.approx(1)


def test_the_time_left_follows_from_the_share(clock: list[float]) -> None:
    steps = Steps(MASKS)
    clock[0] = 1.0
    assert steps.update("segmenting", 5, 10).seconds_left is None  # too early
    clock[0] = 4.0
    assert steps.update("segmenting", 5, 10).seconds_left == pytest.approx(4)
    clock[0] = 6.0
    assert steps.update("segmenting", 8, 10).seconds_left == pytest.approx(1.5)


def test_what_is_not_in_the_plan_changes_nothing() -> None:
    steps = Steps(MASKS)
    before = steps.update("segmenting", 3, 10)
    assert steps.update("writing", 1, 2).share == before.share
