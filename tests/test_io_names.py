"""A tomogram is found in a file of points, and named in one, as other programs know its tilt series."""

import logging
from pathlib import Path

import numpy as np
import pytest

from cryosam.errors import PointsFileError
from cryosam.io import PointTable, TomogramPoints, read_points
from cryosam.io.copick import write_copick
from cryosam.io.relion_sets import write_optimisation_set
from cryosam.io.star_output import write_star
from cryosam.io.tomogram_names import same_tilt_series

XYZ = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")


def put(path: Path, *rows: str, labels: tuple[str, ...] = (*XYZ, "rlnTomoName")) -> Path:
    path.write_text("data_\n\nloop_\n" + "".join(f"_{label}\n" for label in labels) + "".join(f"{r}\n" for r in rows))
    return path


def part(name: str, x: float = 3) -> TomogramPoints:
    return TomogramPoints(
        table=PointTable(np.array([[1.0, 2, x]])), name=name, shape=(4, 6, 8), voxel_size_angstrom=10.0
    )


@pytest.mark.parametrize(
    ("name", "tomogram"),
    [
        ("Position_2_7_ali.tomostar", "reconstruction/Position_2_7_ali_10.00Apx.mrc"),
        ("TS_01.tomostar", "TS_01_8Apx.mrc"),
        ("TS_01", "rec_TS_01.mrc"),
        ("TS_01", "Tomograms/job007/tomograms/rec_TS_01.mrc"),
        ("TS_01", "TS_01_Vol.mrc"),
        ("TS_01", "TS_01_rec.mrc"),
        ("TS_01", "TS_01_full_rec.mrc"),
        ("TS_01", "TS_01_full.rec"),
        ("TS_01.mrc.mdoc", "TS_01.mrc"),
        (r"D:\tomograms\TS_01.mrc", "TS_01.rec"),
        ("TS.01", "TS.01.mrc"),
        ("TS_01[2]", "TS_01[2].mrc"),
        ("TS_(1)", "rec_TS_(1).mrc"),
        ("0012", "0012.mrc"),
        ("rec_1", "rec_1.mrc"),
        ("rec_", "rec_.mrc"),
    ],
)
def test_the_same_tilt_series(name: str, tomogram: str) -> None:
    known = {n: [n] for n in (name, "other", "12")}
    assert same_tilt_series(known, tomogram) == [name]
    assert same_tilt_series({tomogram: [tomogram], "other": ["other"]}, name) == [tomogram]


@pytest.mark.parametrize(
    ("name", "tomogram"),
    [
        ("TS_01", "TS_1"),
        ("TS_01", "TS_01_2"),
        ("0012", "12"),
        ("1.0", "1"),
        ("TS_01", "TS_01_bin4"),
        ("TS_01", "ts_01"),
    ],
)
def test_other_tilt_series(name: str, tomogram: str) -> None:
    assert same_tilt_series({name: [name]}, tomogram) == []


def test_the_nearest_name_is_taken() -> None:
    known = {name: [name] for name in ("TS_01", "rec_TS_01", "TS_01_10.00Apx", "TS_01_5.00Apx")}
    assert same_tilt_series(known, "rec_TS_01.mrc") == ["rec_TS_01"]
    assert same_tilt_series(known, "TS_01_5.00Apx.mrc") == ["TS_01_5.00Apx"]
    assert len(same_tilt_series(known, "TS_01_Vol.mrc")) == 4


def test_points_are_found_by_what_a_program_called_its_reconstruction(tmp_path: Path) -> None:
    path = put(tmp_path / "warp.star", "3 2 1 Position_2_7_ali.tomostar", "6 5 4 Position_2_8_ali.tomostar")
    table = read_points(path, tomogram_name="Position_2_8_ali_10.00Apx.mrc")
    np.testing.assert_array_equal(table.points, [[4, 5, 6]])
    assert table.tomogram_name == "Position_2_8_ali.tomostar"
    with pytest.raises(PointsFileError, match="0 of them match 'rec_3'; name one with --name"):
        read_points(path, tomogram_name="rec_3")


def test_a_set_of_relion_says_which_file_is_which_tomogram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ", "rlnTomoTiltSeriesPixelSize")
    labels = ("rlnTomoName", *sizes, "rlnTomoReconstructedTomogram", "rlnTomoReconstructedTomogramDenoised")
    rows = ("TS_01 8 6 4 10 job9/rec_a.mrc job10/clean_a.mrc", "TS_02 8 6 4 10 job9/rec_b.mrc job10/clean_b.mrc")
    tomograms = put(Path("tomograms.star"), *rows, labels=labels)
    write_optimisation_set(Path(), [part("rec_a"), part("clean_b", x=5)], tomograms)
    for name, x in [("job10/clean_a.mrc", 3), ("rec_b", 5), ("TS_02", 5), ("rec_TS_01.mrc", 3)]:
        table = read_points("optimisation_set.star", shape=(4, 6, 8), voxel_size_angstrom=10.0, tomogram_name=name)
        np.testing.assert_allclose(table.points, [[1, 2, x]], err_msg=name)
    with pytest.raises(PointsFileError, match=r"no tomogram c in this set; it has TS_01, TS_02; name one.*--name"):
        write_optimisation_set(Path("out"), [part("c")], tomograms)
    tomograms.unlink()  # the particles are still there
    table = read_points("optimisation_set.star", shape=(4, 6, 8), voxel_size_angstrom=10.0, tomogram_name="TS_02")
    np.testing.assert_allclose(table.points, [[1, 2, 5]])


