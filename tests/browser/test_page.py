"""The page in a real browser, on a server of its own: what a newcomer does, and what may go wrong."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from opened_page import PATIENCE, ROOT, SHAPE, click_voxel, page, pytestmark, serving, sync_api, view

from cryosam.evaluation.scores import score_detections
from cryosam.evaluation.simulation import SimulationConfig, simulate
from cryosam.io import read_points
from cryosam.io.phantoms import write_simulated

AXE = ROOT / "page" / "node_modules" / "axe-core" / "axe.min.js"
CLICKED = 3  # a ring that stands alone

__all__ = ["page", "pytestmark"]  # a fixture, and when all are skipped


@pytest.fixture(scope="module")
def rings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Folder of a tomogram with two kinds, and the centres of the rings."""
    simulated = simulate(SimulationConfig(shape=SHAPE, counts={"ring": 8, "barrel": 8}, seed=3))
    folder = write_simulated(tmp_path_factory.mktemp("browser") / "data", simulated)
    return folder, simulated.points[np.array(simulated.names) == "ring"]


@pytest.fixture
def address(rings, tmp_path: Path) -> Iterator[str]:
    """Of a server of the tomogram, which nobody used yet."""
    with serving(rings[0] / "tomo.mrc", tmp_path / "session") as address:
        yield address


def candidates(page) -> list[dict]:
    """Those of the only kind."""
    (found,) = page.evaluate("fetch('/api/tomograms/0/candidates').then(answer => answer.json())")["kinds"].values()
    return found


def shown(page) -> int:
    return int(page.get_by_test_id("shown-count").inner_text())


@pytest.fixture
def found(page, rings):
    """The page after one click and a search."""
    click_voxel(page, rings[1][CLICKED])
    sync_api.expect(page.get_by_test_id("click")).to_have_count(1)
    page.get_by_role("button", name="Find all").click()
    sync_api.expect(page.get_by_test_id("shown-count")).to_be_visible(timeout=PATIENCE)
    return page


def test_from_one_click_and_two_buttons_to_a_star_file(page, rings, tmp_path) -> None:
    _, centres = rings
    click_voxel(page, centres[CLICKED])
    sync_api.expect(page.get_by_test_id("click")).to_have_count(1)
    (click,) = view(page)["clicks"]
    assert click["has_mask"]
    np.testing.assert_allclose(click["point"], centres[CLICKED], atol=1)
    page.get_by_role("button", name="Find all").click()
    sync_api.expect(page.get_by_test_id("so-far")).to_be_visible(timeout=PATIENCE)
    sync_api.expect(page.get_by_label("So far").get_by_role("button").first).to_be_visible()
    sync_api.expect(page.get_by_test_id("shown-count")).to_be_visible(timeout=PATIENCE)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export STAR").click()
    download.value.save_as(tmp_path / "particles.star")
    table = read_points(tmp_path / "particles.star", shape=SHAPE, voxel_size_angstrom=10.0)
    assert len(table) == shown(page)
    assert score_detections(table.points, centres, 4.0).f1 > 0.9


def test_a_click_before_the_first_frame_counts(address, page, rings) -> None:
    """A busy machine draws late: the page knows from its layout, not from a drawn frame, where a click went."""
    page.add_init_script("window.requestAnimationFrame = () => 0; ResizeObserver.prototype.observe = () => {};")
    page.goto(address)
    sync_api.expect(page.get_by_test_id("slice-z")).to_contain_text(f"/ {SHAPE[0] - 1}")
    click_voxel(page, rings[1][CLICKED])
    sync_api.expect(page.get_by_test_id("click")).to_have_count(1)
    (click,) = view(page)["clicks"]
    np.testing.assert_allclose(click["point"], rings[1][CLICKED], atol=1)


def test_scrolling_changes_the_slice(page) -> None:
    number, box = page.get_by_test_id("slice-z"), page.locator("[data-plane=z]").bounding_box()
    before = number.inner_text()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, 120)
    sync_api.expect(number).not_to_have_text(before)


