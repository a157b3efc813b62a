"""The examples run on small folders of the layout that they are for."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryosam.evaluation.simulation import SimulationConfig, simulate
from cryosam.io import read_points, write_volume

EXAMPLE = Path(__file__).parent.parent / "examples" / "empiar_10499.py"
COLUMNS = "data_particles\n\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnCoordinateZ #4\n"
PHANTOM = SimulationConfig(
    shape=(40, 72, 96), counts={"bilobe": 6}, n_vesicles=0, n_gold=0, n_debris=3, snr=1.0, seed=0
)


def load(path: Path) -> ModuleType:
    """The example as a module; it is no package."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


empiar_10499 = load(EXAMPLE)


def write_star(path: Path, rows: list[tuple[str, float, float, float]]) -> None:
    """Annotations x, y, z of named tomograms."""
    path.write_text(COLUMNS + "".join(f"{name} {x:.3f} {y:.3f} {z:.3f}\n" for name, x, y, z in rows))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout and its quirks, with another tomogram that nobody annotated and an annotated one that is not there."""
    folder = tmp_path_factory.mktemp("experiment")
    simulated = simulate(PHANTOM)
    (folder / "denoised").mkdir()
    write_volume(folder / "denoised" / "TS_01.mrc", simulated.tomogram.data, 10.0)
    write_volume(folder / "denoised" / "TS_02.mrc", simulated.tomogram.data[:, :9], 10.0)
    _, h, w = simulated.tomogram.shape
    rows = [("TS_01.mrc.tomostar", w - 1 - x, h - 1 - y, z + 16) for z, y, x in simulated.points]
    write_star(folder / "ribosomes.star", [*rows, ("TS_03.mrc.tomostar", 1, 2, 3)])
    return folder


def test_finds_what_was_annotated(experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empiar_10499.main(
        [str(experiment), "--distance", "8", "--prompt-share", "0.34", "--out", str(tmp_path / "out"), "--json"]
    )
    printed = json.loads(capsys.readouterr().out)
    (row,), total = printed["tomograms"], printed["all"]
    assert (row["tomogram"], row["n_prompts"], row["n_truth"]) == ("TS_01", 2, 6)
    assert row["f1"] >= 0.8
    assert row["recall_of_rest"] >= 0.5
    assert {**row, "tomogram": "all"} == total
    folder = tmp_path / "out" / "TS_01"
    truth = simulate(PHANTOM).points
    for prompt in json.loads((folder / "run.json").read_text())["prompts"]:
        assert np.linalg.norm(truth - prompt["zyx"], axis=1).min() < 0.01
    picks, annotated = read_points(folder / "particles.csv").points, read_points(folder / "as-annotated.star").points
    np.testing.assert_allclose(annotated, np.array([16, 71, 95]) + picks * [1, -1, -1], atol=2e-3)


def test_prints_a_row_for_each_and_for_all(
    experiment: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        empiar_10499.Row("TS_01", 1, 4, 3, 2, 1),
        empiar_10499.Row("TS_02", 2, 2, 5, 2, 0),
    ]
    monkeypatch.setattr(empiar_10499, "run", lambda options: rows)
    empiar_10499.main([str(experiment)])
    assert " ".join(capsys.readouterr().out.split()) == "all 3 6 8 0.500 0.667 0.571 0.333"
    assert " ".join(str(rows[1]).split()) == "TS_02 2 2 5 0.400 1.000 0.571 -"
    nothing_found = empiar_10499.Row("TS_03", 1, 4, 0, 0, 0)
    assert " ".join(str(nothing_found).split()) == "TS_03 1 4 0 0.000 0.000 0.000 0.000"


def test_maps_annotations_to_voxels() -> None:
    frame = empiar_10499.Frame((30, 40, 50))
    np.testing.assert_array_equal(frame.to_voxels(np.array([[16.0, 0, 0], [20, 3, 7]])), [[0, 39, 49], [4, 36, 42]])
    plain = empiar_10499.Frame((30, 40, 50), z_shift=0, flipped="none")
    np.testing.assert_array_equal(plain.to_voxels(np.array([[20.0, 3, 7]])), [[20, 3, 7]])
    only_y = empiar_10499.Frame((30, 40, 50), z_shift=2, flipped="y")
    np.testing.assert_array_equal(only_y.to_voxels(np.array([[20.0, 3, 7]])), [[22, 36, 7]])


@given(
    shape=st.tuples(*[st.integers(1, 999)] * 3),
    z_shift=st.integers(-50, 50),
    flipped=st.sampled_from(["none", "y", "x", "yx"]),
    point=st.tuples(*[st.integers(-500, 1500)] * 3),
)
def test_mapping_has_an_inverse(shape, z_shift, flipped, point) -> None:
    frame, points = empiar_10499.Frame(shape, z_shift, flipped), np.array([point], dtype=float)
    np.testing.assert_array_equal(frame.from_voxels(frame.to_voxels(points)), points)
    np.testing.assert_array_equal(frame.to_voxels(frame.from_voxels(points)), points)


def test_share_of_prompts_is_of_those_inside(capsys: pytest.CaptureFixture[str]) -> None:
    tomogram = empiar_10499.Tomogram(np.zeros((10, 20, 30), dtype=np.float32), 10.0, "TS_09")
    points = np.array([[5.0, 6, x] for x in range(20)] + [[-1.0, 6, 7], [5, 20, 7]])
    for share, n in ((0.01, 1), (0.5, 11), (1.0, 20)):
        prompts, chosen = empiar_10499.choose_prompts(points, tomogram, share, seed=3)
        assert len(set(chosen.tolist())) == n
        assert chosen.max() < 20
        np.testing.assert_array_equal(prompts.positive, points[chosen])
        assert "TS_09: 2 of 22 annotations lie outside" in capsys.readouterr().err
    again = empiar_10499.choose_prompts(points, tomogram, 0.5, seed=3)[1]
    assert (again == empiar_10499.choose_prompts(points, tomogram, 0.5, seed=3)[1]).all()
    assert (again != empiar_10499.choose_prompts(points, tomogram, 0.5, seed=4)[1]).any()


@pytest.mark.parametrize(
    ("rows", "with_tomogram", "said"),
    [
        (None, True, "0 STAR files"),
        ([("TS_01", 1, 2, 3)], False, "no .mrc files"),
        ([("TS_07", 1, 2, 3)], True, "no tomogram has annotations; the names are TS_07"),
        ([("TS_01", 1, 2, 3)], True, "1 of 1 annotations lie outside the tomogram"),  # z is 3 - 16
        ([("TS_01", 1, 2, float("nan"))], True, "finite rlnCoordinateX"),
    ],
)
def test_says_in_one_line_what_is_wrong(rows, with_tomogram, said, tmp_path, capsys) -> None:
    if rows is not None:
        write_star(tmp_path / "picks.star", rows)
    if with_tomogram:
        (tmp_path / "denoised").mkdir()
        write_volume(tmp_path / "denoised" / "TS_01.mrc", np.zeros((9, 10, 11), dtype=np.float32), 10.0)
    with pytest.raises(SystemExit) as stopped:
        empiar_10499.main([str(tmp_path)])
    errors = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said in errors
    assert errors.startswith("empiar_10499: ")
    assert errors.count("\n") == 1


def test_a_star_file_without_coordinates_is_refused(tmp_path, capsys) -> None:
    (tmp_path / "picks.star").write_text("data_\nloop_\n_rlnMicrographName\nTS_01\n")
    with pytest.raises(SystemExit):
        empiar_10499.main([str(tmp_path)])
    assert "must have a table with rlnMicrographName and finite rlnCoordinateX" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--distance", "8 nm"], ["--prompt-share", "0"], ["--max-tomograms", "0"]])
def test_options_out_of_range_are_refused(options, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        empiar_10499.main([str(tmp_path), *options])
    assert stopped.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_distances_name_their_unit() -> None:
    assert empiar_10499.parse_distance("10") == (10.0, False)
    assert empiar_10499.parse_distance("62.5A") == (62.5, True)
