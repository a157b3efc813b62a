"""The page and the table over all tomograms of a batch."""

import csv
import io

import numpy as np
from PIL import Image

from cryosam.io.overview import KindCount, TomogramRow, draw_thumbnail, render_overview, write_table
from cryosam.masks import InstanceMask
from cryosam.results import Segmentation
from cryosam.tomogram import Tomogram

ROWS = [
    TomogramRow(
        name="TS 01",
        path="t/TS 01.mrc",
        status="done",
        kinds={"ring": KindCount.of_scores([0.9, 0.8, 0.7], 0.6), "rod": KindCount.of_scores([])},
        voxel_size_angstrom=10.0,
        searched_um3=0.5,
        seconds=61.5,
        peak_memory_bytes=2_500_000_000,
        warnings=("look <here>",),
        thumbnail=b"jpeg",
    ),
    TomogramRow(name="TS_02", path="t/TS_02.mrc", status="failed", reason="truncated, and a <tag>"),
    TomogramRow(name="TS_03", path="t/TS_03.mrc", status="waiting"),
]


def test_the_table_has_a_row_a_tomogram(tmp_path) -> None:
    write_table(tmp_path / "t.csv", ROWS, ["ring", "rod"])
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["done", "failed", "waiting"]
    first = rows[0]
    assert (first["ring_particles"], first["ring_per_um3"], first["ring_expected_false"]) == ("3", "6.0", "0.6")
    assert (first["ring_score_q10"], first["ring_score_q50"], first["ring_score_q90"]) == ("0.72", "0.8", "0.88")
    assert (first["rod_particles"], first["rod_per_um3"], first["rod_score_q50"]) == ("0", "0.0", "")
    assert (first["seconds"], first["peak_memory_gb"], first["warnings"]) == ("61.5", "2.5", "1")
    assert rows[1]["reason"] == "truncated, and a <tag>"
    assert rows[2]["ring_particles"] == ""


def test_the_page_shows_all_and_escapes_names() -> None:
    page = render_overview(ROWS, ["ring", "rod"], [("summary.csv", "a table")])
    assert "3 tomograms, 3 ring, 0 rod" in page
    assert 'href="TS%2001/report.html"' in page
    assert "data:image/jpeg;base64,anBlZw==" in page
    assert "truncated, and a &lt;tag&gt;" in page
    assert "<tag>" not in page
    assert "look &lt;here&gt;" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_an_empty_batch_has_a_page() -> None:
    assert "0 tomograms, nothing found yet" in render_overview([], [], [])


def test_a_thumbnail_shows_particles_where_they_are() -> None:
    data = np.random.default_rng(0).normal(size=(21, 60, 120)).astype(np.float32)
    points = np.array([[12.0, 15, 30], [12, 45, 90], [2, 30, 60]])
    found = Segmentation(data.shape, points, np.ones(3), (InstanceMask.empty(),) * 3)
    picture = Image.open(io.BytesIO(draw_thumbnail(Tomogram(data), found)))
    assert picture.size == (240, 120)
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    colourful = np.ptp(pixels, axis=2)
    near = [
        colourful[round(2 * (y + 0.5)) - 5 : round(2 * (y + 0.5)) + 6, round(2 * (x + 0.5)) - 5 :][:, :11].max()
        for _, y, x in points
    ]
    assert near[0] > 60
    assert near[1] > 60
    assert near[2] < 40  # far from the slices that are shown
    assert draw_thumbnail(Tomogram(data), Segmentation(data.shape, np.empty((0, 3)), np.empty(0), ()))