def test_the_position_is_that_under_a_resting_pointer(page) -> None:
    """After scrolling, zooming and going elsewhere, it is what a click would take."""
    box, field = page.locator("[data-plane=z]").bounding_box(), page.get_by_test_id("position")
    at = box["x"] + 0.4 * box["width"], box["y"] + 0.6 * box["height"]
    page.mouse.move(*at)

    def read() -> list[int]:
        return [int(c) for c in field.input_value().split(",")]

    first = read()
    page.mouse.wheel(0, 120)
    sync_api.expect(field).to_have_value(f"{first[0] + 1}, {first[1]}, {first[2]}")
    for key in ("+", "+", "g"):
        page.keyboard.press(key)
    sync_api.expect(field).not_to_have_value(f"{first[0] + 1}, {first[1]}, {first[2]}")
    zoomed = read()
    page.mouse.click(*at)
    sync_api.expect(page.get_by_test_id("click")).to_have_count(1)
    assert view(page)["clicks"][0]["point"] == zoomed


@pytest.mark.parametrize("width", [1000, 1280, 1440, 1920])
def test_nothing_is_cut_off(page, width) -> None:
    """With the longest texts of the display settings; what the tomogram is stays in sight."""
    page.set_viewport_size({"width": width, "height": 720})
    page.get_by_label("Slab, slices averaged").fill("10")
    page.get_by_label("Denoise, sigma in voxels").fill("2.5")
    sync_api.expect(page.get_by_text("160 voxels, 10 Å")).to_be_visible()
    cut = page.evaluate(
        """() => [...document.querySelectorAll(".toolbar *, .display-bar *, .panel *")]
        .filter((each) => !each.children.length && each.textContent && each.clientWidth > 1)
        .filter((each) => each.scrollWidth > each.clientWidth || each.getBoundingClientRect().right > innerWidth)
        .map((each) => each.textContent)"""
    )
    assert cut == []


def test_a_file_without_points_is_refused_in_sight(page, tmp_path) -> None:
    (tmp_path / "picks.csv").write_text("nothing\n")
    other = page.context.new_page()  # as the console tells of the refused request
    other.goto(page.url)
    other.get_by_role("button", name="Import").click()
    dialog = other.get_by_role("dialog")
    dialog.get_by_label("CSV").set_input_files(tmp_path / "picks.csv")
    dialog.get_by_role("button", name="Import").click()
    sync_api.expect(dialog.get_by_role("alert")).to_contain_text("no column z")


def test_a_position_that_is_typed_in_is_gone_to(page) -> None:
    field = page.get_by_test_id("position")
    field.fill("12, 90, 33")
    field.press("Enter")
    sync_api.expect(page.get_by_test_id("slice-z")).to_contain_text("12 /")
    sync_api.expect(page.get_by_test_id("slice-x")).to_contain_text("33 /")
    field.fill("12, 90, 300")
    field.press("Enter")
    sync_api.expect(page.get_by_role("alert")).to_contain_text("outside")
    sync_api.expect(page.get_by_test_id("slice-x")).to_contain_text("33 /")


def test_the_last_of_two_quick_thresholds_stays(found) -> None:
    """The first one is still on its way when the slider moves again."""
    page, held = found, []
    page.route("**/api/tomograms/0/kinds/*", lambda route: route.continue_() if held else held.append(route))
    slider = page.get_by_test_id("threshold")
    slider.fill("1")
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_text("0")
    slider.fill("0")
    page.wait_for_timeout(1000)  # in which the second one would arrive first
    with page.expect_response("**/api/tomograms/0/kinds/*"):
        held[0].continue_()
    for _ in range(300):
        if view(page)["threshold"] == 0:
            break
        page.wait_for_timeout(100)
    assert view(page)["threshold"] == 0
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_text(str(view(page)["n_candidates"]))


