"""Points land on the voxel that the file means, and come back as they were written, in every format."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import starfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from cryosam.errors import InputNotFoundError, OutputError, PointsFileError, VoxelSizeError
from cryosam.io import PointTable, read_points, write_points
from cryosam.io.relion import angles_to_rotations, centred_to_voxels, rotations_to_angles, voxels_to_centred

SHAPE = (5, 8, 13)  # z, y, x; odd and even


def file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def star(
    folder: Path, columns: str, *rows: str, optics: tuple[str, str] | None = None, name: str = "particles"
) -> Path:
    """A STAR file from short names of columns and rows, with an optics block if given."""

    def block(title: str, names: str, lines: Sequence[str]) -> str:
        header = "".join(f"_rln{column} #{i}\n" for i, column in enumerate(names.split(), 1))
        return f"\n# version 30001\n\ndata_{title}\n\nloop_ \n{header}" + "".join(f"{line} \n" for line in lines) + "\n"

    text = block("optics", optics[0], [optics[1]]) if optics else ""
    return file(folder, "p.star", text + block(name, columns, rows))


XYZ = "CoordinateX CoordinateY CoordinateZ"
CENTRED = "CenteredCoordinateXAngst CenteredCoordinateYAngst CenteredCoordinateZAngst"

# --- literal files, answers worked out by hand ------------------------------------------------------------------------

RELION_4 = """
# version 30001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnSphericalAberration #3
_rlnVoltage #4
_rlnTomoTiltSeriesPixelSize #5
_rlnImagePixelSize #6
           1 opticsGroup1     2.700000   300.000000     2.500000     5.000000


# version 30001

data_particles

loop_
_rlnTomoName #1
_rlnCoordinateX #2
_rlnCoordinateY #3
_rlnCoordinateZ #4
_rlnAngleRot #5
_rlnOriginXAngst #6
_rlnOriginYAngst #7
_rlnOriginZAngst #8
_rlnClassNumber #9
_rlnOpticsGroup #10
_rlnAutopickFigureOfMerit #11
    TS_01   120.000000    80.000000    40.000000    15.300000     0.000000     0.000000     0.000000  2  1  0.812000
    TS_01    44.000000    28.000000    16.000000     0.000000    10.000000    -5.000000    20.000000  1  1  0.640000
"""

RELION_5 = """
# version 50001

data_

_rlnTomoSubTomosAre2DStacks                       1


# version 50001

data_optics

loop_
_rlnOpticsGroup #1
_rlnOpticsGroupName #2
_rlnTomoTiltSeriesPixelSize #3
           1 optics1     2.500000


# version 50001

data_particles

loop_
_rlnTomoName #1
_rlnCenteredCoordinateXAngst #2
_rlnCenteredCoordinateYAngst #3
_rlnCenteredCoordinateZAngst #4
_rlnOriginXAngst #5
_rlnOriginYAngst #6
_rlnOriginZAngst #7
_rlnOpticsGroup #8
    TS_01     0.000000     0.000000     0.000000     0.000000     0.000000     0.000000     1
    TS_01   -65.000000    10.000000    -5.000000     0.000000     0.000000    10.000000     1
