"""Tables of STAR files are read as they stand, or refused: no value moves to another column or row."""

import logging
from pathlib import Path

import numpy as np
import pytest

from cryosam.errors import PointsFileError, VoxelSizeError
from cryosam.io import read_points
from cryosam.io.relion import angles_to_rotations
from cryosam.io.star_blocks import read_star_blocks

LABELS = ("rlnTomoName", "rlnObjectNumber", "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ", "rlnRandomSubset")

OPTICS = ("rlnOpticsGroup", "rlnTomoTiltSeriesPixelSize", "rlnImagePixelSize")


def put(folder: Path, text: str) -> Path:
    path = folder / "p.star"
    path.write_bytes(text.encode())  # line ends as they are given
    return path


def loop(*rows: str, labels: tuple[str, ...] = LABELS, name: str = "particles") -> str:
    header = "".join(f"_{label} #{i}\n" for i, label in enumerate(labels, 1))
    return f"data_{name}\n\nloop_\n{header}" + "".join(f"{row}\n" for row in rows)


def refused(path: Path) -> str:
    with pytest.raises(PointsFileError) as caught:
        read_points(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def test_a_row_with_too_few_or_too_many_values_is_refused(tmp_path: Path) -> None:
    """The second row lacks its number: x would be 105.5, y 65.25 and z 2."""
    rows = ("tomo 1 40.0 30.0 20.0 1", "tomo   26.0 105.5 65.25 2", "tomo 1 49.75 28.0 69.0 1")
    message = refused(put(tmp_path, loop(*rows)))
    assert "block data_particles, row 2 (line 11): 5 values for 6 labels, none is left for rlnRandomSubset" in message
    message = refused(put(tmp_path, loop(rows[0], f"{rows[0]} 7", rows[2])))
    assert "row 2 (line 11): 7 values for 6 labels, the last label is rlnRandomSubset" in message


@pytest.mark.parametrize("tail", ["\n", "\n\n\n"])
def test_a_file_cut_off_anywhere_in_its_last_row_is_refused(tmp_path: Path, tail: str) -> None:
    columns = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")
    for labels, last in [
        (columns, "26.125000 105.500000 65.250000"),
        ((*columns, "rlnMicrographName"), "26.125000 105.500000 65.250000 TS_01.tomostar"),
        ((*columns, "rlnMicrographName"), "26.125000 105.500000 65.250000 a/TS_01.mrc"),
        ((*columns, "rlnTomoVisibleFrames"), "26.125000 105.500000 65.250000 [1,1,0]"),
    ]:
        above = last.replace("26.125", "12.125")
        whole = loop(above, last, labels=labels)
        for length in range(len(whole) - len(last), len(whole) - 1):
            message = refused(put(tmp_path, whole[:length]))
            assert "row 2" in message
            assert "cut off" in message
        points = [[65.25, 105.5, 12.125], [65.25, 105.5, 26.125]]
        np.testing.assert_array_equal(read_points(put(tmp_path, whole.rstrip("\n") + tail)).points, points)


def test_a_file_without_a_line_break_at_its_end_is_read_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = put(tmp_path, loop("tomo 1 40.0 30.0 20.0 12", "tomo 1 40.0 30.0 20.0 7").rstrip())
    with caplog.at_level(logging.WARNING):
        assert len(read_points(path)) == 2
    assert "no line break after the last row, which may be cut off" in caplog.text


def test_two_labels_of_one_name_are_refused_unless_they_say_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    groups = ("rlnOpticsGroup", "rlnTomoTiltSeriesPixelSize", "rlnOpticsGroup")
    particles = loop("tomo 1 40 30 20 1", "tomo 1 26 106 65 2")
    message = refused(put(tmp_path, loop("1 2.5 3", labels=groups, name="optics") + "\n" + particles))
    assert "block data_optics, row 1: label rlnOpticsGroup is there twice, with the values 1 and 3" in message
    doubled = (*LABELS, "rlnCoordinateX")
    message = refused(put(tmp_path, loop("tomo 1 40 30 20 1 40", "tomo 1 26 106 65 2 27", labels=doubled)))
    assert "block data_particles, row 2: label rlnCoordinateX is there twice, with the values 26 and 27" in message
    same = put(tmp_path, loop("tomo 1 40 30 20 1 40", "tomo 1 26 106 65 2 26", labels=doubled))
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(read_points(same).points, [[20, 30, 40], [65, 106, 26]])
    assert "label rlnCoordinateX is there twice, with the same values" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (loop("a 1 1 2 3 1") + loop("b 1 4 5 6 1"), "two blocks are named data_particles"),
        (loop("a 1 1 2 3 1", "loop_", "_rlnImageSize", "4"), "line 11: a second loop_"),
        ("data_\n_rlnImageSize 4\nloop_\n_rlnCoordinateX\n1\n", "data_, line 3: 'loop_' is not a label and its value"),
        ("data_\n_rlnTomoParticlesFile my particles.star\n", "line 2: .* is not a label and its value"),
        ("data_\n_rlnTomoParticlesFile\n", "line 2: .* is not a label and its value"),
        ("data_\nloop_\n1 2 3\n", "its loop_ has no labels"),
        ("30 20 10\n" + loop("a 1 1 2 3 1"), "line 1: '30 20 10' stands before the first data_ line"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = put(tmp_path, text)
    with pytest.raises(PointsFileError, match=message):
        read_points(path)


def test_harmless_variety_is_read(tmp_path: Path) -> None:
    """Byte-order mark, comments, blank lines, quotes, Windows line ends, single values, rows like labels and blocks."""
    text = (
        "\ufeff# version 30001\n\ndata_general # ours\n\n_rlnTomoSubTomosAre2DStacks 0\n_rlnNote 'two words'\n\n"
        + loop(
            "data_1 1 4\t5 6 1", "", "# a comment", "'my tomo' 1 4 5 6 1 # good", '_1 1 4 5 6 "#"', "it's#2 1 4 5 6 1"
        )
        + "\n\ndata_empty\n\nloop_\n_rlnImageSize 1\n\n"
    )
    for end in ("\n", "\r\n", "\r"):
        blocks = read_star_blocks(put(tmp_path, text.replace("\n", end)))
        assert list(blocks) == ["general", "particles", "empty"]
        assert blocks["general"].to_dict("records") == [{"rlnTomoSubTomosAre2DStacks": "0", "rlnNote": "two words"}]
        assert blocks["particles"]["rlnTomoName"].to_list() == ["data_1", "my tomo", "_1", "it's#2"]
        assert blocks["particles"]["rlnRandomSubset"].to_list() == ["1", "1", "#", "1"]
        assert (list(blocks["empty"]), len(blocks["empty"])) == (["rlnImageSize"], 0)


def test_names_of_digits_stay_text(tmp_path: Path) -> None:
    path = put(tmp_path, loop("0012 1 40 30 20 1", "12 1 26 106 65 2", "1.0 1 1 1 1 1"))
    np.testing.assert_array_equal(read_points(path, tomogram_name="0012.mrc").points, [[20, 30, 40]])
    np.testing.assert_array_equal(read_points(path, tomogram_name="12").points, [[65, 106, 26]])


def test_an_optics_group_that_is_twice_is_refused_unless_both_say_the_same(tmp_path: Path) -> None:
    """The pixel size of either may be meant: 160 pixels are 40 voxels of 10 angstrom, or 80."""
    particles = loop("tomo 1 160 120 80 1", labels=(*LABELS[:5], "rlnOpticsGroup"))
    optics = [loop("1 2.5", f"1 {size}", labels=OPTICS[:2], name="optics") for size in ("5.0", "2.5")]
    with pytest.raises(PointsFileError, match="block data_optics: optics group 1 is there twice"):
        read_points(put(tmp_path, f"{optics[0]}\n{particles}"), voxel_size_angstrom=10.0)
    table = read_points(put(tmp_path, f"{optics[1]}\n{particles}"), voxel_size_angstrom=10.0)
    np.testing.assert_array_equal(table.points, [[20, 30, 40]])


# --- M, and Warp's 2D stacks ------------------------------------------------------------------------------------------

SPECIES = tuple(
    f"wrp{name}1" for name in ("CoordinateX", "CoordinateY", "CoordinateZ", "AngleRot", "AngleTilt", "AnglePsi")
)


def test_a_species_of_m_counts_angstrom(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = ("400.0 300.0 200.0 10 20 30 a.tomostar", "260.0 1055.0 652.5 10 20 30 b.tomostar")
    path = put(tmp_path, loop(*rows, labels=(*SPECIES, "wrpSourceName")))
    for name, point in (("a_10.00Apx", [20, 30, 40]), ("b", [65.25, 105.5, 26])):
        table = read_points(path, voxel_size_angstrom=10.0, tomogram_name=name)
        np.testing.assert_allclose(table.points, [point])
        assert table.rotations is not None
        expected = angles_to_rotations(np.array([[10.0, 20.0, 30.0]]))
        np.testing.assert_allclose(table.rotations.as_matrix(), expected.as_matrix())
    with pytest.raises(VoxelSizeError, match="coordinates of M are in angstrom"):
        read_points(path, tomogram_name="a")
    assert "several poses" not in caplog.text
    path = put(tmp_path, loop("40 30 20 80", labels=(*SPECIES[:3], "wrpCoordinateX2")))
    np.testing.assert_allclose(read_points(path, voxel_size_angstrom=10.0).points, [[2, 3, 4]])
    assert "several poses during the exposure; the first is used" in caplog.text


def test_stacks_are_known_by_their_images_and_in_a_set(tmp_path: Path) -> None:
    """Scripts leave out data_general; an optimisation set has the particles in another file."""
    optics = loop("1 2.25 4.0 2", labels=(*OPTICS[:3], "rlnImageDimensionality"), name="optics")
    rows = loop("100.5 73 51 tomo 1", labels=(*LABELS[2:5], "rlnTomoName", "rlnOpticsGroup"))
    of_set = "data_optimisation_set\n\n_rlnTomoParticlesFile p.star\n"
    for general in ("", "data_general\n\n_rlnTomoSubTomosAre2DStacks 1\n\n"):
        (tmp_path / "p.star").write_text(f"{general}{optics}\n{rows}")
        (tmp_path / "set.star").write_text(of_set)
        for name in ("p.star", "set.star"):
            with pytest.raises(PointsFileError, match="ambiguous"):
                read_points(tmp_path / name, voxel_size_angstrom=10.0)


def test_stacks_of_two_pixel_sizes_are_ambiguous(tmp_path: Path) -> None:
    """Warp's are pixels of the stacks: 100.5 * 4 angstrom are 40.2 voxels of 10. RELION's would be 22.6."""

    def stacks(name: str, *sizes: float, is_2d: int = 1) -> Path:
        optics = loop(" ".join(map(str, (1, *sizes))), labels=OPTICS[: 1 + len(sizes)], name="optics")
        particles = loop(f"100.5 73 51 {name} 1", labels=(*LABELS[2:5], "rlnTomoName", "rlnOpticsGroup"))
        return put(tmp_path, f"data_general\n\n_rlnTomoSubTomosAre2DStacks {is_2d}\n\n{optics}\n{particles}")

    with pytest.raises(PointsFileError, match=r"ambiguous: Warp writes pixels of 4 angstrom for 2D stacks.* of 2\.25"):
        read_points(stacks("tomo", 2.25, 4.0), voxel_size_angstrom=10.0)
    for name, sizes, is_2d, x in (
        ("tomo.tomostar", (2.25, 4.0), 1, 40.2),
        ("tomo", (2.25,), 1, 22.6125),
        ("tomo", (4.0, 4.0), 1, 40.2),
        ("tomo", (2.25, 4.0), 0, 22.6125),
    ):
        table = read_points(stacks(name, *sizes, is_2d=is_2d), voxel_size_angstrom=10.0)
        np.testing.assert_allclose(table.points[0, 2], x)


def test_labels_that_were_moved_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Their numbers say so; numbers that are double or missing are from added and deleted columns."""
    head, rows = "data_\n\nloop_\n", "40 30 20\n"
    moved = "_rlnCoordinateY #2\n_rlnCoordinateX #1\n_rlnCoordinateZ #3\n"
    with pytest.raises(PointsFileError, match=r"line 4: _rlnCoordinateY has the number 2, but is label 1; labels were"):
        read_points(put(tmp_path, head + moved + rows))
    for numbers in (("#2", "#3", "#4"), ("#1", "#1", "#2"), ("2", "3", "4")):
        labels = "".join(f"_rlnCoordinate{axis} {n}\n" for axis, n in zip("XYZ", numbers, strict=True))
        caplog.clear()
        np.testing.assert_allclose(read_points(put(tmp_path, head + labels + rows)).points, [[20, 30, 40]])
        assert "their order is used" in caplog.text
    for ends in (("", "", ""), ("#1", "", "#3"), ("# x in pixels", "# y", "# z")):
        labels = "".join(f"_rlnCoordinate{axis} {end}\n" for axis, end in zip("XYZ", ends, strict=True))
        caplog.clear()
        np.testing.assert_allclose(read_points(put(tmp_path, head + labels + rows)).points, [[20, 30, 40]])
        assert not caplog.text


def test_a_label_among_the_rows_is_refused(tmp_path: Path) -> None:
    labels = "data_\n\nloop_\n_rlnTomoName #1\n_rlnCoordinateX #2\n_rlnCoordinateY #3\n_rlnCoordinateZ #4\n"
    for row in ("_rlnScore #5 1 2 3", "_rlnScore 40 30 20"):
        with pytest.raises(PointsFileError, match=r"row 2 \(line 9\): _rlnScore is a label; put it"):
            read_points(put(tmp_path, f"{labels}a 1 2 3\n{row}\n"))
    assert len(read_points(put(tmp_path, f"{labels}'_rlnA' 1 2 3\n_a 1 2 3\n"), tomogram_name="_a")) == 1


def test_two_tables_of_coordinates_are_refused(tmp_path: Path) -> None:
    """The particles of one of them would be lost."""
    tables = [loop("40 30 20", labels=LABELS[2:5], name=name) for name in ("particles", "more")]
    with pytest.raises(PointsFileError, match="data_particles and data_more both have coordinates"):
        read_points(put(tmp_path, "\n".join(tables)))
    empty = loop(labels=LABELS[2:5], name="particles")
    np.testing.assert_allclose(read_points(put(tmp_path, f"{empty}\n{tables[1]}")).points, [[20, 30, 40]])


@pytest.mark.parametrize("end", ["data_particles", "_rlnRandomSub", "_rlnRandomSubset #6"])
def test_a_file_that_ends_within_its_labels_is_refused(tmp_path: Path, end: str) -> None:
    """It is no table without particles."""
    text = loop()
    whole = text[: text.index(end) + len(end)]
    assert "the file ends within its labels" in refused(put(tmp_path, whole))
    assert len(read_points(put(tmp_path, text))) == 0
