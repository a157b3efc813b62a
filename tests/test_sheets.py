"""Sheets of points on known surfaces: curvature, orientation, enclosed volumes, masks and profiles."""

import numpy as np
import pytest

from cryosam.geometry import unit
from cryosam.missing_wedge import MissingWedge
from cryosam.structures.closing import on_one_ball, supporting
from cryosam.structures.profiles import alike, patch_means, patches, thickness
from cryosam.structures.ridges import Ridges
from cryosam.structures.sheet_masks import sheet_mask
from cryosam.structures.sheets import Sheet, are_tubes, bends, link, oriented
from cryosam.structures.surfaces import Field, area, enclosed_volume, vertex_normals

CENTRE = np.array([20.0, 22.0, 24.0])


def sphere(radius: float = 14.0, n: int = 2500) -> tuple[np.ndarray, np.ndarray]:
    turns = np.pi * (1 + 5**0.5) * np.arange(n)
    height = 1 - 2 * (np.arange(n) + 0.5) / n
    ring = np.sqrt(1 - height**2)
    normals = np.stack([height, ring * np.cos(turns), ring * np.sin(turns)], axis=1)
    return CENTRE + radius * normals, normals


def cylinder(radius: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    along, around = np.meshgrid(np.arange(40.0), np.arange(0, 2 * np.pi, 1 / radius), indexing="ij")
    normals = np.stack([0 * around, np.cos(around), np.sin(around)], axis=-1).reshape(-1, 3)
    points = radius * normals + np.array([0, 20.0, 20.0])
    points[:, 0] = along.ravel()
    return points, normals


def test_the_curvature_of_a_ball_and_of_a_tube():
    sizes, mean = bends(*sphere(), 5.0)
    assert np.median(1 / sizes, axis=0) == pytest.approx([14, 14], rel=0.05)
    assert np.median(mean) == pytest.approx(1 / 14, rel=0.05)
    assert np.median(bends(sphere()[0], -sphere()[1], 5.0)[1]) == pytest.approx(-1 / 14, rel=0.05)
    sizes, _ = bends(*cylinder(), 5.0)
    assert np.median(1 / sizes[:, 0]) == pytest.approx(5, rel=0.2)
    assert np.median(sizes[:, 1]) < 0.02


def test_only_the_narrow_tube_is_a_tube():
    assert are_tubes(*cylinder(5.0), 5.0, 8.0).mean() > 0.95
    assert not are_tubes(*cylinder(12.0), 5.0, 8.0).any()
    assert not are_tubes(*sphere(7.5), 5.0, 8.0).any()


def test_normals_of_random_signs_are_turned_to_one_side():
    points, normals = sphere()
    signs = np.random.default_rng(0).choice([-1.0, 1.0], len(points))
    turned = oriented(points, normals * signs[:, None], 1.8, 30.0)
    assert np.unique(np.sign((turned * normals).sum(axis=1))).size == 1


def test_two_crossing_sheets_are_two_components():
    grid = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0), indexing="ij"), axis=-1).reshape(-1, 2)
    flat = np.insert(grid, 0, 10.0, axis=1)
    upright = np.insert(grid, 1, 10.0, axis=1)
    points = np.concatenate([flat, upright])
    normals = np.concatenate([np.tile([1.0, 0, 0], (400, 1)), np.tile([0, 1.0, 0], (400, 1))])
    numbers = link(Ridges(points, normals, np.ones(800), 0, 0, (20, 20, 20)), 20.0, distance_angstrom=35, angle=30)
    assert np.unique(numbers).size == 2


def test_a_ball_encloses_its_volume_and_its_mesh_points_outwards():
    points, normals = sphere()
    surface = Field.of(points, normals, 3.0)
    (enclosed,) = surface.enclosed(MissingWedge(), (60, 60, 60))
    mesh = surface.mesh(enclosed)
    assert enclosed.share == 1
    assert not enclosed.is_cut
    assert enclosed_volume(mesh) == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.03)
    assert area(mesh) == pytest.approx(4 * np.pi * 14**2, rel=0.03)
    assert ((vertex_normals(mesh) * unit(mesh.vertices - CENTRE)).sum(axis=1) > 0.9).all()
    (enclosed,) = surface.enclosed(MissingWedge(), (60, 60, 30))
    assert enclosed.is_cut


