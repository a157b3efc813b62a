"""Scores of membranes, filaments and compartments: answers that can be counted by hand, and the command."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cryosam.cli import main
from cryosam.errors import InputError
from cryosam.evaluation.compartments import score_compartments
from cryosam.evaluation.filaments import score_filaments
from cryosam.evaluation.surfaces import middle_of, score_surfaces
from cryosam.io import write_volume

SHAPE = (20, 22, 24)


def sheets(*heights, thickness=3):
    labels = np.zeros(SHAPE, dtype=np.int16)
    for label, z in enumerate(heights, start=1):
        labels[z - thickness // 2 : z + thickness // 2 + 1] = label
    return labels


def line(y=5.0, start=0.0, stop=20.0, n=21):
    x = np.linspace(start, stop, n)
    return np.stack([np.full(n, 3.0), np.full(n, y), x], axis=1)


def test_a_surface_is_compared_with_the_middle_of_the_true_one():
    truth = sheets(10, thickness=5)
    for shift, hit in ((0, 1.0), (2, 1.0), (3, 0.0)):
        scores = score_surfaces(sheets(10 + shift, thickness=1), truth, 10.0, tolerance_angstrom=20.0)
        assert (scores.precision, scores.recall, scores.f1) == (hit, hit, hit)


def test_half_a_surface_has_half_the_recall():
    predicted = sheets(10, thickness=1)
    predicted[:, :11] = 0
    scores = score_surfaces(predicted, sheets(10), 10.0, tolerance_angstrom=9.0)
    assert (scores.precision, scores.recall) == (1.0, 0.5)


def test_surfaces_are_paired_one_to_one():
    truth = sheets(4, 15)
    assert score_surfaces(sheets(15, 4), truth, 10.0, tolerance_angstrom=20.0).n_paired == 2
    merged = (truth > 0).astype(np.int16)
    assert score_surfaces(merged, truth, 10.0, tolerance_angstrom=20.0).n_paired == 0
    halves = sheets(4, 15)
    halves[:6, :11] = 3
    assert score_surfaces(halves, truth, 10.0, tolerance_angstrom=20.0).n_paired == 1


def test_nothing_found_is_right_only_where_nothing_is():
    nothing = np.zeros(SHAPE, dtype=np.int16)
    assert score_surfaces(nothing, nothing, 10.0).f1 == 1.0
    assert score_surfaces(nothing, sheets(5), 10.0).f1 == 0.0
    assert score_filaments([], [], 10.0).f1 == 1.0
    assert score_filaments([line()], [], 10.0).f1 == 0.0


@given(axis=st.integers(0, 2), thickness=st.sampled_from([1, 3, 5, 7]))
def test_the_middle_of_a_flat_sheet_is_one_voxel_thick(axis, thickness):
    sheet = np.zeros((17, 17, 17), dtype=bool)
    np.moveaxis(sheet, axis, 0)[8 - thickness // 2 : 8 + thickness // 2 + 1] = True
    assert np.count_nonzero(middle_of(sheet)) == 17 * 17


def test_the_middle_of_a_sphere_lies_in_the_middle_of_its_wall():
    radius = np.linalg.norm(np.indices((61, 61, 61)) - 30, axis=0)
    middle = middle_of(np.abs(radius - 22) <= 3)
    assert np.quantile(np.abs(radius[middle] - 22), 0.99) < 1.5
    assert np.count_nonzero(middle) > 0.8 * 4 * np.pi * 22**2


def test_the_middle_does_not_depend_on_the_slabs(monkeypatch):
    from cryosam.evaluation import surfaces

    wall = np.abs(np.linalg.norm(np.indices((40, 30, 30)) - 18, axis=0) - 11) <= 2
    whole = middle_of(wall)
    monkeypatch.setattr(surfaces, "_SLAB", 7)
    monkeypatch.setattr(surfaces, "_MARGIN", 8)
    assert np.array_equal(middle_of(wall), whole)


def test_lengths_count_not_points():
    coarse, fine = line(stop=10, n=3), line(y=15, stop=10, n=101)
    scores = score_filaments([coarse, fine], [line(stop=10)], 10.0, tolerance_angstrom=20.0)
    assert (scores.precision, scores.recall) == (0.5, 1.0)


def test_distances_and_directions_are_measured():
    truth = line(stop=60, n=61)
    beside = score_filaments([truth + np.array([1.5, 0, 0])], [truth], 10.0, tolerance_angstrom=20.0)
    assert beside.mean_distance_angstrom == pytest.approx(15.0)
    assert beside.tangent_error_degrees == pytest.approx(0, abs=1e-3)
    assert score_filaments([truth[::-1]], [truth], 10.0).tangent_error_degrees == pytest.approx(0, abs=1e-3)
    angle = np.radians(4)
    turned = np.stack([truth[:, 0], 5 + (truth[:, 2] - 30) * np.sin(angle), 30 + (truth[:, 2] - 30) * np.cos(angle)], 1)
    assert score_filaments([turned], [truth], 10.0).tangent_error_degrees == pytest.approx(4, abs=0.01)


def test_merges_and_splits_are_counted():
    a, b = line(stop=20), line(start=22, stop=40)
    through = line(stop=40, n=41)
    merged = score_filaments([through], [a, b], 10.0, tolerance_angstrom=20.0)
    assert (merged.n_merges, merged.n_splits) == (1, 0)
    split = score_filaments([a, b], [through], 10.0, tolerance_angstrom=20.0)
    assert (split.n_merges, split.n_splits) == (0, 1)
    crossing = np.stack([np.full(41, 3.0), np.linspace(-15, 25, 41), np.full(41, 10.0)], axis=1)
    right = score_filaments([through, crossing], [through, crossing], 10.0, tolerance_angstrom=20.0)
    assert (right.n_merges, right.n_splits, right.f1) == (0, 0, 1.0)


def test_a_leak_is_a_volume_over_twice_the_true_one():
    truth = np.zeros(SHAPE, dtype=np.uint8)
    truth[2:6, 2:6, 2:6] = 1
    truth[10:14, 2:6, 2:6] = 2
    predicted = truth.copy()
    predicted[9:15, :12, :12] = 2
    scores = score_compartments(predicted, truth)
    assert (scores.n_paired, scores.n_leaks) == (2, 1)
    assert scores.dice == pytest.approx((1 + 2 * 64 / (864 + 64)) / 2)
    only = score_compartments(np.where(truth == 1, truth, 0), truth)
    assert (only.n_paired, only.dice, only.n_leaks) == (1, 0.5, 0)


def test_volumes_of_different_shapes_are_refused(unchecked):
    for score in (score_compartments, lambda ours, theirs: score_surfaces(ours, theirs, 10.0)):
        with pytest.raises(InputError, match="shape"):
            score(sheets(4)[1:], sheets(4))


def run(*words):
    return CliRunner().invoke(main, ["evaluate", *map(str, words)], catch_exceptions=False)


def test_the_command_scores_volumes_and_divides_one_label_into_parts(tmp_path):
    truth = np.where(sheets(4, 15) > 0, 99, 0).astype(np.int16)
    truth[9:11, :4, :4] = 3
    write_volume(tmp_path / "truth.mrc", truth, 10.0)
    write_volume(tmp_path / "found.mrc", sheets(4, 15), 10.0)
    files = (tmp_path / "found.mrc", tmp_path / "truth.mrc", "--structure", "membrane")
    scores = json.loads(run(*files, "--label", 99, "--json").stdout)
    assert (scores["f1"], scores["n_truth"], scores["n_paired"]) == (1.0, 2, 2)
    assert "Dice" in run(*files, "--label", 99).stdout
    missing = CliRunner().invoke(main, ["evaluate", *map(str, files), "--label", "5"])
    assert missing.exit_code == 2
    assert "it has 3, 99" in missing.stderr


def test_the_command_scores_tables_of_filaments(tmp_path):
    points = "\n".join(f"{i},3,5,{x}" for i, start in ((1, 0), (2, 22)) for x in range(start, start + 19))
    (tmp_path / "filaments.csv").write_text(f"filament,z,y,x\n{points}\n")
    rows = "\n".join(f"tube,7,3,5,{x}" for x in range(41)) + "\nactin,8,0,0,0\nactin,8,9,0,0"
    (tmp_path / "truth.csv").write_text(f"name,instance,z,y,x\n{rows}\n")
    words = (tmp_path, tmp_path / "truth.csv", "--structure", "filament", "--name", "tube", "--voxel-size", 10)
    scores = json.loads(run(*words, "--tolerance", 10, "--json").stdout)
    assert (scores["n_truth"], scores["n_splits"], scores["precision"]) == (1, 1, 1.0)
    assert "splits" in run(*words).stdout
