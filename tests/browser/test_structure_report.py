"""The report of structures in a real browser, opened from a file: the 3D view, and what stands in for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from opened_page import CHROMIUM, sync_api

from cryosam.full_map import FullMap
from cryosam.io.structure_report import render_structures
from cryosam.prompts import PointPrompts
from cryosam.structure_results import StructureResult
from cryosam.tomogram import Tomogram
from stand_in_structures import SHAPE, SIZE, filament, membrane

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

CLICK = np.array([[6.0, 5.0, 5.0]])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the page of a sheet and a filament."""
    sheet = StructureResult(SHAPE, "membrane", (membrane(6, 0.8),), CLICK, SIZE, kind="er")
    line = StructureResult(SHAPE, "filament", (filament(20),), CLICK, SIZE, kind="tube")
    data = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    clicks = [PointPrompts(CLICK, name=name) for name in ("er", "tube")]
    file: Path = tmp_path_factory.mktemp("report") / "report.html"
    found = FullMap(("er", "tube"), (sheet, line))
    file.write_text(render_structures(found, Tomogram(data, SIZE), clicks, {}), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def opened(report: str):
    """Opens the report in a browser with these arguments; errors and requests to elsewhere fail the test."""
    with sync_api.sync_playwright() as playwright:
        wrong: list[str] = []

        def is_own(address: str) -> bool:
            return address.startswith(("file:", "data:"))

        browsers = []

        def open_report(*arguments: str):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
            browsers.append(browser)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on(
                "request", lambda asked: None if asked.url.startswith(("file:", "data:")) else wrong.append(asked.url)
            )
            page.goto(report)
            return page

        yield open_report
        for browser in browsers:
            browser.close()
        assert wrong == []


def test_surfaces_are_turned_and_hidden(opened: Callable) -> None:
    page = opened("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    canvas = page.locator("canvas")
    sync_api.expect(canvas).to_be_visible()
    sync_api.expect(page.locator(".sides")).to_be_hidden()

    def look() -> bytes:
        page.wait_for_timeout(300)
        return canvas.screenshot()

    seen = [look()]
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 300)
    page.mouse.down()
    page.mouse.move(box["x"] + 420, box["y"] + 250, steps=4)
    page.mouse.up()
    seen.append(look())
    page.get_by_label("er", exact=True).uncheck()
    seen.append(look())
    page.locator("[data-side=y]").click()
    seen.append(look())
    canvas.focus()
    page.keyboard.press("+")
    seen.append(look())
    assert len(set(seen)) == len(seen)


def test_without_webgl_and_in_print_there_are_pictures(opened: Callable) -> None:
    page = opened("--disable-3d-apis")
    sync_api.expect(page.locator("canvas")).to_be_hidden()
    sync_api.expect(page.locator(".sides img")).to_have_count(3)
    sync_api.expect(page.locator(".sides img").first).to_be_visible()
    page = opened("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    page.emulate_media(media="print")
    sync_api.expect(page.locator(".sides img").first).to_be_visible()
    sync_api.expect(page.locator("canvas")).to_be_hidden()
