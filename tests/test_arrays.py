"""The shape checks that every other test relies on are switched on."""

import jaxtyping
import numpy as np
import pytest

from cryosam.geometry import slice_to_volume, volume_to_slice


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((4, 2)),  # no column x
        np.zeros(3),  # one point, not an array of points
        np.zeros((4, 3), dtype=int),  # no fractions
    ],
)
def test_a_wrong_array_is_refused(points: np.ndarray) -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="points"):
        volume_to_slice(points, "z")


def test_axes_of_the_same_name_must_agree() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="rows_cols"):
        slice_to_volume(np.zeros(4), np.zeros((5, 2)), "z")


@pytest.mark.usefixtures("unchecked")
def test_in_use_there_are_no_checks() -> None:
    assert volume_to_slice(np.zeros((4, 3), dtype=int), "z")[1].shape == (4, 2)
