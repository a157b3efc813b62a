"""The page in a real browser, for a membrane: the guess, the switch, the search and what it shows."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from opened_page import PATIENCE, SHAPE, click_voxel, page, pytestmark, serving, sync_api, view
from scipy import ndimage

from cryosam.io import write_volume

__all__ = ["page", "pytestmark"]  # a fixture, and when all are skipped

SIZE = 15.0  # angstrom
BALL, RADIUS = np.array([32.0, 80.0, 50.0]), 24.0
SHEET = 130  # column of a flat membrane


@pytest.fixture(scope="module")
def tomogram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vesicle and a flat membrane, 45 angstrom thick, protein dark, in noise."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    away = np.sqrt((z - BALL[0]) ** 2 + (y - BALL[1]) ** 2 + (x - BALL[2]) ** 2)
    protein = (np.abs(away - RADIUS) < 1.5) | (np.abs(x - SHEET) < 1.5)
    noise = np.random.default_rng(0).normal(0, 0.7, SHAPE)
    volume = ndimage.gaussian_filter(noise, 0.6) - ndimage.gaussian_filter(protein.astype(float), 0.7)
    file = tmp_path_factory.mktemp("membranes") / "vesicle.mrc"
    write_volume(file, volume.astype(np.float32), SIZE)
    return file


@pytest.fixture
def address(tomogram: Path, tmp_path: Path) -> Iterator[str]:
    """Of a server of the tomogram, which nobody used yet."""
    with serving(tomogram, tmp_path / "session") as address:
        yield address


def structures(page):
    """The switch."""
    return page.get_by_role("radiogroup", name="What it is")


def test_a_click_on_a_membrane_is_recognised_and_all_membranes_are_found(page, tmp_path: Path) -> None:
    click_voxel(page, BALL + np.array([0, RADIUS, 0]))
    sync_api.expect(page.get_by_test_id("click")).to_have_count(1, timeout=PATIENCE)
    sync_api.expect(structures(page).get_by_role("radio", name="Particle")).to_be_checked()
    sync_api.expect(page.get_by_test_id("guess")).to_contain_text("membrane", timeout=PATIENCE)
    page.get_by_role("button", name="It is a membrane").click()
    sync_api.expect(structures(page).get_by_role("radio", name="Membrane")).to_be_checked()
    sync_api.expect(page.get_by_label("Name of the kind")).to_have_value("membrane")
    sync_api.expect(page.get_by_test_id("guess")).to_have_count(0)
    page.get_by_role("button", name="Find all").click()
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_text("2", timeout=PATIENCE)
    rows = page.get_by_test_id("candidates").get_by_role("listitem")
    sync_api.expect(rows).to_have_count(2)
    sync_api.expect(rows.filter(has_text="nm², closed")).to_have_count(1)
    rows.filter(has_text="nm², closed").locator(".row-go").click()
    found = page.evaluate("fetch('/api/tomograms/0/candidates').then(answer => answer.json())")["kinds"]
    (listed,) = found.values()
    (vesicle,) = [each for each in listed if each["measures"]["is_closed"]]
    assert abs(np.linalg.norm(np.array(vesicle["point"]) - BALL) - RADIUS) < 2
    assert vesicle["measures"]["area"] == pytest.approx(4 * np.pi * (RADIUS * SIZE) ** 2, rel=0.3)
    sync_api.expect(page.get_by_test_id("slice-z")).to_contain_text(f"{round(vesicle['point'][0])} /")
    sync_api.expect(page.get_by_label("Selected candidate").get_by_role("button")).to_have_text(["Accept", "Reject"])
    with page.expect_download() as download:
        page.get_by_role("link", name="Export ZIP").click()
    download.value.save_as(tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert {"semantic.mrc", "labels.csv", "run.json"} <= set(archive.namelist())
    page.get_by_role("button", name="Undo").click()
    sync_api.expect(page.get_by_test_id("shown-count")).to_have_count(0)
    assert view(page)["n_candidates"] == 0


def test_a_kind_that_is_known_to_be_a_membrane_needs_no_mask(page) -> None:
    page.get_by_role("button", name="Add kind").click()
    structures(page).get_by_role("radio", name="Membrane").check(force=True)
    sync_api.expect(page.get_by_role("radio", name="Not a membrane")).to_be_visible()
    click_voxel(page, BALL + np.array([0, RADIUS, 0]))
    sync_api.expect(page.get_by_test_id("click")).to_have_count(1)
    (click,) = view(page)["clicks"]
    assert (click["has_mask"], click["message"], click["guess"]) == (False, None, None)