def test_what_was_done_is_there_after_a_reload_and_can_be_changed(found, rings) -> None:
    """The slider, a verdict, undo, a negative click, a search that is cancelled."""
    page = found
    page.reload()
    sync_api.expect(page.get_by_test_id("shown-count")).to_be_visible()
    n = shown(page)
    slider = page.get_by_test_id("threshold")
    slider.fill("1")
    sync_api.expect(page.get_by_test_id("shown-count")).not_to_have_text(str(n))
    assert shown(page) < n
    slider.fill("0")
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_text(str(view(page)["n_candidates"]))
    page.get_by_role("button", name="Reset", exact=True).click()
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_text(str(n))
    page.get_by_role("button", name="Reject candidate 1", exact=True).click()
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_text(str(n - 1))
    page.get_by_role("button", name="Undo").click()
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_text(str(n))
    background = max(
        ([32.0, y, x] for y in range(20, 140, 10) for x in range(20, 140, 10)),
        key=lambda point: np.linalg.norm(read_points(rings[0] / "particles.csv").points - point, axis=1).min(),
    )
    page.keyboard.down("Control")
    click_voxel(page, background)
    page.keyboard.up("Control")
    sync_api.expect(page.get_by_test_id("click")).to_have_count(2)
    assert [click["positive"] for click in view(page)["clicks"]] == [True, False]
    n_candidates = view(page)["n_candidates"]
    page.get_by_role("button", name="Find all again").click()
    page.get_by_role("button", name="Cancel").click()
    sync_api.expect(page.get_by_role("button", name="Find all again")).to_be_visible(timeout=PATIENCE)
    assert view(page)["n_candidates"] == n_candidates
    assert view(page)["stale"]


def test_undo_takes_back_the_last_change_though_the_one_before_is_slow(found) -> None:
    """A threshold that a busy server has not taken yet must not be overtaken."""
    page = found
    page.get_by_test_id("threshold").fill("0")
    n = view(page)["n_candidates"]
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_text(str(n))

    page.wait_for_timeout(500)  # until that threshold is with the server
    held: list = []
    page.route("**/api/tomograms/0/kinds/*", lambda route: route.continue_() if held else held.append(route))
    page.get_by_role("button", name="Reset", exact=True).click()
    sync_api.expect(page.get_by_test_id("shown-count")).not_to_have_text(str(n))
    kept = shown(page)
    page.get_by_role("button", name="Reject candidate 1", exact=True).click()
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_text(str(kept - 1))
    page.wait_for_timeout(500)  # in which the verdict would overtake
    held[0].continue_()
    page.wait_for_timeout(1000)
    page.get_by_role("button", name="Undo").click()
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_text(str(kept), timeout=10_000)
    assert view(page)["threshold"] == view(page)["default_threshold"]


def test_an_open_page_finds_a_server_that_was_restarted(page, rings, tmp_path) -> None:
    """The fixture's page provides a browser."""
    other = page.context.browser.new_context().new_page()
    tomogram, session = rings[0] / "tomo.mrc", tmp_path / "another"
    with serving(tomogram, session) as first:
        other.goto(first)
        sync_api.expect(other.get_by_test_id("slice-z")).to_contain_text(f"/ {SHAPE[0] - 1}")
        port = first.partition("//")[2].partition(":")[2].partition("/")[0]
    sync_api.expect(other.get_by_text("The server does not answer.")).to_be_visible()
    with serving(tomogram, session, port) as second:
        assert second == first
        sync_api.expect(other.get_by_text("The server does not answer.")).to_be_hidden()
        other.get_by_role("button", name="Add kind").click()
        sync_api.expect(other.get_by_label("Name of the kind")).to_be_visible()


def test_tabs_follow_each_other(page, rings) -> None:
    other = page.context.new_page()
    other.goto(page.url)
    page.bring_to_front()
    click_voxel(page, rings[1][CLICKED])
    sync_api.expect(page.get_by_test_id("click")).to_have_count(1)
    sync_api.expect(other.get_by_test_id("click")).to_have_count(1)
    other.get_by_role("button", name="Undo").click()
    sync_api.expect(page.get_by_test_id("click")).to_have_count(0)


