"""The page in a real browser, on a server of its own: what the tests of it share."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
sync_api.expect.set_options(timeout=60_000)  # a first mask takes ten seconds where others compute, too

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src" / "cryosam" / "ui" / "server" / "static" / "index.html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SHAPE = (64, 160, 160)
PATIENCE = 120_000  # ms for a search

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
    pytest.mark.skipif(not STATIC.is_file(), reason="the page is not built: make page"),
]


@contextmanager
def serving(tomogram: Path, session: Path, port: str = "0", *more: str) -> Iterator[str]:
    """A server of a tomogram; its address."""
    words = [sys.executable, "-m", "cryosam", "serve", str(tomogram), "--no-browser", "--port", port, *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*words, "--session", str(session)], stdout=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1]
        server.terminate()


def click_voxel(page, point, **how) -> None:
    """Click a voxel in plane z, at the zoom at which the page opens."""
    z, y, x = (round(c) for c in point)
    page.get_by_label("Slice of plane z").fill(str(z))
    _, height, width = SHAPE
    box = page.locator("[data-plane=z]").bounding_box()
    zoom = 0.96 * min(box["width"] / width, box["height"] / height)
    page.mouse.click(
        box["x"] + box["width"] / 2 + (x - (width - 1) / 2) * zoom,
        box["y"] + box["height"] / 2 + (y - (height - 1) / 2) * zoom,
        **how,
    )


def view(page) -> dict:
    """What the session has of the first kind."""
    session = page.evaluate("fetch('/api/session').then(answer => answer.json())")
    return next(iter(session["views"]["0"]["kinds"].values()))


@pytest.fixture
def page(address: str):
    """The page, open, in a browser that remembers nothing; an error on its console fails the test."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
        )
        page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_default_timeout(20_000)
        page.goto(address)
        sync_api.expect(page.get_by_test_id("slice-z")).to_contain_text(f"/ {SHAPE[0] - 1}")
        yield page
        browser.close()
        assert errors == []
