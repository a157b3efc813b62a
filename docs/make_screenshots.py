"""Pictures of the page for README and docs, taken from the demo's tomogram.

::

    make demo page && .venv/bin/python docs/make_screenshots.py

It needs the extra `dev` and Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from cryosam.io import read_points

_TOMOGRAM = Path("cryosam-demo/truth/tomo.mrc")
_IMAGES = Path(__file__).parent / "images"
_SIZE = {"width": 1280, "height": 720}


def main() -> None:
    """Click the demo's particle, find all, and take a picture of the result."""
    best = read_points("cryosam-demo/particles.csv").points[0]
    with tempfile.TemporaryDirectory() as session, sync_playwright() as playwright:
        words = [sys.executable, "-u", "-m", "cryosam", "serve", str(_TOMOGRAM), "--no-browser", "--port", "0"]
        with subprocess.Popen([*words, "--session", session], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
            )
            page = browser.new_page(viewport=_SIZE)
            expect.set_options(timeout=120_000)
            page.goto(server.stdout.readline().split()[-1])
            for plane, position in zip("zyx", best, strict=True):
                page.get_by_label(f"Slice of plane {plane}").fill(str(round(position)))
            page.locator("[data-plane=z]").focus()
            page.keyboard.press("Enter")
            expect(page.get_by_test_id("click")).to_have_count(1)
            page.get_by_role("button", name="Find all").click()
            expect(page.get_by_test_id("shown-count")).to_be_visible()
            page.wait_for_timeout(5000)  # thumbnails and meshes come one by one
            page.screenshot(path=_IMAGES / "page.png")
            browser.close()
            server.terminate()


if __name__ == "__main__":
    main()
