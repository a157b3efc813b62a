"""Batches of real searches: what is done, what is left alone, and what survives a kill."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cryosam.batch import work
from cryosam.batch.coordinator import plan_batch, run_batch
from cryosam.batch.jobs import Job, Outcome
from cryosam.batch.ledger import Ledger
from cryosam.batch.project import read_project
from cryosam.batch.work import search_tomogram
from cryosam.cli import main
from cryosam.config import Config
from cryosam.errors import ConflictError
from cryosam.io import read_points, read_tomogram, write_volume
from cryosam.io.queries import write_queries
from cryosam.prompts import PointPrompts
from cryosam.segmentation import make_queries
from scenes import BALLS, phantom

QUICK = Config().override(averaging__is_on=False, propagation__smoothing=1.0)
PROJECT = """
tomograms = "t/*.mrc"
query = "q.npz"
out = "results"
[settings.averaging]
is_on = false
[settings.propagation]
smoothing = 1.0
"""
VOLATILE = {"seconds", "peak_memory_bytes", "started", "command", "platform"}


@pytest.fixture(scope="module")
def query_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("query") / "q.npz"
    queries, _ = make_queries(phantom(), [PointPrompts(BALLS[:1], name="ball")], QUICK)
    write_queries(path, queries)
    return path


@pytest.fixture
def folder(tmp_path, query_file) -> Path:
    """Three tomograms, in one of which nothing is, and a damaged one."""
    (tmp_path / "t").mkdir()
    for k, name in enumerate("abc"):
        tomogram = phantom(offset=(k, -k, 2 * k))
        write_volume(tmp_path / "t" / f"{name}.mrc", tomogram.data, 10.0)
    (tmp_path / "t" / "bad.mrc").write_bytes((tmp_path / "t" / "a.mrc").read_bytes()[:3000])
    (tmp_path / "q.npz").write_bytes(query_file.read_bytes())
    (tmp_path / "project.toml").write_text(PROJECT)
    return tmp_path


def job_of(folder: Path, name: str = "a") -> Job:
    return next(job for job in read_project(folder / "project.toml").jobs if job.name == name)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["batch", *map(str, arguments)])


def content(folder: Path) -> dict[str, object]:
    """All that a folder of results holds, but times, memory and where it lies."""
    found: dict[str, object] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".mrc":
            data = path.read_bytes()
            found[path.name] = data[:224] + data[1024:]  # a label in the header has the time
        elif path.name == "run.json":
            told = json.loads(path.read_text())
            told["provenance"] = {k: v for k, v in told["provenance"].items() if not k.startswith("seconds_")}
            told["job"].pop("tomogram"), told["input"].pop("path")
            found[path.name] = {k: v for k, v in told.items() if k not in VOLATILE}
        elif path.suffix == ".html":
            found[path.name] = re.findall(r'src="data:[^"]+"|href="data:[^"]+"| d="M[^"]+"', path.read_text())
        else:
            found[path.name] = path.read_bytes()
    return found


def table(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "summary.csv").read_text().splitlines()))


def test_a_tomogram_is_searched_once(folder) -> None:
    job = job_of(folder)
    assert (search_tomogram(job).status, search_tomogram(job).status) == ("done", "unchanged")
    assert len(read_points(job.folder / "particles.csv")) == len(BALLS)
    os.utime(job.path)
    assert search_tomogram(job).status == "unchanged"
    write_volume(job.path, phantom(offset=(3, 3, 3)).data, 10.0)
    assert search_tomogram(job).status == "done"
    write_volume(job.path, phantom(offset=(3, 3, 3)).data, 11.0)
    assert search_tomogram(job).status == "done"


def test_other_settings_are_another_job(folder) -> None:
    job = job_of(folder)
    search_tomogram(job)
    assert Ledger(job.out).is_finished(replace(job, config=replace(job.config, device="cpu")))
    assert not Ledger(job.out).is_finished(replace(job, config=job.config.override(matching__threshold=0.7)))
    assert not Ledger(job.out).is_finished(replace(job, voxel_size_angstrom=10.0))


def test_a_search_mask_counts_by_its_content(folder) -> None:
    mask = np.zeros(phantom().shape, dtype=bool)
    mask[:, :, :36] = True
    write_volume(folder / "mask.mrc", mask, 10.0)
    job = replace(job_of(folder), search_mask=folder / "mask.mrc")
    search_tomogram(job)
    assert read_points(job.folder / "particles.csv").points[:, 2].max() < 36
    assert Ledger(job.out).read_run("a")["job"]["searched_voxels"] == mask.sum()
    os.utime(folder / "mask.mrc")
    assert Ledger(job.out).is_finished(job)
    mask[:, :, 30:36] = False
    write_volume(folder / "mask.mrc", mask, 10.0)
    assert not Ledger(job.out).is_finished(job)


def test_a_dry_run_says_which_points_are_whose(folder) -> None:
    header = "data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n_rlnMicrographName\n"
    (folder / "p.star").write_text(f"{header}1 2 3 a.tomostar\n1 2 4 a.tomostar\n1 2 5 c.tomostar\n")
    (folder / "b.csv").write_text("z,y,x\n1,2,3\n")
    (folder / "t/a.mrc").rename(folder / "t/a_10.00Apx.mrc")
    project = PROJECT.replace('query = "q.npz"', f'points = "{folder}/{{name}}.csv"').replace(
        '"t/*.mrc"', '["t/b.mrc"]'
    )
    (folder / "project.toml").write_text(project)
    assert (
        f"to do: b ({folder}/t/b.mrc): 1 point in {folder}/b.csv, which names no tomogram"
        in run(folder / "project.toml", "--dry-run").stdout
    )
    (folder / "project.toml").write_text(PROJECT.replace('query = "q.npz"', 'points = "p.star"'))
    said = run(folder / "project.toml", "--dry-run")
    assert said.exit_code == 0
    assert f"to do: a_10.00Apx ({folder}/t/a_10.00Apx.mrc): 2 points of a.tomostar in {folder}/p.star\n" in said.stdout
    assert f"to do: c ({folder}/t/c.mrc): 1 point of c.tomostar in" in said.stdout
    assert f"to do: b ({folder}/t/b.mrc): no points\n" in said.stdout
    assert "cryosam: b would fail: " in said.stderr
    assert "0 of them match 'b'; name one with --name" in said.stderr
    assert "to do: bad" in said.stdout
    assert not (folder / "results").exists()


def test_a_missing_voxel_size_is_asked_for_by_its_key(folder) -> None:
    write_volume(folder / "t/b.mrc", np.zeros((9, 10, 11), dtype=np.float32), None)
    labels = "".join(f"_rln{name}\n" for name in ("CoordinateX", "CoordinateY", "CoordinateZ", "MicrographPixelSize"))
    (folder / "p.star").write_text(f"data_\nloop_\n{labels}4 8 12 2.5\n")
    project = PROJECT.replace('query = "q.npz"', 'points = "p.star"').replace('"t/*.mrc"', '["t/b.mrc"]')
    (folder / "project.toml").write_text(project)
    said = run(folder / "project.toml", "--dry-run").stderr
    assert "the voxel size is unknown; give it (voxel_size in the project file)" in said


def test_clicks_of_each_tomogram(folder) -> None:
    (folder / "a.csv").write_text(f"z,y,x,name\n{BALLS[0][0]},{BALLS[0][1]},{BALLS[0][2]},ball\n")
    job = replace(job_of(folder), queries=(), points=folder / "a.csv")
    assert search_tomogram(job).n_particles == len(BALLS)
    assert read_points(job.folder / "particles.csv").names == ("ball",) * len(BALLS)
    outcome = search_tomogram(replace(job, name="b", points=folder / "b.csv"))
    assert (outcome.status, outcome.is_final) == ("failed", True)
    assert "b.csv" in outcome.reason


def test_another_process_at_work_is_left_alone(folder) -> None:
    job = job_of(folder)
    with Ledger(job.out).tomogram("a") as is_mine:
        assert is_mine
        assert search_tomogram(job).status == "busy"
    assert not job.folder.exists()


def test_what_a_killed_worker_left_is_removed(folder) -> None:
    job = job_of(folder)
    for name in (".partial-0a1b2c3d-a", ".replaced-0a1b2c3d-a", ".partial-0a1b2c3d-a-1"):
        (job.out / name).mkdir(parents=True)
        (job.out / name / "half.mrc").touch()
    search_tomogram(job)
    left = {path.name for path in job.out.iterdir()}
    assert left == {".batch", "a", ".partial-0a1b2c3d-a-1"}  # the last one is of tomogram a-1


def test_a_fault_of_the_program_is_kept_with_its_trace(folder, monkeypatch) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise RuntimeError("a fault\nin two lines")

    monkeypatch.setattr(work, "segment", stumble)
    job = job_of(folder)
    outcome = search_tomogram(job)
    assert (outcome.status, outcome.is_final) == ("failed", False)
    assert outcome.reason == "RuntimeError: a fault in two lines"
    told = json.loads((job.out / ".batch" / "a.failed.json").read_text())
    assert "stumble" in told["traceback"]


def test_a_damaged_file_is_not_tried_again_until_it_changes(folder) -> None:
    project = read_project(folder / "project.toml")
    outcome = search_tomogram(job_of(folder, "bad"))
    assert (outcome.status, outcome.is_final) == ("failed", True)
    assert "truncated" in outcome.reason
    assert plan_batch(project).failed == {"bad": outcome.reason}
    assert [job.name for job in plan_batch(project).waiting] == ["a", "b", "c"]
    assert "bad" in [job.name for job in plan_batch(project, retry_failed=True).waiting]
    (folder / "t" / "bad.mrc").write_bytes((folder / "t" / "a.mrc").read_bytes())
    assert "bad" in [job.name for job in plan_batch(project).waiting]
    assert search_tomogram(job_of(folder, "bad")).status == "done"
    assert not plan_batch(project).failed


def test_a_killed_worker_is_noted_by_the_coordinator(folder) -> None:
    project = read_project(folder / "project.toml")
    plan = plan_batch(project)

    def backend(jobs, work, retries):
        yield from (Outcome(name=job.name, status="killed", reason="killed by SIGKILL") for job in jobs)

    assert len(list(run_batch(project, plan, work=search_tomogram, backend=backend))) == 4
    assert set(plan_batch(project).failed) == {"a", "b", "c", "bad"}


def test_a_second_run_is_refused_and_shards_are_not(tmp_path) -> None:
    ledger, other = Ledger(tmp_path), Ledger(tmp_path)
    with ledger.project(is_shared=False):
        with pytest.raises(ConflictError, match=rf"process {os.getpid()} on .*--shard"), other.project(is_shared=False):
            pass
        with pytest.raises(ConflictError), other.project(is_shared=True):
            pass
    both = ledger.project(is_shared=True), other.project(is_shared=True)
    with both[0], both[1], pytest.raises(ConflictError), Ledger(tmp_path).project(is_shared=False):
        pass


@pytest.mark.slow
def test_a_batch_from_beginning_to_end(folder) -> None:
    first = run(folder / "project.toml", "--workers", 2)
    assert first.exit_code == 1, first.output
    assert "4 tomograms: 4 to do, 0 done" in first.output
    assert "bad failed: " in first.output
    out = folder / "results"
    rows = {row["tomogram"]: row for row in table(out)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "a": "done",
        "b": "done",
        "bad": "failed",
        "c": "done",
    }
    assert "truncated" in rows["bad"]["reason"]
    volume = np.prod(phantom().shape) * 1e-9  # cubic micrometre
    for name in "abc":
        assert int(rows[name]["ball_particles"]) == len(BALLS)
        assert float(rows[name]["ball_per_um3"]) == pytest.approx(len(BALLS) / volume, rel=1e-3)
        part = read_points(out / "particles.star", shape=phantom().shape, voxel_size_angstrom=10.0, tomogram_name=name)
        np.testing.assert_allclose(part.points, read_points(out / name / "particles.csv").points, atol=2e-3)
    page = (out / "summary.html").read_text()
    assert 'href="a/report.html"' in page
    assert page.count("data:image/jpeg") == 3

    before = {name: content(out / name) for name in "abc"}
    again = run(folder / "project.toml", "--dry-run")
    assert again.exit_code == 0
    assert "0 to do, 3 done, 1 failed before" in again.output
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("?/*")}
    assert run(folder / "project.toml").exit_code == 1
    assert {path: path.stat().st_mtime_ns for path in out.glob("?/*")} == stamps

    # only what is missing is done, and with one worker it is what it was with two
    (out / "b" / "run.json").unlink()
    (folder / "t" / "bad.mrc").unlink()
    last = run(folder / "project.toml", "--workers", 1)
    assert last.exit_code == 0, last.output
    assert "3 tomograms: 1 to do, 2 done" in last.output
    assert {name: content(out / name) for name in "abc"} == before
    assert {p: p.stat().st_mtime_ns for p in out.glob("[ac]/*")} == {
        p: t for p, t in stamps.items() if "b" not in p.parts
    }


@pytest.mark.slow
def test_kills_change_nothing(folder) -> None:
    (folder / "t" / "bad.mrc").unlink()
    undisturbed = folder / "undisturbed"
    assert run(folder / "project.toml", "--workers", 1, "--out", undisturbed).exit_code == 0
    out = folder / "results"
    command = [sys.executable, "-m", "cryosam", "batch", str(folder / "project.toml"), "--workers", "2"]
    coordinator = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        lock = out / ".batch" / "a.lock"
        _await(lambda: lock.is_file() and lock.read_text().startswith("process "))
        os.kill(int(lock.read_text().split()[1]), signal.SIGKILL)  # the worker that is at a
        _await(lambda: any((out / name / "run.json").is_file() for name in "abc"))
    finally:
        coordinator.kill()
        coordinator.wait()
    _await(lambda: not any(_is_held(out, name) for name in "abc"))  # its other worker ends with it
    finished = [name for name in "abc" if (out / name / "run.json").is_file()]
    stamps = {name: (out / name / "run.json").stat().st_mtime_ns for name in finished}
    assert finished
    again = run(folder / "project.toml", "--workers", 2)
    assert again.exit_code == 0, again.output
    assert f"{3 - len(finished)} to do, {len(finished)} done" in again.output
    for name in "abc":
        assert content(out / name) == content(undisturbed / name)
    assert {name: (out / name / "run.json").stat().st_mtime_ns for name in finished} == stamps
    assert {path.name for path in out.iterdir()} == {path.name for path in undisturbed.iterdir()}


@pytest.mark.slow
def test_shards_do_their_parts(folder) -> None:
    (folder / "t" / "bad.mrc").unlink()
    first = run(folder / "project.toml", "--shard", "1/2", "--workers", 1)
    assert first.exit_code == 0, first.output
    assert "2 done, 0 failed, 1 waiting" in first.output
    assert run(folder / "project.toml", "--shard", "2/2", "--workers", 1).exit_code == 0
    assert [row["status"] for row in table(folder / "results")] == ["done"] * 3


def test_bad_projects_end_with_exit_code_2(folder) -> None:
    (folder / "project.toml").write_text(PROJECT.replace("t/*.mrc", "t/*.rec"))
    result = run(folder / "project.toml")
    assert result.exit_code == 2
    assert "no tomogram matches" in result.output
    assert not (folder / "results").exists()
    assert run(folder / "nowhere.toml").exit_code == 2
    assert run(folder / "project.toml", "--workers", 2, "--parsl", "x.py").exit_code == 2


def _is_held(out: Path, name: str) -> bool:
    with Ledger(out).tomogram(name) as is_mine:
        return not is_mine


def _await(is_so: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_name_of_a_tomogram_is_that_of_its_job(folder) -> None:
    job = replace(job_of(folder), name="TS_01")
    search_tomogram(job)
    assert Ledger(job.out).read_run("TS_01")["input"]["name"] == "TS_01"
    assert read_tomogram(job.path).name == "a"


def test_a_kinds_own_settings_are_those_that_are_kept(folder) -> None:
    job = job_of(folder)
    own = job.config.override(matching__max_particles=2)
    search_tomogram(replace(job, kind_configs={"ball": own}))
    told = Ledger(job.out).read_run("a")
    assert told["n_particles"] == 2
    assert told["configuration"]["matching"]["max_particles"] == 2
    assert told["job"]["kind_configurations_toml"] == {"ball": told["configuration_toml"]}
