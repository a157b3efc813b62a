"""Peaks of a map of similarities, against their definition."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cryosam.matching.peaks import find_peaks
from oracles import peaks_by_definition


@given(st.integers(0, 10_000), st.floats(0, 5))
def test_peaks_agree_with_the_definition(seed, min_distance) -> None:
    values = np.random.default_rng(seed).permutation(4 * 5 * 6).reshape(4, 5, 6).astype(np.float32) / 120
    values[values < 0.1] = np.nan
    points, scores = find_peaks(values, 2, 0.0, 0.3)
    expected = peaks_by_definition(values, 2, 0.0, 0.3)
    np.testing.assert_allclose(scores, [value for value, _ in expected])
    # refined by at most half a cell
    assert np.abs(points - np.array([p for _, p in expected]).reshape(-1, 3)).max(initial=0) <= 1
    thinned, _ = find_peaks(values, 2, min_distance, 0.3)
    gaps = np.linalg.norm(thinned[:, None] - thinned, axis=2)[~np.eye(len(thinned), dtype=bool)]
    assert gaps.min(initial=np.inf) >= min_distance - 1e-6


def test_peak_beside_cells_that_were_not_evaluated_raises_no_warning() -> None:
    values = np.full((3, 4, 5), np.nan, dtype=np.float32)
    values[1, 1, 1] = 0.9
    points, _ = find_peaks(values, 1, 2.0, 0.5)
    np.testing.assert_array_equal(points, [[1, 1, 1]])


def test_a_plateau_is_one_peak() -> None:
    similarity = np.zeros((5, 6, 9), dtype=np.float32)
    similarity[2, 3, 2:4] = similarity[3, 4, 4] = 0.9
    similarity[1, 1, 7] = 0.8
    points, values = find_peaks(similarity, stride=1, min_distance=0, floor=0.5)
    assert len(points) == 2
    np.testing.assert_allclose(values, [0.9, 0.8])
