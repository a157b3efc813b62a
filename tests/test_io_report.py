import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cryosam.io.average_figure import draw_average
from cryosam.io.pictures import SliceView, colour, gray_range
from cryosam.io.report import render_report
from cryosam.masks import InstanceMask
from cryosam.prompts import PointPrompts
from cryosam.results import Average, Segmentation, Trust
from cryosam.run_report import RunReport, RunWarning
from cryosam.tomogram import Tomogram

SHAPE = (15, 21, 31)
PROMPTS = PointPrompts(np.array([[5.0, 8.0, 9.0], [14.0, 20.0, 30.0]]), np.array([True, False]))


def decode(uri):
    assert uri.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def corners(path):
    return np.array([[float(n) for n in pair.split()] for pair in re.split("[MLZ]+", path) if pair])


@pytest.mark.parametrize(("plane", "rows_cols"), [("z", (1, 2)), ("y", (0, 2)), ("x", (0, 1))])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_image_outline_and_mark_fall_on_the_same_voxels(plane, rows_cols, is_transposed):
    """The bright box of the image, the box of the outline and the centre's mark agree, in every plane."""
    data = np.zeros(SHAPE, dtype=np.float32)
    box = (slice(4, 7), slice(6, 11), slice(8, 15))
    data[box] = 1
    mask = InstanceMask.crop(data > 0)
    centre = (5.0, 8.0, 11.0)
    view = SliceView.through(centre, plane, SHAPE, half=5, is_transposed=is_transposed)
    image = decode(view.png(data, (0.0, 1.0)))
    assert image.shape == view.size[::-1]
    down, right = np.nonzero(image == 255)
    xy = corners(view.outline(mask))
    np.testing.assert_array_equal(xy.min(axis=0), [right.min(), down.min()])
    np.testing.assert_array_equal(xy.max(axis=0), [right.max() + 1, down.max() + 1])
    np.testing.assert_array_equal(view.to_picture(centre), xy.mean(axis=0).round(6))
    sizes = [s.stop - s.start for s in box]
    expected = [sizes[a] for a in rows_cols][:: -1 if is_transposed else 1]
    assert [down.max() - down.min() + 1, right.max() - right.min() + 1] == expected


def test_a_slice_shows_the_mean_of_three():
    data = np.zeros(SHAPE, dtype=np.float32)
    data[5] = 3
    assert decode(SliceView.through((4, 5, 5), "z", SHAPE).png(data, (0.0, 3.0)))[0, 0] == 85
    assert decode(SliceView.through((3, 5, 5), "z", SHAPE).png(data, (0.0, 3.0)))[0, 0] == 0
    assert decode(SliceView.through((0, 5, 5), "z", SHAPE).png(data + 3, (0.0, 3.0)))[0, 0] == 255


def test_a_large_slice_is_reduced_without_moving_things():
    data = np.zeros((1, 3000, 2900), dtype=np.float32)
    data[0, 1500:1506, 900:906] = 1
    image = decode(SliceView.through((0, 0, 0), "z", data.shape).png(data, (0.0, 1.0)))
    assert max(image.shape) <= 1400
    down, right = (float(np.mean(i)) for i in np.nonzero(image == 255))
    assert (down + 0.5) / image.shape[0] == pytest.approx(1503 / 3000, abs=2e-3)
    assert (right + 0.5) / image.shape[1] == pytest.approx(903 / 2900, abs=2e-3)


def test_masks_that_a_view_does_not_cut_have_no_outline():
    mask = InstanceMask((4, 6, 8), np.ones((2, 3, 4), dtype=bool))
    assert SliceView("z", 3, (0, 21), (0, 31)).outline(mask) == ""
    assert SliceView("z", 6, (0, 21), (0, 31)).outline(mask) == ""
    assert SliceView("z", 4, (0, 6), (0, 31)).outline(mask) == ""
    assert SliceView("z", 4, (9, 21), (0, 31)).outline(mask) == ""
    assert SliceView("z", 4, (8, 21), (0, 31)).outline(mask) != ""
    assert SliceView("z", 5, (0, 21), (0, 31)).outline(InstanceMask.empty()) == ""


def test_a_hole_is_a_second_ring():
    ring = np.ones((1, 5, 5), dtype=bool)
    ring[0, 2, 2] = False
    assert SliceView("z", 0, (0, 5), (0, 5)).outline(InstanceMask((0, 0, 0), ring)).count("M") == 2


def test_gray_range_is_robust_and_never_empty():
    data = np.linspace(0, 1, 20**3).reshape(20, 20, 20)
    data[0, 0, 0] = 1e6
    low, high = gray_range(data)
    assert 0 < low < 0.02
    assert 0.98 < high < 1
    assert gray_range(np.full((3, 4, 5), 7.0)) == (6.0, 8.0)


def test_neighbouring_instances_differ_in_colour():
    hues = [int(re.findall(r"\d+", colour(i))[0]) for i in range(200)]
    gaps = np.abs(np.diff(hues)) % 360
    assert np.minimum(gaps, 360 - gaps).min() >= 130


class Checker(HTMLParser):
    """Collects what is fetched, the text, and whether tags close."""

    def __init__(self):
        super().__init__()
        self.links, self.text, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def render(n=20, *, voxel_size=10.0, warnings=(), name="t1", with_masks=True, threshold=0.45, **extra):
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.integers(2, s - 2, n) for s in SHAPE]).astype(float)
    points[: min(n, 1)] = 5, 8, 9
    masks = tuple(InstanceMask(tuple(int(c) - 1 for c in p), np.ones((3, 3, 3), dtype=bool)) for p in points)
    segmentation = Segmentation(
        shape=SHAPE,
        points=points,
        scores=np.linspace(0.95, 0.5, n),
        masks=masks if with_masks else (InstanceMask.empty(),) * n,
        voxel_size_angstrom=voxel_size,
        report=RunReport(warnings=tuple(RunWarning("doubt", text) for text in warnings)),
        name=name,
        threshold=threshold,
        **extra,
    )
    tomogram = Tomogram(rng.normal(size=SHAPE).astype(np.float32), voxel_size)
    page = render_report(segmentation, tomogram, PROMPTS, {"command": "cryosam segment <t1>"})
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    return page, checker