"""


def test_relion_4_counts_pixels_of_the_tilt_series_from_0(tmp_path: Path) -> None:
    """Bin 4 of 2.5 angstrom: x 120 is voxel 30; the origin 10 angstrom is 1 voxel, and is subtracted."""
    table = read_points(file(tmp_path, "p.star", RELION_4), voxel_size_angstrom=10.0)
    np.testing.assert_allclose(table.points, [[10, 20, 30], [4 - 2, 7 + 0.5, 11 - 1]])
    np.testing.assert_allclose(table.scores, [0.812, 0.64])
    assert table.names == ("2", "1")
    np.testing.assert_allclose(table.select("1").points, [[2, 7.5, 10]])


def test_relion_5_counts_angstrom_from_half_the_size_not_rounded(tmp_path: Path) -> None:
    """The centre of 5 x 8 x 13 voxels is (2.5, 4, 6.5), as in ``TomogramSet::loadTomogram``: centre = w / 2.0."""
    table = read_points(file(tmp_path, "p.star", RELION_5), shape=SHAPE, voxel_size_angstrom=10.0)
    np.testing.assert_allclose(table.points, [[2.5, 4, 6.5], [2.5 - 0.5 - 1, 4 + 1, 6.5 - 6.5]])
    assert table.scores is None
    assert table.names is None


def test_one_particle_is_on_one_voxel_in_every_format(tmp_path: Path) -> None:
    """Voxel (1, 6, 11) of 5 x 8 x 13 voxels of 10 angstrom, binned 4 times."""
    files = [
        file(tmp_path, "a.csv", "z,y,x\n1,6,11\n"),
        file(tmp_path, "b.csv", "name,X,Y,Z\nribosome,11,6,1\n"),
        star(tmp_path, XYZ, "11 6 1").rename(tmp_path / "relion31.star"),
        star(tmp_path, XYZ, "44 24 4", optics=("TomoTiltSeriesPixelSize", "2.5")).rename(tmp_path / "relion4.star"),
        star(tmp_path, CENTRED, "45 20 -15").rename(tmp_path / "relion5.star"),
    ]
    for path in files:
        table = read_points(path, shape=SHAPE, voxel_size_angstrom=10.0)
        np.testing.assert_allclose(table.points, [[1, 6, 11]], err_msg=path.name)


def test_written_relion_4_and_5_name_the_same_place(tmp_path: Path) -> None:
    """What is written, read by the library alone: bin 4, voxel (1, 6, 11)."""
    table = PointTable(
        np.array([[1.0, 6.0, 11.0]]), np.array([0.75]), names=("ribosome",), instances=np.array([3], dtype=np.int64)
    )
    for relion in (4, 5):
        write_points(
            tmp_path / f"{relion}.star",
            table,
            shape=SHAPE,
            voxel_size_angstrom=10.0,
            tomogram_name="TS_01",
            relion=relion,
            tilt_series_pixel_size_angstrom=2.5,
        )
    four, five = (starfile.read(tmp_path / f"{n}.star") for n in (4, 5))
    assert four["particles"].iloc[0].to_dict() == {
        "rlnCoordinateX": 44.0,
        "rlnCoordinateY": 24.0,
        "rlnCoordinateZ": 4.0,
        "rlnTomoName": "TS_01",
        "rlnTomoParticleName": "TS_01/3",
        "rlnAutopickFigureOfMerit": 0.75,
        "rlnClassNumber": 1,
        "rlnOpticsGroup": 1,
    }
    assert five["particles"].iloc[0, :4].to_list() == [45.0, 20.0, -15.0, "TS_01"]
    assert not {"rlnAngleRot", "rlnOriginXAngst"} & set(five["particles"])  # not known, so not there
    for blocks in (four, five):
        assert blocks["optics"]["rlnTomoTiltSeriesPixelSize"].to_list() == [2.5]


def test_relion_5_takes_the_pixel_size_from_its_own_tomograms_unless_told(tmp_path: Path) -> None:
    """A voxel size passed off as the tilt series' pixel size would scale every coordinate by the binning."""
    write_points(tmp_path / "p.star", PointTable(np.ones((1, 3))), shape=SHAPE, voxel_size_angstrom=10.0)
    assert list(starfile.read(tmp_path / "p.star", always_dict=True)) == ["particles"]


# --- round trips ------------------------------------------------------------------------------------------------------


@st.composite
def columns(draw: st.DrawFn) -> dict[str, Any]:
    """Columns of a table of up to 6 rows, inside and outside of the tomogram."""
    n = draw(st.integers(0, 6))
    numbers = st.floats(-20, 3000)
    points = draw(hnp.arrays(float, (n, 3), elements=numbers))
    scores = draw(st.none() | hnp.arrays(float, n, elements=st.floats(0, 1)))
    instances = draw(st.none() | hnp.arrays(np.int64, n, elements=st.integers(0, 10**6)))
    names = draw(st.none() | st.lists(st.integers(1, 9).map(str), min_size=n, max_size=n).map(tuple))
    return {"points": points, "scores": scores, "names": names, "instances": instances}


def assert_same(found: PointTable, expected: PointTable, tolerance: float) -> None:
    np.testing.assert_allclose(found.points, expected.points, rtol=0, atol=tolerance)
    assert (found.scores is None) == (expected.scores is None)
    if expected.scores is not None:
        np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=tolerance)
    assert found.names == expected.names


