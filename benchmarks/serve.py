"""Speed of `cryosam serve` with large tomograms: start, slices, masks and memory, over the loopback interface.

::

    OMP_NUM_THREADS=1 python benchmarks/serve.py

The tomograms are noise with balls of 12 voxels, in single precision. If Playwright and Chromium are installed, the time
until the page is shown in a browser and the speed of scrolling are measured too.
"""

import http.client
import json
import shutil
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

_SHAPES = ((200, 928, 960), (400, 1440, 1024))
_PLANES = "zyx"
_RADIUS = 6
_CENTRES = ((100, 300, 300), (100, 300, 600), (60, 600, 300))
_SCROLLED = 100  # slices
_SECONDS = 3  # of scrolling in the browser


class _Client:
    """Sends requests to one server, over one connection."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=300)
        self._token = parts.query.partition("=")[2]

    def wait(self, seconds: float) -> None:
        """Close the connection and wait; the next request opens a new one."""
        self._connection.close()
        time.sleep(seconds)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """Send a request and return the content of the response, whose status must be 200."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:200]!r}")
        return content


def _write(path: Path, shape: tuple[int, int, int]) -> None:
    """Write a tomogram with dark protein."""
    volume = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    ball = np.linalg.norm(np.indices((2 * _RADIUS + 1,) * 3) - _RADIUS, axis=0) <= _RADIUS
    for centre in _CENTRES:
        volume[tuple(slice(c - _RADIUS, c + _RADIUS + 1) for c in centre)] -= 3 * ball
    write_mrc(path, volume, 10.0)


def _memory_gb(process: int) -> float:
    """Resident memory of a running process, in gigabytes."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1e6


def _serve(tomogram: Path, session: Path) -> subprocess.Popen[str]:
    """Start a server, which prints its address."""
    words = [sys.executable, "-u", "-m", "cryosam", "serve", str(tomogram), "--no-browser", "--port", "0"]
    return subprocess.Popen([*words, "--session", str(session)], stdout=subprocess.PIPE, text=True)


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    return server.stdout.readline().split()[-1]


def _measure(tomogram: Path, shape: tuple[int, int, int], session: Path) -> dict[str, str]:
    """Measure times and memory with a client that is not a browser."""
    rows: dict[str, str] = {}
    clock = time.perf_counter()
    with _serve(tomogram, session) as server:
        try:
            client = _Client(_address(server))
            rows["address printed"] = f"{time.perf_counter() - clock:.1f} s"
            client.ask("GET", "/api/session")
            for plane, extent in zip(_PLANES, shape, strict=True):
                client.ask("GET", f"/api/tomograms/0/slice/{plane}/{extent // 2}?slab=1&smooth=0")
            rows["session and three slices"] = f"{time.perf_counter() - clock:.1f} s"
            client.wait(25)  # meanwhile the server makes the copy for slices along y and x, and imports what masks need
            for plane in _PLANES:
                start = time.perf_counter()
                for index in range(_SCROLLED):
                    client.ask("GET", f"/api/tomograms/0/slice/{plane}/{index + 20}?slab=1&smooth=0")
                rows[f"slices of plane {plane}"] = f"{_SCROLLED / (time.perf_counter() - start):.0f} per second"
            rows["memory before a click"] = f"{_memory_gb(server.pid):.2f} GB"
            kind = json.loads(client.ask("POST", "/api/kinds", {"name": "ball", "colour": "#4cc9f0"}))["kind"]
            for title, centre in zip(("first mask", "second mask", "third mask"), _CENTRES, strict=True):
                start = time.perf_counter()
                client.ask("POST", "/api/tomograms/0/clicks", {"kind": kind, "point": centre, "positive": True})
                rows[title] = f"{time.perf_counter() - start:.1f} s"
            rows["memory after the clicks"] = f"{_memory_gb(server.pid):.2f} GB"
        finally:
            server.terminate()
    return rows


def _browse(tomogram: Path, session: Path) -> dict[str, str]:
    """Measure times in a browser; empty if there is none."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import Response, sync_playwright
    except ImportError:
        return {}
    if chromium is None:
        return {}
    received: dict[str, set[str]] = {plane: set() for plane in _PLANES}

    def note(response: Response) -> None:
        _, _, path = response.url.partition("/slice/")
        if path and response.ok:
            received[path[0]].add(path)

    rows: dict[str, str] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.on("response", note)
        clock = time.perf_counter()
        with _serve(tomogram, session) as server:
            try:
                page.goto(_address(server))
                while not all(received.values()):
                    page.wait_for_timeout(20)
                page.evaluate("new Promise(requestAnimationFrame)")
                rows["page with three slices, from the command on"] = f"{time.perf_counter() - clock:.1f} s"
                page.wait_for_timeout(20_000)
                for plane in _PLANES:
                    before = len(received[plane])
                    page.evaluate(
                        """async ([plane, seconds]) => {
                            const view = document.querySelector(`[data-plane=${plane}]`);
                            const end = performance.now() + 1000 * seconds;
                            for (let way = -100; performance.now() < end; ) {
                                view.dispatchEvent(new WheelEvent("wheel", { deltaY: way, cancelable: true }));
                                await new Promise(requestAnimationFrame);
                            }
                        }""",
                        [plane, _SECONDS],
                    )
                    n = len(received[plane]) - before
                    rows[f"scrolling plane {plane} in the page"] = f"{n / _SECONDS:.0f} per second"
            finally:
                server.terminate()
        browser.close()
    return rows


def main() -> None:
    """Run the benchmark."""
    columns: list[dict[str, str]] = []
    for shape in _SHAPES:
        with tempfile.TemporaryDirectory() as scratch:
            tomogram = Path(scratch, "tomo.mrc")
            _write(tomogram, shape)
            columns.append(_measure(tomogram, shape, Path(scratch, "a")) | _browse(tomogram, Path(scratch, "b")))
    print("\n".join(f"{key}: {value}" for key, value in machine().items()), end="\n\n")
    print("| what | " + " | ".join(" x ".join(map(str, shape)) for shape in _SHAPES) + " |")
    print("| --- " * (1 + len(_SHAPES)) + "|")
    for what in columns[0]:
        print(f"| {what} | " + " | ".join(column[what] for column in columns) + " |")


if __name__ == "__main__":
    main()