def test_the_page_needs_no_network_and_no_script():
    page, checker = render()
    assert "<script" not in page
    assert "url(" not in page
    assert len(checker.links) == 3 * 2 + 3 * 20
    assert all(link.startswith("data:image/png") for link in checker.links)


def test_the_headline_counts_particles_and_clicks():
    assert "20 particles found from 1 click" in " ".join("".join(render()[1].text).split())
    assert "1 particle found from 1 click" in " ".join("".join(render(1)[1].text).split())


def test_without_a_search_there_is_no_threshold_to_look_at():
    page, checker = render(1, threshold=None)
    assert "1 particle segmented from 1 click" in " ".join("".join(checker.text).split())
    assert "histogram of scores" not in page
    assert "0.950" in "".join(checker.text)


def test_nothing_found_is_said_and_drawn():
    page, checker = render(0)
    assert "No particle found from 1 click" in " ".join("".join(checker.text).split())
    assert len(checker.links) == 3  # the three slices through the click
    assert "Best detections" not in page


def test_warnings_stand_on_the_page():
    assert "the click lies at the edge" in "".join(render(warnings=("the click lies at the edge",))[1].text)


def test_names_are_escaped():
    page, checker = render(name="<b>x</b>", warnings=("a <script>alert(1)</script>",))
    assert "<script" not in page
    assert "<b>x</b>" in "".join(checker.text)


def test_the_worst_are_shown_beside_the_best_and_none_twice():
    page, _ = render(40)
    shown = [int(n) for n in re.findall(r'aria-label="particle (\d+), slice z"', page)]
    assert shown == [*range(1, 13), *range(29, 41)]
    few = [int(n) for n in re.findall(r'aria-label="particle (\d+), slice z"', render(15)[0])]
    assert few == [*range(1, 16)]


def test_scale_bars_only_with_a_voxel_size():
    page, checker = render()
    bars = re.findall(r'class="bar" style="width:([\d.]+)%"><span>([\d.]+) nm', page)
    assert bars[0] == ("16.129", "5")  # 31 voxels are 31 nm: a quarter is 7.75 nm, so 5 nm, and 5 / 31 = 16.129 %
    page, checker = render(voxel_size=None)
    assert 'class="bar"' not in page
    assert "voxel size unknown" in "".join(checker.text)


def test_picks_without_masks_are_circles():
    page, _ = render(3, with_masks=False)
    assert "a10 10 0 1 0" in page  # through the centre of a ball of 20 voxels


def test_the_histogram_stacks_kept_on_candidates():
    candidates = {"candidate_points": np.zeros((5, 3)), "candidate_scores": np.array([0.9, 0.9, 0.5, 0.1, 0.1])}
    page, _ = render(2, **candidates)
    kept = re.findall(r'height="([\d.]+)" fill="#17697d"', page)
    assert len(kept) == 2
    assert 'd="M45.0 0V100"' in page  # the threshold, in percent of the axis from 0 to 1
    assert "tallest bar is 2" in page


def test_trust_is_told_with_the_better_click_and_what_was_missed():
    trust = Trust(
        clicks=np.array([[1.0, 2, 3], [1, 3, 3], [7, 8, 9]]),
        is_on_clicked=np.array([True, True, False]),
        n_found=np.array([2, 2, 3]),
        finds_clicked=np.array([True, True, True]),
        agreement=np.array([0.62, 0.7, 0.81]),
        found_again=np.array([1.0, 0.0]),
        missed=np.array([[4.0, 5, 6]]),
    )
    _, checker = render(2, trust=trust)
    text = " ".join("".join(checker.text).split())
    assert "A better click would have been 7,8,9" in text
    assert "1 of 2 particles are found by all of them, 1 by fewer than half" in text
    assert "find particles that your click misses: 4,5,6." in text
    assert "another particle found" in text
    plain, _ = render(2)
    assert "depends on the click" not in plain


def test_the_average_is_shown_with_its_fourier_shell_correlation():
    """A bright bar along x, which the slice across it shows as a dot."""
    data = np.zeros((9, 9, 9), dtype=np.float32)
    data[4, 4] = 1
    fsc = np.array([1.0, 0.9, 0.4, 0.1, 0.0])
    nothing = Segmentation(SHAPE, np.zeros((0, 3)), np.zeros(0), (), average=Average(data, 2.0, fsc), kind="rod")
    figure = draw_average(replace(nothing, voxel_size_angstrom=10.0))
    z, y, x = (decode(picture) for picture in figure.pictures)
    assert [image.max(axis=1).argmax() for image in (z, y)] == [4, 4]
    assert np.argwhere(x > 0).tolist() == [[4, 4]]
    assert figure.resolution == "180 Å"
    assert figure.curve.startswith("0 4 25 13.6 50 61.6")
    page = render_report(nothing, Tomogram(np.zeros(SHAPE, dtype=np.float32)), PROMPTS, {})
    assert "at least 0.5 down to details of <b>18 voxels</b>" in page
    unknown = replace(nothing, average=Average(data, 2.0))
    assert "Too few particles" in render_report(unknown, Tomogram(np.zeros(SHAPE, dtype=np.float32)), PROMPTS, {})
    assert draw_average(replace(nothing, average=None)) is None
