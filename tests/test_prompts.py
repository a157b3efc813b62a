"""Points that the user gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryosam.errors import PromptError
from cryosam.prompts import PointPrompts

SHAPE = (5, 7, 9)


def test_all_points_are_positive_unless_said_otherwise() -> None:
    prompts = PointPrompts(np.array([[1, 2, 3], [4, 5, 6]]))
    np.testing.assert_array_equal(prompts.positive, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert prompts.positive.dtype == np.float64
    assert prompts.negative.shape == (0, 3)


@given(st.lists(st.booleans(), min_size=1, max_size=8).filter(any))
def test_labels_split_the_points_and_keep_their_order(labels: list[bool]) -> None:
    points = np.arange(3.0 * len(labels)).reshape(-1, 3)
    prompts = PointPrompts(points, np.array(labels))
    np.testing.assert_array_equal(prompts.positive, points[[i for i, positive in enumerate(labels) if positive]])
    np.testing.assert_array_equal(prompts.negative, points[[i for i, positive in enumerate(labels) if not positive]])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "points", [[[1.0, 2.0]], [1.0, 2.0, 3.0], [[np.nan, 2.0, 3.0]], [[1.0, np.inf, 3.0]], [[1.0, 2.0, 3.0, 4.0]]]
)
def test_a_point_is_three_finite_numbers(points: list[object]) -> None:
    with pytest.raises(PromptError, match="three finite numbers z,y,x, got"):
        PointPrompts(np.array(points))


@pytest.mark.usefixtures("unchecked")
def test_one_label_a_point() -> None:
    with pytest.raises(PromptError, match="1 points but 2 labels"):
        PointPrompts(np.array([[1.0, 2.0, 3.0]]), np.array([True, False]))


@pytest.mark.parametrize("n", [0, 2])
def test_one_point_must_be_positive(n: int) -> None:
    with pytest.raises(PromptError, match="at least one positive point"):
        PointPrompts(np.zeros((n, 3)), np.zeros(n, dtype=bool))


@given(hnp.arrays(np.float64, (1, 3), elements=st.floats(-3, 12)))
def test_valid_points_lie_between_the_first_and_the_last_voxel_centre(point: np.ndarray) -> None:
    prompts = PointPrompts(point)
    if all(0 <= c <= n - 1 for c, n in zip(point[0], SHAPE, strict=True)):
        prompts.validate(SHAPE)
    else:
        with pytest.raises(PromptError, match="outside the tomogram"):
            prompts.validate(SHAPE)


def test_the_first_point_outside_is_named_with_the_valid_range() -> None:
    prompts = PointPrompts(np.array([[4.0, 6.0, 8.0], [4.5, 0.0, 0.0]]), np.array([True, False]))
    with pytest.raises(PromptError, match=r"point 4\.5,0,0 lies outside .* from 0,0,0 to 4,6,8 "):
        prompts.validate(SHAPE)
