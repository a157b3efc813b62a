"""What RELION 5 goes on from: names, sizes and paths have to be those of its project."""

from pathlib import Path

import numpy as np
import pytest
import starfile

from cryosam.errors import PointsFileError, VoxelSizeError
from cryosam.io import PointTable, TomogramPoints, read_points
from cryosam.io.relion_sets import write_optimisation_set

SHAPE = (5, 8, 13)  # z, y, x; of 10 angstrom, 4 times the tilt series' 2.5


def tomograms(folder: Path, sizes: str = "54 32 20", columns: str = "SizeX SizeY SizeZ") -> Path:
    """A set of two tomograms; binned to 13.5 x 8 x 5 voxels, of which the half is cut off."""
    names = ["TomoName", "TomoTiltSeriesPixelSize", "TomoReconstructedTomogram", *(f"Tomo{c}" for c in columns.split())]
    header = "".join(f"_rln{name}\n" for name in names)
    rows = f"TS_01 2.5 Tomograms/job009/tomograms/rec_TS_01.mrc {sizes}\nTS_02 2.5 rec_TS_02.mrc {sizes}\n"
    (folder / "tomograms.star").write_text(f"data_global\n\nloop_\n{header}{rows}\n")
    return folder / "tomograms.star"


def part(name: str = "rec_TS_01", size: float | None = 10.0) -> TomogramPoints:
    return TomogramPoints(
        table=PointTable(np.array([[1.0, 6.0, 11.0]])), name=name, shape=SHAPE, voxel_size_angstrom=size
    )


def test_coordinates_count_from_the_centre_of_the_unbinned_tomogram(tmp_path: Path) -> None:
    """Voxel 11 along x is pixel 44 of 54, whose centre is 27: 17 pixels of 2.5 angstrom, and not 4.5 voxels of 10."""
    write_optimisation_set(tmp_path, [part()], tomograms(tmp_path))
    row = starfile.read(tmp_path / "particles.star").iloc[0]
    assert row["rlnTomoName"] == "TS_01"  # as in the set, though the file is rec_TS_01.mrc
    found = [row[f"rlnCenteredCoordinate{axis}Angst"] for axis in "XYZ"]
    np.testing.assert_allclose(found, [(44 - 27) * 2.5, (24 - 16) * 2.5, (4 - 10) * 2.5])


def test_the_optimisation_set_names_both_files_and_is_read_back(tmp_path: Path) -> None:
    several = [part("TS_01"), part("elsewhere/rec_TS_02.mrc")]
    write_optimisation_set(tmp_path, several, tomograms(tmp_path, "52 32 20"))
    said = starfile.read(tmp_path / "optimisation_set.star", always_dict=True)["optimisation_set"]
    assert said == {
        "rlnTomoParticlesFile": str(tmp_path / "particles.star"),
        "rlnTomoTomogramsFile": str(tmp_path / "tomograms.star"),
    }
    assert list(starfile.read(tmp_path / "particles.star", always_dict=True)) == ["particles"]  # optics are the set's
    table = read_points(
        tmp_path / "optimisation_set.star", shape=SHAPE, voxel_size_angstrom=10.0, tomogram_name="TS_02.mrc"
    )
    np.testing.assert_allclose(table.points, [[1, 6, 11]])


def test_paths_of_a_set_are_those_of_its_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RELION writes them from the project's folder; the set lies in a job's."""
    job = tmp_path / "Picks" / "job010"
    job.mkdir(parents=True)
    tomograms(tmp_path, "52 32 20")
    monkeypatch.chdir(tmp_path)
    write_optimisation_set(Path("Picks/job010"), [part()], Path("tomograms.star"))
    monkeypatch.chdir(job.parent)  # from anywhere in it
    table = read_points(job / "optimisation_set.star", shape=SHAPE, voxel_size_angstrom=10.0)
    np.testing.assert_allclose(table.points, [[1, 6, 11]])
    (job / "particles.star").unlink()
    with pytest.raises(PointsFileError, match=r"refers to Picks/job010/particles\.star, which does not exist"):
        read_points(job / "optimisation_set.star", shape=SHAPE, voxel_size_angstrom=10.0)


def test_what_does_not_fit_the_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PointsFileError, match=r"no tomogram TS_07 in this set; it has TS_01, TS_02"):
        write_optimisation_set(tmp_path, [part("TS_07")], tomograms(tmp_path))
    with pytest.raises(PointsFileError, match=r"TS_01 has 5 x 8 x 26 voxels .* searched tomogram has 5 x 8 x 13"):
        write_optimisation_set(tmp_path, [part()], tomograms(tmp_path, "104 32 20"))
    with pytest.raises(PointsFileError, match="not a tomogram set of RELION 5"):
        write_optimisation_set(tmp_path, [part()], tomograms(tmp_path, "54 32", columns="SizeX SizeY"))
    with pytest.raises(PointsFileError, match="size of a tomogram is not a number"):
        write_optimisation_set(tmp_path, [part()], tomograms(tmp_path, "54 32 thin"))
    for size in ("nan", "inf", "0"):
        with pytest.raises(PointsFileError, match="size of a tomogram is not a positive number"):
            write_optimisation_set(tmp_path, [part()], tomograms(tmp_path, f"{size} 32 20"))
    with pytest.raises(VoxelSizeError, match="RELION 5 needs the voxel size of rec_TS_01"):
        write_optimisation_set(tmp_path, [part(size=None)], tomograms(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {"tomograms.star"}