@given(columns())
def test_csv_comes_back_to_the_third_decimal(tmp_path_factory: pytest.TempPathFactory, known: dict[str, Any]) -> None:
    table = PointTable(**known)
    path = tmp_path_factory.mktemp("csv") / "p.csv"
    write_points(path, table)
    found = read_points(path)
    if not len(table):  # an empty column does not tell whether it was known
        assert len(found) == 0
        return
    assert_same(found, table, 0.00051)
    assert (found.instances is None) == (table.instances is None)
    if table.instances is not None:
        np.testing.assert_array_equal(found.instances, table.instances)


@given(
    columns(),
    st.sampled_from([4, 5]),
    st.floats(1, 30),
    st.sampled_from([None, 1.0, 1.005, 2.0, 4.0, 7.3]),
    st.tuples(*[st.integers(1, 1500)] * 3),
)
def test_star_comes_back_to_the_fifth_decimal(
    tmp_path_factory: pytest.TempPathFactory,
    known: dict[str, Any],
    relion: Literal[4, 5],
    voxel_size: float,
    binning: float | None,
    shape: tuple[int, int, int],
) -> None:
    table = PointTable(**known)
    path = tmp_path_factory.mktemp("star") / "p.star"
    write_points(
        path,
        table,
        shape=shape,
        voxel_size_angstrom=voxel_size,
        tomogram_name="TS_01",
        relion=relion,
        tilt_series_pixel_size_angstrom=None if binning is None else voxel_size / binning,
    )
    # six decimals of the pixel size are written: its relative error scales the coordinate
    tolerance = 1e-5 + (3000 * 5e-7 * (binning or 0) / voxel_size if relion == 4 else 0)
    for name in (None, "TS_01", "tomograms/TS_01.mrc"):
        found = read_points(path, shape=shape, voxel_size_angstrom=voxel_size, tomogram_name=name)
        assert_same(found, table, tolerance)


@given(hnp.arrays(float, (3, 3), elements=st.floats(-1e4, 1e4)), st.tuples(*[st.integers(1, 2000)] * 3))
def test_centred_coordinates_round_trip(points: np.ndarray, shape: tuple[int, int, int]) -> None:
    back = centred_to_voxels(voxels_to_centred(points, shape, 7.84), shape, 7.84)
    np.testing.assert_allclose(back, points, atol=1e-9)


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_points(tmp_path / f"{name}.star", PointTable(np.ones((2, 3))), relion=4)
    assert (tmp_path / "a.star").read_bytes() == (tmp_path / "b.star").read_bytes()
    assert (tmp_path / "a.star").read_text().startswith("# version 30001\n")


@pytest.mark.parametrize("name", ["data_1", "_1", "#1", "my tomo", "it's", 'a"b', "loop_", "007", "nan", "1e5"])
def test_tomograms_with_awkward_names_come_back(tmp_path: Path, name: str) -> None:
    write_points(tmp_path / "p.star", PointTable(np.array([[1.0, 2.0, 3.0]])), relion=4, tomogram_name=name)
    table = read_points(tmp_path / "p.star", tomogram_name=name)
    np.testing.assert_array_equal(table.points, [[1, 2, 3]])


# --- CSV --------------------------------------------------------------------------------------------------------------