def test_what_the_wedge_hides_counts_as_not_visible():
    points, normals = sphere()
    seen = MissingWedge().is_sampled(*normals.T)
    surface = Field.of(points[seen], normals[seen], 3.0)
    (enclosed,) = surface.enclosed(MissingWedge(), (60, 60, 60))
    assert enclosed.share < 0.9
    assert enclosed.visible_share > 0.95
    assert enclosed_volume(surface.mesh(enclosed)) == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.1)


def test_a_flat_sheet_encloses_nothing():
    grid = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0), indexing="ij"), axis=-1).reshape(-1, 2)
    surface = Field.of(np.insert(grid, 0, 15.0, axis=1), np.tile([1.0, 0, 0], (900, 1)), 3.0)
    assert all(each.share < 0.5 for each in surface.enclosed(MissingWedge(), (30, 30, 30)))
    assert area(surface.mesh()) == pytest.approx(32**2, rel=0.03)  # a voxel and a half beyond the points


def test_both_halves_of_a_ball_are_found_from_one_and_a_ball_within_is_not():
    points, normals = sphere()
    left, right = points[:, 2] < 19, points[:, 2] > 29
    inner = sphere(8.0, 800)
    sheets = [
        Sheet(points[left], normals[left], np.ones(left.sum())),
        Sheet(points[right], -normals[right], np.ones(right.sum())),
        Sheet(*inner, np.ones(800)),
    ]
    members, together = on_one_ball(0, sheets, np.ones(3, dtype=bool), 100.0)
    assert members == [0, 1]
    assert ((together.normals * unit(together.points - CENTRE)).sum(axis=1) > 0.99).all()


def test_faint_ridges_support_the_surface_on_which_they_lie_and_along_which_they_run():
    points, normals = sphere()
    surface = Field.of(points[::2], normals[::2], 3.0)
    across = np.cross(normals, [1.0, 0, 0])
    faint = Ridges(
        np.concatenate([points[1::2], points[1::2] + 3 * normals[1::2], points[1::2]]),
        np.concatenate([-normals[1::2], normals[1::2], unit(across[1::2])]),
        np.ones(3750),
        0,
        0,
        (60, 60, 60),
    )
    keep, turned = supporting(surface, faint)
    assert keep[:1250].mean() > 0.95
    assert not keep[1250:].any()
    assert ((turned[:1250] * normals[1::2]).sum(axis=1) > 0.9).all()


def test_the_mask_of_a_ball_is_a_shell_of_its_width():
    points, normals = sphere()
    mask = sheet_mask(points, normals, 3.0, 1.5, (45, 45, 50))
    radius = np.linalg.norm(np.moveaxis(np.indices(mask.data.shape), 0, -1) + mask.origin - CENTRE, axis=-1)
    assert radius[mask.data].min() > 12
    assert radius[mask.data].max() < 16
    assert mask.data[np.abs(radius - 14) < 1].mean() > 0.98


def test_what_of_a_sheet_lies_outside_the_volume_is_left_out():
    points, normals = sphere()
    whole = sheet_mask(points, normals, 3.0, 1.5, (45, 45, 50))
    cut = sheet_mask(points, normals, 3.0, 1.5, (20, 22, 24))
    full = np.zeros((45, 45, 50), dtype=bool)
    full[whole.box] = whole.data
    part = np.zeros((20, 22, 24), dtype=bool)
    part[cut.box] = cut.data
    assert (part == full[:20, :22, :24]).all()


def test_thickness_of_two_leaflets_and_of_one_peak():
    x = np.arange(-30.0, 31.0)
    two = np.exp(-((x - 5) ** 2) / 8) + np.exp(-((x + 5) ** 2) / 8)
    assert thickness(two, 4.0)[0] == pytest.approx(40, abs=2)
    assert thickness(np.exp(-(x**2) / 32), 4.0)[0] == pytest.approx(2.355 * 4 * 4, rel=0.03)
    assert np.isnan(thickness(np.exp((x - 30) / 10), 4.0)).all()


def test_patches_resemble_their_own_mean():
    noisy = np.random.default_rng(0).normal(0, 0.1, (200, 31)) + np.exp(-(np.linspace(-3, 3, 31) ** 2))
    numbers = patches(np.arange(600.0).reshape(200, 3), 60.0)
    means = patch_means(noisy, numbers, 5)
    assert (alike(means, noisy.mean(axis=0)) > 0.97).all()
    assert (alike(means[:, ::-1], -noisy.mean(axis=0)) < -0.97).all()
    assert alike(np.zeros((1, 31)), noisy[0]).tolist() == [0]
