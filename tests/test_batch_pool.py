"""The local pool: every job is done once, whatever happens to its workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import batch_work
from batch_work import job, n_runs
from cryosam.batch.pool import run_local


def _jobs(out, names="abcd"):
    return [job(name, out) for name in names]


def _by_name(outcomes):
    return {outcome.name: outcome for outcome in outcomes}


@pytest.mark.parametrize("n_workers", [1, 3])
def test_all_jobs_are_done_once(tmp_path, n_workers):
    outcomes = list(run_local(_jobs(tmp_path), batch_work.succeed, n_workers=n_workers))
    assert sorted(outcome.name for outcome in outcomes) == list("abcd")
    assert all(outcome.status == "done" for outcome in outcomes)
    assert [n_runs(each) for each in _jobs(tmp_path)] == [1, 1, 1, 1]


def test_no_more_processes_than_workers(tmp_path):
    list(run_local(_jobs(tmp_path), batch_work.succeed, n_workers=1))
    processes = {(tmp_path / f"{name}.runs").read_text() for name in "abcd"}
    assert len(processes) == 1
    assert str(os.getpid()) not in "".join(processes)


def test_no_jobs(tmp_path):
    assert list(run_local([], batch_work.succeed, n_workers=2)) == []


def test_a_killed_worker_is_noticed_and_its_job_done_again(tmp_path):
    outcomes = _by_name(run_local(_jobs(tmp_path), batch_work.die_once, n_workers=2, retries=1))
    assert {name: outcome.status for name, outcome in outcomes.items()} == dict.fromkeys("abcd", "done")
    assert [n_runs(each) for each in _jobs(tmp_path)] == [1, 2, 1, 1]


def test_a_job_that_kills_its_workers_does_not_stop_the_others(tmp_path):
    outcomes = _by_name(run_local(_jobs(tmp_path), batch_work.die, n_workers=2, retries=2))
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "a": "done",
        "b": "killed",
        "c": "done",
        "d": "done",
    }
    assert "SIGKILL" in outcomes["b"].reason
    assert n_runs(job("b", tmp_path)) == 3


def test_only_what_may_end_otherwise_is_tried_again(tmp_path):
    outcomes = _by_name(run_local(_jobs(tmp_path), batch_work.fail, n_workers=2, retries=1))
    assert outcomes["a"].reason == "damaged"
    assert outcomes["b"].reason == "TomogramError: a fault of two lines"
    assert [n_runs(each) for each in _jobs(tmp_path)] == [1, 2, 1, 1]


def test_workers_share_threads_and_gpus(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    outcomes = run_local(_jobs(tmp_path, "a"), batch_work.tell_environment, n_workers=1, n_threads=3, gpus=["7"])
    assert [outcome.reason for outcome in outcomes] == ["3 7"]
    assert "OMP_NUM_THREADS" not in os.environ
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # what the user says holds
    outcomes = run_local(_jobs(tmp_path, "a"), batch_work.tell_environment, n_workers=1, n_threads=3)
    assert [outcome.reason for outcome in outcomes] == ["1 -"]


def test_a_pool_that_is_left_takes_its_workers_along(tmp_path):
    outcomes = run_local(_jobs(tmp_path, "ab"), batch_work.a_then_b, n_workers=2)
    assert next(outcomes).name == "a"
    outcomes.close()
    assert not _is_alive(int((tmp_path / "a.runs").read_text()))
    assert not _is_alive(int((tmp_path / "b.runs").read_text()))


def test_workers_of_a_killed_coordinator_end(tmp_path):
    code = (
        "import sys; from pathlib import Path; import batch_work; from cryosam.batch.pool import run_local\n"
        "if __name__ == '__main__':\n"
        "    list(run_local([batch_work.job('b', Path(sys.argv[1]))], batch_work.a_then_b, n_workers=1))\n"
    )
    script = tmp_path / "coordinate.py"
    script.write_text(code)
    search = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    coordinator = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": search}
    )
    try:
        _await(lambda: n_runs(job("b", tmp_path)) == 1)
        worker = int((tmp_path / "b.runs").read_text())
        coordinator.send_signal(signal.SIGKILL)
        coordinator.wait()
        _await(lambda: not _is_alive(worker))
    finally:
        coordinator.kill()
        coordinator.wait()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"  # nobody reaps it in a container


def _await(is_so, seconds: float = 30):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)