def test_csv_is_written_as_promised(tmp_path: Path) -> None:
    table = PointTable(
        np.array([[1.0, 22.25, 333.0], [-0.0001, 0.0, 5.0]]), np.array([0.9, 0.5]), instances=np.array([1, 2])
    )
    write_points(tmp_path / "p.csv", table)
    assert (tmp_path / "p.csv").read_bytes() == (
        b"z,y,x,score,instance\n1.000,22.250,333.000,0.90000,1\n0.000,0.000,5.000,0.50000,2\n"
    )
    write_points(tmp_path / "p.csv", PointTable(np.zeros((0, 3))))
    assert (tmp_path / "p.csv").read_text() == "z,y,x,score,instance\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("1,2,3\n4,5,6\n", r"first line has numbers, 1 2 3, not column names"),
        ("z,y\n1,2\n", "no column x; the columns are z, y"),
        ("x_angstrom,y,z\n1,2,3\n", "no column x; the columns are x_angstrom, y, z"),
        ("z;y;x\n1;2;3\n", r"no column z or y or x; the columns are z;y;x.*separated by commas"),
        ("z,y,x\n1,2,3\n4,nan,6\n", "line 3: y is 'nan'"),
        ("z,y,x\n1,2,3\n\n4,5,inf\n", "line 4: x is 'inf'"),
        ("z,y,x\n1,two,3\n", "line 2: y is 'two'"),
        ("z,y,x\n1,2\n", "line 2: 2 values for 3 columns"),
        ("z,y,x\n1,5,2,5,3,5\n", "line 2: 6 values for 3 columns; decimals"),
        ("z,y,x,score\n1,2,3,0.5\n1,2,3,\n", "line 3: score is ''"),
        ("z,y,x,instance\n1,2,3,1.5\n", "line 2: instance is 1.5, not a whole number"),
        ("z,y,x,Z\n1,2,3,4\n", "two columns are named z"),
    ],
)
def test_csv_that_cannot_be_used_says_where(tmp_path: Path, text: str, message: str) -> None:
    path = file(tmp_path, "p.csv", text)
    with pytest.raises(PointsFileError, match=message) as caught:
        read_points(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_csv_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """Mark at the start, Windows line ends, spaces, quotes, empty cells in further columns, an empty last line."""
    path = tmp_path / "p.csv"
    path.write_bytes(b'\xef\xbb\xbf Z , "Y", X ,Score,Class,comment\r\n1.5, 2,3,,"a, b",\r\n\r\n')
    table = read_points(path)
    np.testing.assert_array_equal(table.points, [[1.5, 2, 3]])
    assert (table.scores, table.names, table.instances) == (None, ("a, b",), None)


def test_csv_with_names_and_no_points_is_an_empty_table(tmp_path: Path) -> None:
    table = read_points(file(tmp_path, "p.csv", "z,y,x,score,instance\n"))
    assert table.points.shape == (0, 3)


def test_shifts_of_cryocat_are_added_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    header = "score,tomo_id,x,y,z,shift_x,shift_y,shift_z,phi,psi,theta,class\n"
    path = file(tmp_path, "motl.csv", f"{header}0.5,1.0,26,106,65,0.0,-0.5,0.25,1,2,3,1\n0.4,2.0,7,8,9,0,0,0,0,0,0,1\n")
    with caplog.at_level(logging.INFO):
        table = read_points(path, tomogram_name="1")
    np.testing.assert_array_equal(table.points, [[65.25, 105.5, 26]])
    assert (table.tomogram_name, table.names) == ("1", ("1",))
    assert "shift_x, shift_y and shift_z were added to x, y and z, as in cryoCAT" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        np.testing.assert_array_equal(read_points(path, tomogram_name="2").points, [[9, 8, 7]])
    assert not caplog.records  # nothing was added
    with pytest.raises(
        PointsFileError, match=r"2 tomograms \(1, 2\), and 0 of them match 'TS_01'; name one with --name"
    ):
        read_points(path, tomogram_name="TS_01")


@pytest.mark.parametrize("name", ["p.txt", "p.csv"])
@pytest.mark.parametrize(
    "text", ["30 20 10\n6 5 4\n", "\ufeff 30, 20,10\r\n\r\n6;5 ; 4", "# x y z\n30\t20\t10\n6 5 4\n"]
)
def test_a_list_is_read_in_the_order_that_is_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, name: str
) -> None:
    path = file(tmp_path, name, text)
    with caplog.at_level(logging.INFO):
        np.testing.assert_array_equal(read_points(path, axes="xyz").points, [[10, 20, 30], [4, 5, 6]])
    assert "a list of x, y, z in voxels counted from 0" in caplog.text
    np.testing.assert_array_equal(read_points(path, axes="yzx").points, [[20, 30, 10], [5, 6, 4]])


def test_an_index_without_a_name_is_no_list(tmp_path: Path) -> None:
    """As pandas writes it."""
    np.testing.assert_array_equal(read_points(file(tmp_path, "p.csv", ",z,y,x\n0,20,30,40\n")).points, [[20, 30, 40]])