def test_a_run_of_copick_is_found_like_a_tomogram_of_a_table(tmp_path: Path) -> None:
    write_copick(tmp_path, [part("TS_01"), part("TS_02", x=5)])
    table = read_points(tmp_path, voxel_size_angstrom=10.0, tomogram_name="rec_TS_02.mrc")
    np.testing.assert_allclose(table.points, [[1, 2, 5]])
    assert table.tomogram_name == "TS_02"
    with pytest.raises(PointsFileError, match="the runs are TS_01, TS_02; name one with --name"):
        read_points(tmp_path, voxel_size_angstrom=10.0, tomogram_name="TS_03")


def test_picks_of_another_run_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_copick(tmp_path, [part("TS_01")])
    with caplog.at_level(logging.WARNING):
        (file,) = tmp_path.glob("ExperimentRuns/TS_01/Picks/*.json")
        read_points(file, voxel_size_angstrom=10.0, tomogram_name="rec_TS_01.mrc")
        assert not caplog.records
        read_points(file, voxel_size_angstrom=10.0, tomogram_name="TS_02")
    assert "all points are of tomogram TS_01; they are used for tomogram TS_02" in caplog.text


def test_warp_finds_the_tilt_series_of_its_own_reconstruction(tmp_path: Path) -> None:
    write_star(tmp_path / "p.star", [part("Position_2_7_ali_10.00Apx")], program="warp")
    assert "Position_2_7_ali.tomostar" in (tmp_path / "p.star").read_text()
    table = read_points(tmp_path / "p.star", voxel_size_angstrom=10.0, tomogram_name="Position_2_7_ali_10.00Apx")
    np.testing.assert_array_equal(table.points, [[1, 2, 3]])
    with pytest.raises(PointsFileError, match="two tomograms are named TS_01"):
        write_star(tmp_path / "q.star", [part("TS_01_10.00Apx"), part("TS_01_5.00Apx")], program="warp")


# --- tables that number their tomograms -------------------------------------------------------------------------------


def dynamo(path: Path, *tomograms: int) -> Path:
    rows = [["0"] * 19 + [str(t)] + ["0"] * 3 + [str(10 * i), "3", "2"] for i, t in enumerate(tomograms, 1)]
    path.write_text("".join(" ".join(row) + "\n" for row in rows))
    return path


def test_dynamos_index_of_a_catalogue_names_the_tomograms(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = dynamo(tmp_path / "picks.tbl", 4, 7)
    (tmp_path / "indices_column20.doc").write_text("4 /data/TS_01.rec\n7 /data/TS_02.rec\n")
    with caplog.at_level(logging.INFO):
        table = read_points(path, tomogram_name="rec_TS_02.mrc")
    np.testing.assert_array_equal(table.points, [[1, 2, 19]])
    assert table.tomogram_name == "/data/TS_02.rec"
    assert "the names of its tomograms are those in indices_column20.doc" in caplog.text
    (tmp_path / "picks.doc").write_text("4 TS_08\n7 TS_09\n")  # its own comes first
    np.testing.assert_array_equal(read_points(path, tomogram_name="TS_08").points, [[1, 2, 9]])


def test_a_table_of_one_tomogram_without_a_name_is_used_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = dynamo(tmp_path / "picks.tbl", 7, 7)
    with caplog.at_level(logging.INFO):
        for name in (None, "7"):
            assert len(read_points(path, tomogram_name=name)) == 2
        assert len(read_points(dynamo(tmp_path / "q.tbl", 0), tomogram_name="TS_01")) == 1  # no number either
        assert not caplog.records
        assert len(read_points(path, tomogram_name="TS_01")) == 2
    assert "all points are of tomogram number 7, which has no name; they are used for tomogram TS_01" in caplog.text


def test_numbers_of_one_name_are_one_tomogram_and_names_of_one_number_are_refused(tmp_path: Path) -> None:
    path = dynamo(tmp_path / "picks.tbl", 4, 5, 7)
    (tmp_path / "picks.doc").write_text("4 a/TS_01.rec\n5 a/TS_01.rec\n7 TS_02.rec\n")
    assert read_points(path, tomogram_name="TS_01").points[:, 2].tolist() == [9, 19]
    (tmp_path / "picks.doc").write_text("4 TS_01\n4 TS_03\n5 TS_02\n7 TS_02\n")
    with pytest.raises(PointsFileError, match=r"picks\.doc: tomogram 4 has two names, TS_01 and TS_03"):
        read_points(path, tomogram_name="TS_01")
