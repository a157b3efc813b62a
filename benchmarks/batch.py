"""A batch of simulated tomograms: throughput with one worker and with two, and a run that is repeatedly killed.

::

    python benchmarks/batch.py --tomograms 20
    python benchmarks/batch.py --tomograms 6 --size 160      # quick

A query is made in an additional tomogram. The batch is then done with one worker, with two, and with two while the
coordinator and a worker are killed in turn at random times (``kill -9``) and the command is repeated until everything
is done. All tables of particles and candidates and all volumes of the three runs are compared byte for byte. The
processor time shows the cost of running two workers side by side, regardless of other programs on the machine.
"""

import argparse
import csv
import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from cryosam import PointPrompts, make_queries, write_queries
from cryosam.evaluation.simulation import SimulationConfig, simulate
from cryosam.io.phantoms import write_simulated
from speed import machine

_HEADER = slice(224, 1024)  # the labels in the header of an MRC file, which contain the time
_KIND = "bilobe"


@dataclass
class Kills:
    """How many processes were killed, and how often the command was run."""

    n_workers: int = 0
    n_coordinators: int = 0
    n_runs: int = 0


def prepare(folder: Path, n: int, size: int) -> None:
    """Write the tomograms, a query and a project file."""
    shape = (56, size, size)
    counts = {_KIND: 12, "ring": 12}
    source = simulate(SimulationConfig(shape=shape, counts=counts, n_vesicles=0, n_gold=0, seed=500))
    inside = ((source.points > 18) & (source.points < np.array(shape) - 19)).all(axis=1)
    click = source.points[(np.array(source.names) == _KIND) & inside][:1]
    queries, _ = make_queries(source.tomogram, [PointPrompts(np.round(click), name=_KIND)])
    write_queries(folder / "query.npz", queries)
    for k in range(n):
        simulated = simulate(SimulationConfig(shape=shape, counts=counts, n_vesicles=0, n_gold=0, seed=501 + k))
        write_simulated(folder / "tomograms" / f"TS_{k:02d}", simulated)
    (folder / "project.toml").write_text(
        'tomograms = "tomograms/*/tomo.mrc"\nname = "{folder}"\nquery = "query.npz"\nout = "results"\nretries = 99\n'
    )


def command(folder: Path, out: str, n_workers: int) -> list[str]:
    """The command line of a run."""
    words = [sys.executable, "-m", "cryosam", "batch", str(folder / "project.toml")]
    return [*words, "--out", str(folder / out), "--workers", str(n_workers)]


def run(folder: Path, out: str, n_workers: int) -> tuple[float, float]:
    """Run the batch; returns wall time and processor time in seconds."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command(folder, out, n_workers), check=True, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_with_kills(folder: Path, out: str, every: float) -> Kills:
    """Run the batch with two workers; one process is killed every ``every`` seconds on average, coordinator first."""
    kills, chance = Kills(), random.Random(0)
    while True:
        kills.n_runs += 1
        coordinator = subprocess.Popen(command(folder, out, 2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                if coordinator.wait(timeout=chance.uniform(0.5, 1.5) * every) == 0:
                    return kills
                break  # it was killed
            except subprocess.TimeoutExpired:
                workers = _children(coordinator.pid)
                if kills.n_coordinators <= kills.n_workers or not workers:
                    coordinator.send_signal(signal.SIGKILL)
                    kills.n_coordinators += 1
                else:
                    os.kill(chance.choice(workers), signal.SIGKILL)
                    kills.n_workers += 1


def _children(parent: int) -> list[int]:
    """Worker processes that a process has started, without the resource tracker of multiprocessing."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    except OSError:
        return []
    return [int(p) for p in children if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()]


def compare(first: Path, second: Path) -> tuple[int, int]:
    """Number of result files of the tomograms, and how many differ apart from the time in their headers."""
    names = [
        path.relative_to(first)
        for path in first.glob("*/*")
        if path.suffix in (".csv", ".star", ".mrc") and path.is_file()
    ]
    n_different = 0
    for name in names:
        contents = [bytearray((folder / name).read_bytes()) for folder in (first, second)]
        if name.suffix == ".mrc":
            for content in contents:
                del content[_HEADER]
        n_different += contents[0] != contents[1]
    return len(names), n_different


def main() -> None:
    """Parse the command line, run, and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tomograms", type=int, default=20)
    parser.add_argument("--size", type=int, default=192, help="voxels of a tomogram along y and x")
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two kills, on average")
    arguments = parser.parse_args()
    print("\n".join(f"{key}: {value}" for key, value in machine().items()))
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder, arguments.tomograms, arguments.size)
        (one, cpu_one), (two, cpu_two) = run(folder, "one", 1), run(folder, "two", 2)
        n = arguments.tomograms
        print(f"{n} tomograms of 56 x {arguments.size} x {arguments.size} voxels")
        print(f"one worker: {one:.0f} s, {3600 * n / one:.0f} tomograms per hour")
        print(f"two workers: {two:.0f} s, {3600 * n / two:.0f} tomograms per hour, {one / two:.2f} times as many")
        print(f"processor time: {cpu_one:.0f} s with one worker, {cpu_two:.0f} s with two")
        kills = run_with_kills(folder, "killed", arguments.every)
        print(
            f"killed: a worker {kills.n_workers} times, the coordinator {kills.n_coordinators} times; "
            f"the command was run {kills.n_runs} times"
        )
        with (folder / "killed" / "summary.csv").open() as stream:
            done = sum(row["status"] == "done" for row in csv.DictReader(stream))
        print(f"tomograms done: {done} of {n}")
        for name in ("two", "killed"):
            n_files, n_different = compare(folder / "one", folder / name)
            print(f"{name}: {n_different} of {n_files} files differ from those of the run with one worker")


if __name__ == "__main__":
    main()
