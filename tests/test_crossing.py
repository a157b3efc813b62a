"""Membranes that cross each other come apart; what is only bent does not."""

import numpy as np

from cryosam.geometry import unit
from cryosam.structures.crossing import parted
from cryosam.structures.sheets import Sheet


def ball(n: int, centre: tuple[float, float, float], radii: tuple[float, float, float], seed: int) -> Sheet:
    """Points on an ellipsoid, with normals of random signs."""
    rng = np.random.default_rng(seed)
    at = unit(rng.normal(size=(n, 3)))
    normals = unit(at / np.array(radii)) * rng.choice([-1.0, 1.0], n)[:, None]
    return Sheet(at * radii + centre, normals, np.ones(n))


def both(one: Sheet, other: Sheet) -> Sheet:
    return Sheet(
        np.concatenate([one.points, other.points]),
        np.concatenate([one.normals, other.normals]),
        np.concatenate([one.saliency, other.saliency]),
    )


def test_two_balls_that_cross_are_two_sheets_of_their_own_points() -> None:
    large, small = ball(5000, (0, 0, 0), (25, 25, 25), 0), ball(3000, (5, 30, 0), (18, 18, 18), 1)
    first, second = parted(both(large, small), 12.0, 1.75, 30.0)
    for part, true in ((first, large), (second, small)):
        assert abs(len(part.points) - len(true.points)) < 0.03 * len(true.points)
        assert np.linalg.norm(part.points.mean(axis=0) - true.points.mean(axis=0)) < 1
        outwards = ((part.points - true.points.mean(axis=0)) * part.normals).sum(axis=1) > 0
        assert max(outwards.mean(), 1 - outwards.mean()) > 0.95  # the signs were random


def test_an_ellipsoid_is_one_sheet() -> None:
    sheet = ball(5000, (0, 0, 0), (15, 25, 40), 2)
    assert parted(sheet, 12.0, 1.75, 30.0) == [sheet]


def test_a_plane_through_a_ball_is_left_as_it_is() -> None:
    flat = np.stack(np.meshgrid([0.0], np.arange(-60.0, 60), np.arange(-60.0, 60), indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    plane = Sheet(flat, np.tile([1.0, 0, 0], (len(flat), 1)), np.ones(len(flat)))
    sheet = both(plane, ball(700, (0, 0, 0), (8, 8, 8), 3))
    assert parted(sheet, 12.0, 1.75, 30.0) == [sheet]