@pytest.mark.parametrize(
    ("text", "axes", "message"),
    [
        ("30 20 10\n", None, "first line has numbers, 30 20 10, not column names.* --axes xyz"),
        ("# x y z\n30 20 10\n", None, "first line has numbers, 30 20 10, not column names.* --axes xyz"),
        ("30 20 10 1\n", "xyz", "line 1: 4 values, but a list has three per line"),
        ("1,5 2,5 3,5\n", "xyz", "line 1: 6 values, but a list has three per line; decimals are written 1.5"),
        ("30 20 10\n30 20\n", "xyz", "line 2: 2 values"),
        ("30 20 10\n30 a 10\n", "xyz", "line 2: y is 'a', not a number"),
        ("x,y,z\n30,20,10\n", "xyz", "line 1: these are column names; leave out the order xyz"),
        ("30 20 10\n", "xyy", "must name x, y and z once"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(tmp_path: Path, text: str, axes: str | None, message: str) -> None:
    path = file(tmp_path, "p.txt", text)
    with pytest.raises(PointsFileError, match=message) as caught:
        read_points(path, axes=axes)
    assert "\n" not in str(caught.value)


def test_an_order_is_for_lists_only(tmp_path: Path) -> None:
    with pytest.raises(PointsFileError, match="this format says which axis is which"):
        read_points(star(tmp_path, XYZ, "30 20 10"), axes="xyz")
    with pytest.raises(PointsFileError, match=r"lists are read, not written; give a name that ends in \.csv"):
        write_points(tmp_path / "p.txt", PointTable(np.zeros((0, 3))))


def test_points_outside_the_tomogram_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first voxel reaches from -0.5 to 0.5, the last along z, of 5, to 4.5."""
    path = file(tmp_path, "p.csv", "z,y,x\n-0.5,0,0\n4.5,7.5,12.5\n4.6,7,12\n2,2,-0.6\n120,80,40\n")
    with caplog.at_level(logging.WARNING):
        assert len(read_points(path)) == 5
        assert not caplog.records
        assert len(read_points(path, shape=SHAPE)) == 5
    assert "3 of 5 points are outside the tomogram of 5 x 8 x 13 voxels (z, y, x), such as 4.6,7,12" in caplog.text


def test_binary_file_called_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(bytes(range(256)))
    with pytest.raises(PointsFileError, match="not a text file"):
        read_points(tmp_path / "p.csv")


def test_the_shared_answer_is_read(shared_data: Path) -> None:
    """Header name,class,instance,z,y,x; its first line is 5mrc,1,1,19.28,188.46,57.32."""
    table = read_points(shared_data / "tomo_dev" / "particles.csv")
    first = table.select("5mrc")
    np.testing.assert_allclose(first.points[0], [19.28, 188.46, 57.32])
    assert first.instances is not None
    assert first.instances[0] == 1
    assert len(set(table.names or ())) == 6


# --- STAR: which unit, which tomogram ---------------------------------------------------------------------------------


def test_scaling_is_logged_with_its_ratio(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = file(tmp_path, "p.star", RELION_4)
    with caplog.at_level(logging.WARNING):
        read_points(path, voxel_size_angstrom=2.52)  # within 1 %: the same pixels
        assert not caplog.records
        read_points(path, voxel_size_angstrom=10.0)
    assert "divided by 4 " in caplog.text


def test_pixels_stay_pixels_within_one_percent(tmp_path: Path) -> None:
    path = star(tmp_path, XYZ, "30 20 10", optics=("TomoTiltSeriesPixelSize", "13.48"))
    np.testing.assert_array_equal(read_points(path, voxel_size_angstrom=13.5).points, [[10, 20, 30]])


def test_pixels_of_a_known_size_ask_for_the_voxel_size(tmp_path: Path) -> None:
    """Taken for voxels, the pixels of a tilt series would be a binning too large."""
    for size in ("TomoTiltSeriesPixelSize", "MicrographPixelSize", "DetectorPixelSize", "PixelSize", "ImagePixelSize"):
        for name, row in (("TS_01", "120 80 40 TS_01"), ("Warp", "120 80 40 TS_01.tomostar")):
            path = star(tmp_path, f"{XYZ} TomoName", row, optics=(size, "2.5"))
            if name == "Warp" and size in ("TomoTiltSeriesPixelSize", "MicrographPixelSize"):
                continue  # not the size of Warp's coordinates
            with pytest.raises(VoxelSizeError, match=r"pixels of 2.5 angstrom.*the voxel size is unknown; give it"):
                read_points(path)
    np.testing.assert_array_equal(read_points(star(tmp_path, XYZ, "120 80 40")).points, [[40, 80, 120]])
    assert not len(read_points(star(tmp_path, XYZ, optics=("TomoTiltSeriesPixelSize", "2.5"))))


@pytest.mark.parametrize("size", [None, 10.0, 10.04])
@pytest.mark.parametrize(
    ("optics", "row"),
    [
        (("TomoTomogramBinning", "4"), "120 80 40 TS_01"),
        (("TomoTiltSeriesPixelSize TomoTomogramBinning", "2.5 4"), "120 80 40 TS_01"),
        (("ImagePixelSize TomoTomogramBinning", "5 4"), "120 80 40 TS_01"),
        (("TomoTiltSeriesPixelSize ImagePixelSize TomoTomogramBinning", "2.5 5 4"), "60 40 20 TS_01.tomostar"),
    ],
)
def test_the_binning_in_the_file_gives_one_answer(
    tmp_path: Path, optics: tuple[str, str], row: str, size: float | None
) -> None:
    path = star(tmp_path, f"{XYZ} TomoName", row, optics=optics)
    np.testing.assert_allclose(read_points(path, voxel_size_angstrom=size).points, [[10, 20, 30]], rtol=0.005)


def test_a_voxel_size_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    for columns, row in ((XYZ, "120 80 40"), (CENTRED, "1 2 3")):
        path = star(tmp_path, columns, row, optics=("TomoTiltSeriesPixelSize TomoTomogramBinning", "2.5 4"))
        message = "2.5 angstrom and rlnTomoTomogramBinning 4 make voxels of 10 angstrom, but the voxel size is 1;"
        with pytest.raises(VoxelSizeError, match=message):
            read_points(path, shape=SHAPE, voxel_size_angstrom=1.0)


def test_shifts_are_divided_by_the_pixel_size_that_the_binning_gives(tmp_path: Path) -> None:
    path = star(tmp_path, f"{XYZ} OriginXAngst", "124 80 40 10", optics=("TomoTomogramBinning", "4"))
    np.testing.assert_allclose(read_points(path, voxel_size_angstrom=10.0).points, [[10, 20, 30]])


def test_each_particle_has_the_pixel_size_of_its_own_optics_group(tmp_path: Path) -> None:
    path = star(
        tmp_path,
        f"{XYZ} OpticsGroup",
        "40 40 40 2",
        "40 40 40 1",
        optics=("OpticsGroup TomoTiltSeriesPixelSize", "1 5\n2 2.5"),
    )
    np.testing.assert_array_equal(read_points(path, voxel_size_angstrom=10.0).points[:, 0], [10, 20])
    with pytest.raises(PointsFileError, match="optics group 3"):
        read_points(
            star(tmp_path, f"{XYZ} OpticsGroup", "1 1 1 3", optics=("OpticsGroup TomoTiltSeriesPixelSize", "1 5")),
            voxel_size_angstrom=10.0,
        )


def test_the_size_of_particle_images_is_not_taken_for_that_of_the_coordinates(tmp_path: Path) -> None:
    path = star(tmp_path, XYZ, "30 20 10", optics=("ImagePixelSize", "5"))
    np.testing.assert_array_equal(read_points(path, voxel_size_angstrom=5.0).points, [[10, 20, 30]])
    with pytest.raises(PointsFileError, match="rlnImagePixelSize is 5 angstrom, but the voxel size is 10"):
        read_points(path, voxel_size_angstrom=10.0)


def test_a_refined_shift_is_turned_with_its_subtomogram(tmp_path: Path) -> None:
    """RELION's A for tilt 90 has rows (0, 0, -1), (0, 1, 0), (1, 0, 0): A (0, 0, 20) is (-20, 0, 0)."""
    columns = f"{XYZ} OriginXAngst OriginYAngst OriginZAngst TomoSubtomogramRot TomoSubtomogramTilt TomoSubtomogramPsi"
    path = star(tmp_path, columns, "30 20 10 0 0 20 0 90 0")
    np.testing.assert_allclose(read_points(path, voxel_size_angstrom=10.0).points, [[10, 20, 32]])


def test_a_shift_needs_a_pixel_size_and_the_old_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VoxelSizeError, match="rlnOriginX/Y/ZAngst"):
        read_points(star(tmp_path, f"{XYZ} OriginXAngst", "30 20 10 5"))
    np.testing.assert_array_equal(
        read_points(star(tmp_path, f"{XYZ} OriginXAngst OriginX", "30 20 10 0 0")).points, [[10, 20, 30]]
    )
    with pytest.raises(PointsFileError, match="relion_convert_star"):
        read_points(star(tmp_path, f"{XYZ} OriginX", "30 20 10 5"))


def test_one_tomogram_is_taken_from_several(tmp_path: Path) -> None:
    path = star(tmp_path, f"TomoName {XYZ}", "TS_01 3 2 1", "TS_10 6 5 4", "TS_01 9 8 7")
    np.testing.assert_array_equal(read_points(path, tomogram_name="TS_01").points, [[1, 2, 3], [7, 8, 9]])
    with pytest.raises(PointsFileError, match=r"2 tomograms \(TS_01, TS_10\), and none is chosen"):
        read_points(path)
    with pytest.raises(PointsFileError, match=r"0 of them match 'TS_1'"):
        read_points(path, tomogram_name="TS_1")


def test_a_tomogram_is_found_by_its_files_name(tmp_path: Path) -> None:
    path = star(tmp_path, f"MicrographName {XYZ}", "Tomograms/job7/a_10.00Apx.mrc 3 2 1", "b.tomostar 6 5 4", "7 9 8 7")
    for name, z in [("a_10.00Apx", 1), ("other/a_10.00Apx.mrc.gz", 1), ("b", 4), ("b.rec", 4), ("7", 7)]:
        np.testing.assert_array_equal(read_points(path, tomogram_name=name).points[:, 0], [z], err_msg=name)
    path = star(tmp_path, f"MicrographName {XYZ}", "one/a.mrc 3 2 1", "two/a.mrc 6 5 4")
    np.testing.assert_array_equal(read_points(path, tomogram_name="two/a.mrc").points[:, 0], [4])
    with pytest.raises(PointsFileError, match="2 of them match 'a'"):
        read_points(path, tomogram_name="a")


def test_the_only_tomogram_is_taken_under_another_name_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = star(tmp_path, f"TomoName {XYZ}", "TS_01 3 2 1")
    np.testing.assert_array_equal(read_points(path, tomogram_name="rec_final").points, [[1, 2, 3]])
    assert "TS_01" in caplog.text
    assert "rec_final" in caplog.text


def test_star_without_points_is_an_empty_table(tmp_path: Path) -> None:
    table = read_points(star(tmp_path, f"TomoName {XYZ} AutopickFigureOfMerit"), tomogram_name="TS_01")
    assert table.points.shape == (0, 3)
    assert table.scores is not None
    assert table.scores.shape == (0,)


# --- STAR: what cannot be used ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a STAR file"),
        ("z,y,x\n1,2,3\n", "not a STAR file"),
        ("data_particles\n", "not a STAR file|no 3D coordinates"),
        ("data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n1 2\n", "no 3D.*columns are rlnCoordinateX, rlnCoordinateY"),
        (
            "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 2 3\n1 b 3\n",
            "row 2: rlnCoordinateY is 'b'",
        ),
        (
            "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 2 3\n1 2 inf\n",
            "row 2: rlnCoordinateZ is 'inf'",
        ),
    ],
)
def test_star_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = file(tmp_path, "p.star", text)
    with pytest.raises(PointsFileError, match=message) as caught:
        read_points(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_row_is_that_of_the_file_not_of_the_tomogram(tmp_path: Path) -> None:
    path = star(tmp_path, f"TomoName {XYZ}", "a 3 2 1", "b 3 2 1", "b 3 2 bad")
    with pytest.raises(PointsFileError, match="row 3: rlnCoordinateZ is 'bad'"):
        read_points(path, tomogram_name="b")
    np.testing.assert_array_equal(read_points(path, tomogram_name="a").points, [[1, 2, 3]])


def test_binary_file_called_star_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.star").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(PointsFileError, match="not a STAR file"):
        read_points(tmp_path / "p.star")


def test_relion_5_needs_shape_and_voxel_size(tmp_path: Path) -> None:
    path = file(tmp_path, "p.star", RELION_5)
    with pytest.raises(PointsFileError, match="shape"):
        read_points(path, voxel_size_angstrom=10.0)
    with pytest.raises(VoxelSizeError, match="voxel size"):
        read_points(path, shape=SHAPE)
    table = PointTable(np.zeros((1, 3)))
    with pytest.raises(PointsFileError, match="shape"):
        write_points(tmp_path / "new.star", table, voxel_size_angstrom=10.0)
    with pytest.raises(VoxelSizeError, match="voxel size"):
        write_points(tmp_path / "new.star", table, relion=4, tilt_series_pixel_size_angstrom=2.5)
    assert not (tmp_path / "new.star").exists()


@pytest.mark.parametrize("size", ["0", "-1"])
def test_impossible_pixel_size_is_refused(tmp_path: Path, size: str) -> None:
    path = star(tmp_path, XYZ, "3 2 1", optics=("TomoTiltSeriesPixelSize", size))
    with pytest.raises(PointsFileError, match=r"must be greater than 0"):
        read_points(path, voxel_size_angstrom=10.0)


# --- both -------------------------------------------------------------------------------------------------------------


def test_absent_files_folders_and_unknown_formats(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        read_points(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(PointsFileError, match="cannot be read"):
        read_points(tmp_path / "folder.csv")
    with pytest.raises(PointsFileError, match=r"unknown points format.*\.csv, \.txt, \.star.* or \.em"):
        read_points(tmp_path / "picks.doc")
    with pytest.raises(PointsFileError, match="unknown points format"):
        write_points(tmp_path / "picks.doc", PointTable(np.zeros((0, 3))))


@pytest.mark.parametrize("suffix", ["csv", "star"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / f"p.{suffix}"
    write_points(path, PointTable(np.ones((1, 3))), relion=4)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OutputError, match="No space left"):
        write_points(path, PointTable(np.zeros((2, 3))), relion=4)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_tables_refuse_what_does_not_fit(unchecked: None) -> None:
    with pytest.raises(PointsFileError, match="three finite numbers"):
        PointTable(np.array([[1.0, np.nan, 2.0]]))
    with pytest.raises(PointsFileError, match="2 points but 1 scores"):
        PointTable(np.zeros((2, 3)), np.array([1.0]))
    table = PointTable(np.zeros((2, 3)), names=("a", "b"))
    with pytest.raises(PointsFileError, match="no point is named 'c'; the names are a, b"):
        table.select("c")
    with pytest.raises(PointsFileError, match="have no names"):
        PointTable(np.zeros((2, 3))).select("a")


def relion_matrix(rot, tilt, psi):
    """RELION's matrix of Euler angles, element by element; it turns the reference onto the particle, x, y, z."""
    (ca, cb, cg), (sa, sb, sg) = (f(np.radians([rot, tilt, psi])) for f in (np.cos, np.sin))
    return np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )


def test_angles_are_those_of_relion() -> None:
    rotations = Rotation.random(20, random_state=0)
    for rotation, angles in zip(rotations, rotations_to_angles(rotations), strict=True):
        reference_zyx = np.array([0.3, -1.0, 2.0])
        np.testing.assert_allclose(
            relion_matrix(*angles) @ reference_zyx[::-1], rotation.apply(reference_zyx)[::-1], atol=1e-12
        )
    back = angles_to_rotations(rotations_to_angles(rotations))
    np.testing.assert_allclose((back * rotations.inv()).magnitude(), 0, atol=1e-7)


def test_orientations_survive_the_star_file(tmp_path) -> None:
    table = PointTable(np.arange(15.0).reshape(5, 3), rotations=Rotation.random(5, random_state=1))
    write_points(tmp_path / "p.star", table, relion=4)
    back = read_points(tmp_path / "p.star")
    assert back.rotations is not None
    np.testing.assert_allclose((back.rotations * table.rotations.inv()).magnitude(), 0, atol=1e-6)
    assert back.take(np.array([3])).rotations is not None


# --- byte-order marks -------------------------------------------------------------------------------------------------

TEXTS = {
    "p.csv": "z,y,x,name\n10,20,30,ring\n",
    "p.ndjson": '{"type": "point", "location": {"x": 30, "y": 20, "z": 10}}\n',
    "p.tbl": " ".join(["0"] * 23 + ["31", "21", "11"]) + "\n",
    "p.star": "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n30 20 10\n",
    "p.json": '{"pickable_object_name": "ring", "points": [{"location": {"x": 300, "y": 200, "z": 100}}]}',
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_byte_order_mark_is_skipped(tmp_path: Path, name: str, encoding: str) -> None:
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (tmp_path / name).write_bytes(mark + TEXTS[name].encode(encoding))
    np.testing.assert_array_equal(read_points(tmp_path / name, voxel_size_angstrom=10.0).points, [[10, 20, 30]])


def test_names_of_numbered_tomograms_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "p.tbl").write_text(TEXTS["p.tbl"])
    (tmp_path / "p.doc").write_text("0 TS_01\n", encoding="utf-8-sig")
    np.testing.assert_array_equal(read_points(tmp_path / "p.tbl", tomogram_name="TS_01").points, [[10, 20, 30]])
