import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import cryosam
from cryosam.config import Config, read_config
from cryosam.errors import InputError, InputNotFoundError, OutputError, OutputExistsError, VoxelSizeError
from cryosam.evaluation.simulation import SimulationConfig, simulate
from cryosam.io import folders, read_points, read_volume, results, write_volume
from cryosam.io.earlier_results import read_labels, read_result_points, read_results
from cryosam.io.folders import check_output
from cryosam.io.phantoms import read_densities, write_simulated
from cryosam.io.results import OUTPUTS, RunInfo, write_segmentation
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.results import Average, ScoreMap, Segmentation
from cryosam.run_report import RunReport, RunWarning
from cryosam.tomogram import Tomogram

SHAPE = (7, 9, 13)
PROMPTS = PointPrompts(np.array([[2.0, 3.0, 4.0], [6.0, 8.0, 12.0]]), np.array([True, False]))


def tomogram(voxel_size=8.0):
    return Tomogram(np.random.default_rng(0).integers(-9, 9, SHAPE).astype(np.int16), voxel_size, "t1")


def found(n=2, *, stride=2, voxel_size=8.0, with_masks=True):
    points = np.array([[2.0, 3.0, 4.0], [5.0, 6.0, 10.0], [1.0, 1.0, 1.0]])[:n]
    masks = tuple(InstanceMask(tuple(int(c) for c in p), np.ones((1, 2, 3), dtype=bool)) for p in points)
    cells = np.full([-(-s // stride) for s in SHAPE], 0.25, dtype=np.float32)
    cells[0, 0, 0] = np.nan
    return Segmentation(
        shape=SHAPE,
        points=points,
        scores=np.array([0.9, 0.6, 0.5])[:n],
        masks=masks if with_masks else (InstanceMask.empty(),) * n,
        score_map=ScoreMap(cells, stride),
        candidate_points=np.array([[2.0, 3.0, 4.0], [5.0, 6.0, 10.0], [0.0, 0.0, 7.0]]),
        candidate_scores=np.array([0.9, 0.6, 0.2]),
        candidate_masks=(InstanceMask.empty(),) * 3,
        threshold=0.45,
        average=Average(np.linspace(0, 1, 4**3, dtype=np.float32).reshape(4, 4, 4), 1.5),
        report=RunReport(contrast="dark", features_digest="abc", warnings=(RunWarning("doubt", "look twice"),)),
        voxel_size_angstrom=voxel_size,
        name="t1",
    )


def write(folder, segmentation=None, *, exports=(), **extra):
    volume = extra.pop("tomogram", tomogram())
    extra.setdefault("run", RunInfo(exports=exports))
    return write_segmentation(folder, segmentation or found(), tomogram=volume, prompts=PROMPTS, **extra)


def test_the_average_has_the_size_of_its_pixels(tmp_path):
    with mrcfile.open(write(tmp_path / "out") / "average.mrc") as mrc:
        np.testing.assert_allclose(mrc.data, found().average.data)
        assert mrc.voxel_size.x == pytest.approx(12.0)


def test_every_output_is_there_and_nothing_else(tmp_path):
    folder = write(tmp_path / "new" / "out")
    assert {p.name for p in folder.iterdir()} == set(OUTPUTS)
    assert {p.name for p in folder.parent.iterdir()} == {"out"}


def test_particles_csv_by_the_letter(tmp_path):
    lines = (write(tmp_path / "out") / "particles.csv").read_text().splitlines()
    assert lines == ["z,y,x,score,instance", "2.000,3.000,4.000,0.90000,1", "5.000,6.000,10.000,0.60000,2"]


def test_positions_survive_the_star_file(tmp_path):
    table = read_points(write(tmp_path / "out") / "particles.star", shape=SHAPE, voxel_size_angstrom=8.0)
    np.testing.assert_allclose(table.points, found().points, atol=1e-5)
    np.testing.assert_allclose(table.scores, [0.9, 0.6])


def test_without_a_voxel_size_the_star_file_is_in_voxels(tmp_path):
    folder = write(tmp_path / "out", found(voxel_size=None), tomogram=tomogram(None))
    np.testing.assert_allclose(read_points(folder / "particles.star").points, found().points)
    with mrcfile.open(folder / "score.mrc") as mrc:
        assert mrc.voxel_size.x == 0


def test_volumes_are_valid_small_and_in_place(tmp_path):
    folder = write(tmp_path / "out", run=RunInfo(origin_angstrom=(100.0, 200.0, 300.0)))
    for name, kind in (("instances.mrc", np.int8), ("semantic.mrc", np.int8), ("score.mrc", np.float32)):
        assert mrcfile.validate(folder / name)
        with mrcfile.open(folder / name) as mrc:
            assert mrc.data.dtype == kind
            assert mrc.is_volume()
    with mrcfile.open(folder / "instances.mrc") as mrc:
        labels = mrc.data
        assert mrc.voxel_size.x == pytest.approx(8)
        np.testing.assert_allclose([mrc.header.origin.z, mrc.header.origin.y, mrc.header.origin.x], [100, 200, 300])
    expected = np.zeros(SHAPE)
    expected[2, 3:5, 4:7], expected[5, 6:8, 10:13] = 1, 2
    np.testing.assert_array_equal(labels, expected)
    with mrcfile.open(folder / "semantic.mrc") as mrc:
        np.testing.assert_array_equal(mrc.data, expected > 0)


def test_score_map_overlays_the_tomogram_in_angstrom(tmp_path):
    folder = write(tmp_path / "out", found(stride=3), run=RunInfo(origin_angstrom=(100.0, 0.0, 0.0)))
    with mrcfile.open(folder / "score.mrc") as mrc:
        assert mrc.data.shape == (3, 3, 5)
        assert mrc.data[0, 0, 0] == -1  # was NaN: not evaluated
        assert mrc.data[1, 1, 1] == 0.25
        assert mrc.voxel_size.x == pytest.approx(24)
        # cell 0 covers voxels 0, 1, 2, so its centre is voxel 1, at 8 angstrom
        np.testing.assert_allclose([mrc.header.origin.z, mrc.header.origin.x], [108, 8])


def test_picks_without_masks_have_no_volumes_and_instance_zero(tmp_path):
    folder = write(tmp_path / "out", found(with_masks=False))
    assert not (folder / "instances.mrc").exists()
    assert [line[-1] for line in (folder / "particles.csv").read_text().splitlines()[1:]] == ["0", "0"]
    assert not read_results(folder).has_instances


def test_nothing_found_is_a_result_too(tmp_path):
    result = read_results(write(tmp_path / "out", found(0)))
    assert len(result.particles) == 0
    assert result.has_instances
    assert not result.read_instances().any()


def test_reading_back(tmp_path):
    result = read_results(write(tmp_path / "out"))
    np.testing.assert_allclose(result.particles.points, found().points)
    np.testing.assert_array_equal(result.particles.instances, [1, 2])
    np.testing.assert_array_equal(result.read_instances(), found().labels())


def test_run_json_says_how_to_do_it_again(tmp_path):
    config = Config().override(matching__threshold=0.45, diameter_angstrom=120.0)
    information = RunInfo(command="cryosam segment t1.mrc", input_path="/data/t1.mrc", seconds=3.5, config=config)
    folder = write(tmp_path / "out", run=information)
    run = read_results(folder).run
    assert run["command"] == "cryosam segment t1.mrc"
    assert run["input"] == {
        "path": "/data/t1.mrc",
        "name": "t1",
        "sha256": tomogram().digest(),
        "shape_zyx": list(SHAPE),
        "dtype": "int16",
        "voxel_size_angstrom": 8.0,
    }
    assert run["prompts"] == [{"zyx": [2, 3, 4], "is_positive": True}, {"zyx": [6, 8, 12], "is_positive": False}]
    assert (run["n_particles"], run["n_candidates"], run["threshold"]) == (2, 3, 0.45)
    assert run["warnings"] == ["look twice"]
    assert run["provenance"]["features_digest"] == "abc"
    assert run["versions"]["cryosam"] == cryosam.__version__
    assert run["versions"]["numpy"] == np.__version__
    assert run["peak_memory_bytes"] > 10**7
    assert set(run["outputs"]) == set(OUTPUTS)
    (tmp_path / "again.toml").write_text(run["configuration_toml"])
    assert read_config(tmp_path / "again.toml") == config


def test_a_folder_that_holds_anything_is_refused_and_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_overwriting_replaces_our_files_only(tmp_path):
    folder = write(tmp_path / "out")
    (folder / "notes.txt").write_text("mine")
    write(folder, found(1, with_masks=False), overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"
    assert {p.name for p in folder.iterdir()} == {"notes.txt", *OUTPUTS} - {"instances.mrc", "semantic.mrc"}
    assert len(read_results(folder).particles) == 1


@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_run_that_breaks_off_leaves_what_was_there(tmp_path, monkeypatch, existed, error):
    folder = tmp_path / "out"
    if existed:
        write(folder)
    before = {p.name: p.read_bytes() for p in folder.glob("*")}

    def fail(path, *_):
        if path.name == "semantic.mrc":
            path.write_bytes(b"half")
            raise error

    monkeypatch.setattr(results, "write_mrc_labels", fail)
    with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt):
        write(folder, found(1), overwrite=True)
    assert {p.name: p.read_bytes() for p in folder.glob("*")} == before
    assert [p.name for p in tmp_path.iterdir()] == (["out"] if existed else [])


def test_a_killed_run_leaves_no_half_file_under_a_final_name(tmp_path):
    script = f"""
from cryosam.io.folders import output_folder
from pathlib import Path
with output_folder(Path({str(tmp_path / "out")!r}), ["a.txt"]) as folder:
    (folder / "a.txt").write_text("half")
    print("written", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_run_json_is_of_one_run(tmp_path, monkeypatch):
    folder = write(tmp_path / "out")
    replace, moved = Path.replace, []

    def moving(self, target):
        assert not (folder / "run.json").exists()
        moved.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", moving)
    monkeypatch.setattr(folders, "atomic_path", None)  # not used for a folder that exists
    monkeypatch.setattr(results, "write_files", lambda place, *_: [(place / n).write_text("new") for n in OUTPUTS])
    write(folder, overwrite=True)
    assert moved == list(OUTPUTS)
    assert moved[-1] == "run.json"


def test_check_output_finds_out_before_the_work(tmp_path, monkeypatch):
    check_output(tmp_path / "new" / "er")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        check_output(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot write"):
        check_output(tmp_path / "file" / "below")
    with pytest.raises(OutputError, match=r"not enough space .* 1e\+09 GB"):
        check_output(tmp_path / "new", n_bytes=10**18)
    monkeypatch.setattr(folders.tempfile, "TemporaryFile", deny)
    with pytest.raises(OutputError, match="Permission denied"):
        check_output(tmp_path / "new")


def deny(**_):
    raise PermissionError(13, "Permission denied")


def test_a_folder_without_a_whole_result_is_refused(tmp_path):
    folder = write(tmp_path / "out")
    (folder / "run.json").unlink()
    with pytest.raises(InputNotFoundError, match=r"run\.json"):
        read_results(folder)


def test_labels_stored_as_floating_point(tmp_path):
    write_volume(tmp_path / "a.mrc", np.array([[[0.0, 3.0]], [[70000.0, 1.0]]], dtype=np.float32), None)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.mrc"), [[[0, 3]], [[70000, 1]]])
    write_volume(tmp_path / "b.mrc", np.array([[[0.5, 3.0]], [[7.0, 1.0]]], dtype=np.float32), None)
    with pytest.raises(InputError, match="not whole numbers"):
        read_labels(tmp_path / "b.mrc")


def test_a_simulation_is_written_with_its_answer(tmp_path):
    config = SimulationConfig(shape=(40, 42, 46), counts={"ring": 1, "barrel": 1}, n_vesicles=0, n_gold=0, n_debris=0)
    simulated = simulate(config)
    folder = write_simulated(tmp_path / "out", simulated)
    header, *rows = (folder / "particles.csv").read_text().splitlines()
    assert header == "name,class,instance,z,y,x"
    table = read_points(folder / "particles.csv")
    np.testing.assert_allclose(table.points, simulated.points, atol=0.006)
    assert table.names == simulated.names
    assert {row.split(",")[1] for row in rows if row.startswith("barrel")} == {"2"}
    instances, labels = read_labels(folder / "instances.mrc"), read_labels(folder / "labels.mrc")
    np.testing.assert_array_equal(instances, simulated.instances)
    for row in rows:
        name, number, instance, *_ = row.split(",")
        assert np.unique(labels[instances == int(instance)]).tolist() == [int(number)], name


def test_density_maps_are_scaled_to_the_tomogram(tmp_path):
    z, y, x = np.indices((21, 23, 25)) - np.array([10, 11, 12]).reshape(3, 1, 1, 1)
    ball = np.exp(-(z**2 + y**2 + x**2) / 50.0).astype(np.float32)
    write_volume(tmp_path / "ball.mrc", ball, 5.0)
    density = read_densities(tmp_path, 10.0)["ball"]
    assert density.max() == density[tuple(n // 2 for n in density.shape)]
    assert (density > 0.5).sum() == pytest.approx((ball > 0.5).sum() / 8, rel=0.2)
    shutil.rmtree(tmp_path)
    with pytest.raises(InputNotFoundError):
        read_densities(tmp_path, 10.0)


def test_other_programs_formats_are_written_beside_and_replaced_with_the_rest(tmp_path):
    folder = write(tmp_path / "out", exports=("warp", "dynamo", "em", "imod", "ndjson", "copick"))
    assert {p.name for p in folder.iterdir()} - set(OUTPUTS) == {
        "particles-warp.star",
        "particles.tbl",
        "particles.doc",
        "particles.em",
        "particles-t1.mod",
        "particles-t1-particle.ndjson",
        "copick",
    }
    outputs = json.loads((folder / "run.json").read_text())["outputs"]
    assert "Warp and M, voxels" in outputs["particles-warp.star"]
    assert outputs["particles-t1-particle.ndjson"] == "CryoET Data Portal"
    assert set(outputs) == {p.name for p in folder.iterdir()} - {"particles.doc"}
    for name in ("particles-warp.star", "particles.tbl", "particles-t1.mod", "copick"):
        table = read_points(folder / name, shape=SHAPE, voxel_size_angstrom=8.0, tomogram_name="t1")
        np.testing.assert_allclose(table.points, found().points, atol=1e-3)
    config = json.loads((folder / "copick" / "config.json").read_text())
    assert config["overlay_root"] == f"local://{folder / 'copick'}"  # not where it was written first
    masks = read_volume(folder / "copick/ExperimentRuns/t1/InstanceSegmentations/8.000_cryosam_0_particle.zarr")
    np.testing.assert_array_equal(masks, found().labels())
    mine = folder / "notes.txt"
    mine.write_text("mine")
    write(folder, exports=("copick",), overwrite=True)
    assert {p.name for p in folder.iterdir()} - set(OUTPUTS) == {"copick", "notes.txt"}
    write(folder, overwrite=True)
    assert {p.name for p in folder.iterdir()} - set(OUTPUTS) == {"notes.txt"}


def test_an_export_that_cannot_be_written_leaves_the_earlier_run(tmp_path):
    folder = write(tmp_path / "out")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(VoxelSizeError, match="warp needs the voxel size"):
        write(folder, found(voxel_size=None), tomogram=tomogram(None), exports=("warp",), overwrite=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_a_results_points_come_back_with_their_tomogram(tmp_path):
    turned = replace(found(), rotations=Rotation.from_euler("ZYX", [[10, 20, 30], [40, 50, 60]], degrees=True))
    part = read_result_points(write(tmp_path / "out", turned))
    assert (part.name, part.shape, part.voxel_size_angstrom, list(part.by_kind())) == ("t1", SHAPE, 8.0, ["particle"])
    np.testing.assert_allclose(part.table.points, turned.points)
    np.testing.assert_allclose(part.table.scores, turned.scores)
    assert part.table.instances.tolist() == [1, 2]
    assert (part.table.rotations * turned.rotations.inv()).magnitude().max() < 1e-5
    (tmp_path / "out" / "particles.star").write_text(
        "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n"
    )
    with pytest.raises(InputError, match=r"particles\.star has 0 particles, but particles\.csv has 2"):
        read_result_points(tmp_path / "out")
    (tmp_path / "out" / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run\.json does not describe its tomogram"):
        read_result_points(tmp_path / "out")


def test_classes_in_every_file_are_the_numbers_of_the_kinds(tmp_path):
    """Not of the order in which they happen to be found: semantic.mrc has the same."""
    best = replace(found(), kind="second", scores=np.array([0.95, 0.9]))
    combined = Segmentation.combine([replace(found(), kind="first"), best])
    assert combined.names[0] == "second"
    folder = write(tmp_path / "out", combined, exports=("dynamo", "em", "imod", "ndjson", "copick"))
    frame = {"shape": SHAPE, "voxel_size_angstrom": 8.0, "tomogram_name": "t1"}
    for name in ("particles-t1.mod", "copick"):
        table = read_points(folder / name, **frame)
        np.testing.assert_allclose(table.select("second").points, found().points, err_msg=name)
    np.testing.assert_allclose(read_points(folder / "particles-t1-first.ndjson").points, found().points)
    for name in ("particles.star", "particles.tbl", "particles.em"):
        table = read_points(folder / name, shape=SHAPE, voxel_size_angstrom=8.0)
        assert table.names == tuple({"first": "1", "second": "2"}[kind] for kind in combined.names)
    assert read_result_points(folder).kinds == ("first", "second")


def test_the_maps_of_each_kind_outlive_an_overwrite(tmp_path):
    """The names of the earlier run are those of the new one."""
    both = Segmentation.combine([replace(found(), kind="first"), replace(found(), kind="second")])
    for overwrite in (False, True):
        folder = write(tmp_path / "out", both, overwrite=overwrite)
    for name in ("average-first.mrc", "score-first.mrc", "average-second.mrc", "score-second.mrc"):
        assert (folder / name).is_file()