def test_a_tab_does_not_overwrite_what_another_one_did(found) -> None:
    """It has not heard of the other one's verdict when it sends its own."""
    page, held, is_deaf = found, [], True
    other = page.context.new_page()
    other.goto(page.url)
    sync_api.expect(other.get_by_test_id("shown-count")).to_have_text(str(shown(page)))
    other.route("**/api/session", lambda route: held.append(route) if is_deaf else route.continue_())
    with page.expect_response("**/candidates/*"):
        page.get_by_role("button", name="Accept candidate 1", exact=True).click()
    with other.expect_response("**/candidates/*") as answer:
        other.get_by_role("button", name="Reject candidate 1", exact=True).click()
    assert answer.value.status == 409
    is_deaf = False
    for route in held:
        route.continue_()
    sync_api.expect(other.get_by_role("alert")).to_contain_text("changed in the meantime")
    accept = other.get_by_role("button", name="Accept candidate 1", exact=True)
    sync_api.expect(accept).to_have_attribute("aria-pressed", "true")
    other.get_by_role("button", name="Reject candidate 1", exact=True).click()
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_text(str(shown(other)))
    assert "rejected" in [c["verdict"] for c in candidates(page)]


def test_imported_points_are_segmented(page, rings, tmp_path) -> None:
    rows = "\n".join(",".join(f"{c:.1f}" for c in centre) for centre in rings[1])
    (tmp_path / "picks.csv").write_text(f"z,y,x\n{rows}\n")
    page.get_by_role("button", name="Import").click()
    page.get_by_label("CSV").set_input_files(tmp_path / "picks.csv")
    page.get_by_role("dialog").get_by_role("button", name="Import").click()
    sync_api.expect(page.get_by_text("added", exact=True).first).to_be_visible()
    sync_api.expect(page.get_by_role("progressbar")).to_be_visible()
    sync_api.expect(page.get_by_role("progressbar")).to_be_hidden(timeout=PATIENCE)
    imported = candidates(page)
    assert len(imported) == len(rings[1])
    sync_api.expect(page.get_by_role("button", name="Find all", exact=True)).to_be_visible()  # there was no search
    assert sum(candidate["n_voxels"] > 30 for candidate in imported) >= len(imported) - 1
    with page.expect_download() as download:
        page.get_by_role("button", name="Export in another format").click()
        page.get_by_role("link", name="Everything").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert {"instances.mrc", "particles.star", "report.html"} <= set(archive.namelist())


def test_the_average_is_shown(page, rings, tmp_path) -> None:
    """Of enough particles, which a search of the command line may have found."""
    simulated = simulate(SimulationConfig(shape=SHAPE, counts={"ring": 14}, seed=3))
    folder = write_simulated(tmp_path / "data", simulated)
    words = ["segment", str(folder / "tomo.mrc"), "--point", "{:.0f},{:.0f},{:.0f}".format(*simulated.points[0])]
    subprocess.run([sys.executable, "-m", "cryosam", *words, "--out", str(tmp_path / "out")], check=True)
    other = page.context.browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
    with serving(folder / "tomo.mrc", tmp_path / "another", "0", "--results", str(tmp_path / "out")) as address:
        other.goto(address)
        other.get_by_role("heading", name="Average").click()
        picture = other.get_by_alt_text("slices z, y and x through its middle")
        sync_api.expect(picture).to_be_visible()
        sync_api.expect(other.get_by_role("img", name="Fourier shell correlation")).to_be_visible()
        sync_api.expect(other.get_by_text("halves agree up to")).to_contain_text("Å")
        assert picture.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 288


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: make page")
def test_no_serious_barrier(found) -> None:
    """What axe-core finds, of the page with its list and the average, and of the help sheet."""
    page = found
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for key in ("", "?"):
        if key:
            page.keyboard.press(key)
            sync_api.expect(page.get_by_role("dialog")).to_be_visible()
        violations = page.evaluate("axe.run().then(found => found.violations)")
        serious = [(v["id"], v["nodes"][0]["html"]) for v in violations if v["impact"] in ("serious", "critical")]
        assert serious == []


def test_without_the_token_there_is_nothing(page, address) -> None:
    stranger = page.context.browser.new_context()
    answer = stranger.request.get(address.split("?")[0] + "api/session")
    assert answer.status == 401
    assert "tomograms" not in answer.text()
