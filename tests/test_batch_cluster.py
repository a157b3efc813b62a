"""The same work through Parsl."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from batch_work import job, n_runs
from cryosam.batch.cluster import parsl_backend
from cryosam.errors import ConfigError, InputNotFoundError

pytest.importorskip("parsl", reason="Parsl is an extra: pip install -e '.[scale]'")

THREADS = """
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor
config = Config(executors=[ThreadPoolExecutor(max_threads=2)], run_dir={run_dir!r}, strategy="none")
"""
PROCESSES = """
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
config = Config(
    executors=[
        HighThroughputExecutor(
            max_workers_per_node=2,
            encrypted=False,
            address="127.0.0.1",
            provider=LocalProvider(),
        )
    ],
    run_dir={run_dir!r},
    strategy="none",
)
"""


SCRIPT = """
import json, sys
from pathlib import Path
import batch_work
from cryosam.batch.cluster import parsl_backend
if __name__ == "__main__":
    out = Path(sys.argv[1])
    with parsl_backend(out / "parsl_config.py") as backend:
        outcomes = list(backend([batch_work.job(name, out) for name in "abc"], getattr(batch_work, sys.argv[2]), 1))
    print(json.dumps({outcome.name: [outcome.status, outcome.reason] for outcome in outcomes}))
"""


def run(folder: Path, configuration: str, work: str) -> dict[str, list[str]]:
    """Outcomes by name, from a process of its own: Parsl leaves threads and open files behind."""
    search = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (folder / "parsl_config.py").write_text(configuration.format(run_dir=str(folder / "runinfo")))
    (folder / "run.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(folder / "run.py"), str(folder), work],
        env={**os.environ, "PYTHONPATH": search, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_jobs_are_done_once_and_only_what_may_end_otherwise_again(tmp_path) -> None:
    outcomes = run(tmp_path, THREADS, "fail")
    assert outcomes["a"] == ["failed", "damaged"]
    assert outcomes["b"][0] == "killed"
    assert "TomogramError: a fault of two lines" in outcomes["b"][1]
    assert outcomes["c"][0] == "done"
    assert [n_runs(job(name, tmp_path)) for name in "abc"] == [1, 2, 1]


@pytest.mark.skipif(
    "CRYOSAM_TEST_CLUSTER" not in os.environ,
    reason="CRYOSAM_TEST_CLUSTER is not set: Parsl's processes take half a minute, and many on a busy machine",
)
def test_a_killed_worker_of_a_cluster_is_noticed(tmp_path) -> None:
    outcomes = run(tmp_path, PROCESSES, "die_once")
    assert {name: status for name, (status, _) in outcomes.items()} == dict.fromkeys("abc", "done")
    assert [n_runs(job(name, tmp_path)) for name in "abc"] == [1, 2, 1]


def test_bad_configurations_are_refused(tmp_path) -> None:
    with pytest.raises(InputNotFoundError, match="Parsl configuration not found"), parsl_backend(tmp_path / "no.py"):
        pass
    for text, told in (("config = 3", "must define config"), ("x = 1", "got None"), ("1 / 0", "ZeroDivisionError")):
        path = tmp_path / "bad.py"
        path.write_text(text)
        with pytest.raises(ConfigError, match=told), parsl_backend(path):
            pass
