"""How quick `cryosam serve` is on a large tomogram: start, slices, masks, memory; over the loopback, without a browser.

::

    OMP_NUM_THREADS=1 python benchmarks/serve.py

The tomogram, 200 x 928 x 960 voxels in single precision, is noise with balls of 12 voxels in it.
"""

import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from cryosam.io.mrc import write_mrc
from speed import machine

_SHAPE = (200, 928, 960)
_RADIUS = 6
_CENTRES = ((100, 300, 300), (100, 300, 600), (60, 600, 300))
_SCROLLED = 100  # slices


class _Client:
    """Asks one server, over one connection."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=300)
        self._token = parts.query.partition("=")[2]

    def wait(self, seconds: float) -> None:
        """Ask nothing for a while; the server then closes the connection."""
        self._connection.close()
        time.sleep(seconds)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """The content of an answer, which must be a good one."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:200]!r}")
        return content


def _write(path: Path) -> None:
    """The tomogram; protein is dark."""
    volume = np.random.default_rng(0).standard_normal(_SHAPE, dtype=np.float32)
    ball = np.linalg.norm(np.indices((2 * _RADIUS + 1,) * 3) - _RADIUS, axis=0) <= _RADIUS
    for centre in _CENTRES:
        volume[tuple(slice(c - _RADIUS, c + _RADIUS + 1) for c in centre)] -= 3 * ball
    write_mrc(path, volume, 10.0)


def _memory_gb(process: int) -> float:
    """Resident memory of a process that runs."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1e6


def main() -> None:
    """Run the benchmark."""
    rows: list[tuple[str, str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        tomogram = Path(scratch) / "tomo.mrc"
        _write(tomogram)
        words = [sys.executable, "-u", "-m", "cryosam", "serve", str(tomogram), "--no-browser", "--port", "0"]
        clock = time.perf_counter()
        with subprocess.Popen([*words, "--session", scratch + "/session"], stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                client = _Client(server.stdout.readline().split()[-1])
                rows.append(("address printed", f"{time.perf_counter() - clock:.1f} s"))
                client.ask("GET", "/api/session")
                for plane, extent in zip("zyx", _SHAPE, strict=True):
                    client.ask("GET", f"/api/tomograms/0/slice/{plane}/{extent // 2}?slab=1&smooth=0")
                rows.append(("session and three slices", f"{time.perf_counter() - clock:.1f} s"))
                client.wait(20)  # the copy for slices along y and x is made, torch is imported
                rows.append(("memory before a click", f"{_memory_gb(server.pid):.2f} GB"))
                for plane in "zyx":
                    start = time.perf_counter()
                    for index in range(_SCROLLED):
                        client.ask("GET", f"/api/tomograms/0/slice/{plane}/{index + 20}?slab=1&smooth=0")
                    rows.append(
                        (f"slices of plane {plane}", f"{_SCROLLED / (time.perf_counter() - start):.0f} a second")
                    )
                kind = json.loads(client.ask("POST", "/api/kinds", {"name": "ball", "colour": "#4cc9f0"}))["kind"]
                for title, centre in zip(("first mask", "second mask", "third mask"), _CENTRES, strict=True):
                    start = time.perf_counter()
                    client.ask("POST", "/api/tomograms/0/clicks", {"kind": kind, "point": centre, "positive": True})
                    rows.append((title, f"{time.perf_counter() - start:.1f} s"))
                rows.append(("memory after the clicks", f"{_memory_gb(server.pid):.2f} GB"))
            finally:
                server.terminate()
    print(
        "\n".join(f"{key}: {value}" for key, value in machine().items()), end="\n\n| what | measured |\n| --- | --- |\n"
    )
    print("\n".join(f"| {what} | {measured} |" for what, measured in rows))


if __name__ == "__main__":
    main()
