"""The napari plugin without a window: layers in, layers out."""

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("napari", reason="the plugin needs napari: pip install -e '.[napari]'")

from napari import layers
from napari.components import ViewerModel
from npe2 import PluginManifest

from cryosam.errors import (
    InputError,
    OutputExistsError,
    PromptError,
    TomogramError,
    VoxelSizeError,
)
from cryosam.io import read_info, read_points, read_volume, write_volume
from cryosam.ui.napari.drawing import CLICK, OTHER, mark
from cryosam.ui.napari.placement import viewed_of, voxels_of
from cryosam.ui.napari.reading import get_reader
from cryosam.ui.napari.workbench import Step, Workbench
from quick_core import BLOBS, SHAPE, cube, make_volume

SCALE, SHIFT = 10.0, (100.0, -50.0, 7.0)
ANGSTROM = ("angstrom",) * 3
NOTHING = (2.0, 2.0, 45.0)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def image(viewer: ViewerModel) -> layers.Image:
    return viewer.add_image(make_volume(), name="tomo", scale=(SCALE,) * 3, translate=SHIFT, units=ANGSTROM)


@pytest.fixture
def bench(viewer: ViewerModel, image: layers.Image, quick: SimpleNamespace) -> Iterator[Workbench]:
    bench = Workbench(viewer, image)
    yield bench
    bench.close()


def finish(bench: Workbench, steps: Iterator[Step]) -> list[Step]:
    taken = list(steps)
    bench.draw()
    return taken


def found(bench: Workbench, *, clicks: Any = (BLOBS[0],)) -> layers.Points:
    """A kind with clicks, and what was found of it; the layer of the clicks."""
    layer = bench.add_kind("ribosome")
    layer.add(np.array(clicks))
    finish(bench, bench.find())
    return layer


def world(layer: layers.Layer, point: Any) -> np.ndarray:
    return np.array(layer.data_to_world(point))


# ------------------------------------------------------------------------------------------------------------ manifest


def test_the_installed_manifest_names_what_there_is() -> None:
    manifest = PluginManifest.from_distribution("cryosam-et")
    assert manifest.name == "cryosam-et"
    commands = {command.id: command.python_name for command in manifest.contributions.commands}
    used = [*manifest.contributions.widgets, *manifest.contributions.readers]
    assert {each.command for each in used} == set(commands)
    for name in commands.values():
        module, attribute = name.split(":")
        assert callable(getattr(import_module(module), attribute))


def test_importing_the_package_imports_no_napari() -> None:
    code = "import sys, cryosam, cryosam.ui.session; print({'napari', 'torch', 'qtpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# --------------------------------------------------------------------------------------------------- where things are


def test_clicks_are_voxels_of_the_image_wherever_the_layers_lie(viewer: ViewerModel, image: layers.Image) -> None:
    others = [
        viewer.add_points([(np.array(BLOBS[0]) * SCALE + SHIFT)], units=ANGSTROM),
        viewer.add_points([(np.array(BLOBS[0]) * SCALE + SHIFT) / 10], units=("nm",) * 3),
        viewer.add_points([np.array(BLOBS[0]) * 2], scale=(SCALE / 2,) * 3, translate=SHIFT, units=ANGSTROM),
        viewer.add_points([BLOBS[0]], affine=np.diag([SCALE, SCALE, SCALE, 1]), translate=np.array(SHIFT) / SCALE),
    ]
    for layer in others:
        np.testing.assert_allclose(voxels_of(layer, image), [BLOBS[0]])


def test_each_axis_keeps_its_own_scale(viewer: ViewerModel) -> None:
    image = viewer.add_image(make_volume(), scale=(1, 2, 4), translate=(3, 2, 1))
    layer = viewer.add_points([(8.0, 12.0, 21.0)])
    np.testing.assert_allclose(voxels_of(layer, image), [(5, 5, 5)])


def test_the_voxel_size_is_the_layers_if_it_has_a_unit_of_length(viewer: ViewerModel) -> None:
    in_nm = viewer.add_image(make_volume(), scale=(1.5,) * 3, units=("nm",) * 3)
    in_pixels = viewer.add_image(make_volume(), scale=(1.5,) * 3)
    assert viewed_of(in_nm).voxel_size_angstrom == 15
    assert viewed_of(in_pixels).voxel_size_angstrom is None
    uneven = viewer.add_image(make_volume(), scale=(1.5, 1, 1), units=("nm",) * 3)
    with pytest.raises(VoxelSizeError, match="15 x 10 x 10 angstrom"):
        viewed_of(uneven)


def test_a_file_that_was_opened_tells_its_voxel_size(viewer: ViewerModel, tmp_path: Path) -> None:
    write_volume(tmp_path / "t.mrc", make_volume(), 13.5)
    read = get_reader(str(tmp_path / "t.mrc"))
    assert read is not None
    ((data, meta, kind),) = read(str(tmp_path / "t.mrc"))
    assert kind == "image"
    image = viewer.add_image(data, **meta)
    np.testing.assert_allclose(image.scale, 13.5)
    assert viewed_of(image).voxel_size_angstrom == 13.5
    np.testing.assert_array_equal(viewed_of(image).tomogram.data, make_volume())
    # of another reader, which knows no sizes
    plain = layers.Image(make_volume())
    plain._set_source(plain.source.model_copy(update={"path": str(tmp_path / "t.mrc")}))
    viewed = viewed_of(plain)
    assert (viewed.voxel_size_angstrom, viewed.path) == (13.5, tmp_path / "t.mrc")
    cropped = layers.Image(make_volume()[1:])
    cropped._set_source(plain.source)
    assert viewed_of(cropped).voxel_size_angstrom is None


def test_labels_are_read_as_labels(tmp_path: Path) -> None:
    write_volume(tmp_path / "instances.mrc", np.full(SHAPE, 3, dtype=np.uint8), None)
    read = get_reader([str(tmp_path / "instances.mrc")])
    assert read is not None
    ((data, meta, kind),) = read([str(tmp_path / "instances.mrc")])
    assert (kind, "scale" in meta, int(data.max())) == ("labels", False, 3)
    assert get_reader(["a.mrc", "b.txt"]) is None


def test_of_several_scales_the_finest_is_used(viewer: ViewerModel) -> None:
    volume = make_volume()
    image = viewer.add_image([volume, volume[::2, ::2, ::2]], multiscale=True)
    np.testing.assert_array_equal(viewed_of(image).tomogram.data, volume)
    np.testing.assert_allclose(voxels_of(viewer.add_points([BLOBS[1]]), image), [BLOBS[1]])


@pytest.mark.parametrize(
    ("data", "settings", "match"),
    [
        (np.zeros((30, 40)), {}, "2 dimensions"),
        (np.zeros((2, 30, 40, 50)), {}, "4 dimensions"),
        (np.zeros((30, 40, 3)), {"rgb": True}, "in colour"),
        (np.zeros((1, 30, 40)), {}, "2D image"),
    ],
)
def test_what_is_no_tomogram_is_refused(viewer: ViewerModel, data: Any, settings: dict[str, Any], match: str) -> None:
    with pytest.raises(TomogramError, match=match):
        Workbench(viewer, viewer.add_image(data, name="it", **settings))


def test_a_tomogram_in_memory_needs_no_file(viewer: ViewerModel) -> None:
    viewed = viewed_of(viewer.add_image(make_volume(), name="in memory"))
    assert not viewed.path.exists()
    assert viewed.name == "in memory"
    np.testing.assert_array_equal(viewed.pixels("x", 7), viewed.grey.to_bytes(make_volume()[:, :, 7]))
    viewed.start_copy(on_disk=False)
    viewed.await_copy()
    np.testing.assert_array_equal(viewed.pixels("x", 7), viewed.grey.to_bytes(make_volume()[:, :, 7]))


# ------------------------------------------------------------------------------------------------------------- masks


def test_a_click_gets_the_mask_under_it_upon_the_image(bench: Workbench, image: layers.Image) -> None:
    layer = bench.add_kind("ribosome")
    layer.add(np.array([BLOBS[1]]))
    steps = finish(bench, bench.segment())
    assert steps == [Step("segmenting clicks", 0, 1)]
    (labels,) = [each for each in bench.viewer.layers if isinstance(each, layers.Labels)]
    expected = np.zeros(SHAPE, dtype=np.uint8)
    expected[cube(BLOBS[1]).box] = 1
    np.testing.assert_array_equal(labels.data, expected)
    np.testing.assert_allclose(world(labels, BLOBS[1]), world(image, BLOBS[1]))
    np.testing.assert_allclose(world(layer, BLOBS[1]), world(image, BLOBS[1]))


def test_a_layer_of_another_program_is_taken_as_clicks(bench: Workbench, viewer: ViewerModel) -> None:
    layer = viewer.add_points([world(bench.image, blob) for blob in BLOBS[:2]], name="mine", units=ANGSTROM)
    kind = bench.take(layer)
    finish(bench, bench.segment())
    assert [click.point for click in bench.view(layer).clicks] == list(BLOBS[:2])
    assert bench.session.state.kind(kind).name == "mine"
    assert bench.take(layer) == kind


def test_only_what_changed_is_segmented_again(bench: Workbench, quick: SimpleNamespace) -> None:
    layer = bench.add_kind("ribosome")
    layer.add(np.array(BLOBS))
    finish(bench, bench.segment())
    assert len(quick.calls) == 3
    layer.selected_data = {0}
    layer.remove_selected()
    layer.add(np.array([NOTHING]))
    finish(bench, bench.segment())
    assert len(quick.calls) == 4
    assert [click.point for click in bench.view(layer).clicks] == [*BLOBS[1:], NOTHING]
    assert any("nothing stands out" in sentence for sentence in bench.summary())
    assert len(np.unique(bench._masks["clicked masks"].data)) == 3  # of the two blobs, and 0


def test_a_click_on_something_else_is_negative(bench: Workbench, quick: SimpleNamespace) -> None:
    layer = bench.add_kind("ribosome")
    layer.add(np.array([BLOBS[0]]))
    mark(layer, is_positive=False)
    layer.add(np.array([BLOBS[2]]))
    mark(layer, is_positive=True)
    layer.add(np.array([BLOBS[1]]))
    assert not np.allclose(layer.face_color[1], layer.face_color[0])
    np.testing.assert_allclose(layer.face_color[2], layer.face_color[0])
    finish(bench, bench.find())
    prompts, _ = quick.calls[-1]
    np.testing.assert_array_equal(prompts.positive, [BLOBS[0], BLOBS[1]])
    np.testing.assert_array_equal(prompts.negative, [BLOBS[2]])


def test_clicks_of_another_program_are_positive_and_more_can_be_negative(bench: Workbench, viewer: ViewerModel) -> None:
    layer = viewer.add_points([world(bench.image, blob) for blob in BLOBS[:2]], units=ANGSTROM)
    bench.take(layer)
    mark(layer, is_positive=False)
    layer.add(world(bench.image, BLOBS[2]))
    assert list(layer.features[CLICK] == OTHER) == [False, False, True]
    finish(bench, bench.segment())
    assert [click.is_positive for click in bench.view(layer).clicks] == [True, True, False]


def test_a_layer_without_clicks_has_the_colour_of_the_next(bench: Workbench) -> None:
    layer = bench.add_kind("ribosome")
    first = layer.current_face_color
    mark(layer, is_positive=False)
    assert first != layer.current_face_color


@pytest.mark.parametrize("act", ["segment", "find"])
def test_without_clicks_nothing_begins(bench: Workbench, act: str) -> None:
    bench.add_kind("ribosome")
    with pytest.raises(PromptError, match="click"):
        list(getattr(bench, act)())


def test_a_click_beside_the_image_is_refused(bench: Workbench) -> None:
    layer = bench.add_kind("ribosome")
    layer.add(np.array([BLOBS[0], (2.0, 2.0, 50.0)]))
    with pytest.raises(PromptError, match=r"ribosome: point 2,2,50 lies outside"):
        bench.segment()
    assert bench.view(layer).clicks == ()


def test_a_layer_that_cannot_be_clicks_is_refused(bench: Workbench, viewer: ViewerModel) -> None:
    bench.take(viewer.add_points(np.zeros((1, 2)), name="flat"))
    with pytest.raises(PromptError, match="'flat' has 2 dimensions"):
        bench.segment()


# ------------------------------------------------------------------------------------------------------------- search


def test_what_is_found_lies_upon_the_image_with_its_scores(bench: Workbench, image: layers.Image) -> None:
    layer = bench.add_kind("ribosome")
    layer.add(np.array([BLOBS[0]]))
    steps = finish(bench, bench.find())
    assert {step.text for step in steps} == {"segmenting clicks", "looking at the click"}
    points, labels = bench.viewer.layers["ribosome: found"], bench.viewer.layers["found masks"]
    np.testing.assert_allclose(voxels_of(points, image), BLOBS[:2])
    np.testing.assert_allclose(world(points, points.data[1]), np.array(BLOBS[1]) * SCALE + SHIFT)
    np.testing.assert_allclose(points.features["score"], [0.9, 0.7])
    np.testing.assert_allclose(points.size, 8)  # the diameter that the search tells
    for row, instance in zip(points.data, points.features["instance"], strict=True):
        np.testing.assert_array_equal(np.argwhere(labels.data == instance).mean(axis=0), np.round(row))
    assert len(np.unique(labels.data)) == 3
    np.testing.assert_allclose(world(labels, (1, 2, 3)), world(image, (1, 2, 3)))
    assert "ribosome: 2 found, of 3 candidates; about 0.4 are expected to be false" in bench.summary()
    assert not bench.viewer.layers["clicked masks"].visible


def test_a_threshold_hides_and_shows(bench: Workbench) -> None:
    layer = found(bench)
    points, labels = bench.viewer.layers["ribosome: found"], bench.viewer.layers["found masks"]
    for threshold, scores in ((0.8, [0.9]), (0.95, []), (0.1, [0.9, 0.7, 0.2])):
        bench.set_threshold(layer, threshold)
        np.testing.assert_allclose(points.features["score"], scores)
        np.testing.assert_array_equal(points.data, np.reshape(BLOBS[: len(scores)], (-1, 3)))
        assert len(np.unique(labels.data)) == 1 + len(scores)
    assert bench.view(layer).threshold == 0.1
    assert len(bench.viewer.layers) == 5  # all layers were there already


def test_a_particle_is_seen_in_every_slice_that_cuts_it(bench: Workbench) -> None:
    found(bench)
    points, dims = bench.viewer.layers["ribosome: found"], bench.viewer.dims
    centre, radius = BLOBS[0][0], 4
    for z, is_seen in ((centre, True), (centre + radius - 1, True), (centre + radius + 1, False)):
        dims.set_point(0, world(points, (z, 0, 0))[0])
        assert (points.get_value(world(points, (z, *BLOBS[0][1:])), world=True) == 0) == is_seen


@pytest.mark.parametrize("margin", [0.0, 20.0])
def test_the_picture_stays_as_it_is(bench: Workbench, image: layers.Image, margin: float) -> None:
    bench.viewer.dims.margin_left = bench.viewer.dims.margin_right = (margin,) * 3
    image.projection_mode = "mean"
    bench.viewer.dims.set_point(0, world(image, BLOBS[0])[0])
    before = image._slice.image.raw.copy()
    found(bench)
    bench.viewer.dims.set_point(0, 0)
    bench.viewer.dims.set_point(0, world(image, BLOBS[0])[0])
    np.testing.assert_array_equal(image._slice.image.raw, before)


def test_the_active_layer_stays_active(bench: Workbench) -> None:
    layer = found(bench)
    assert bench.viewer.layers.selection.active is layer


def test_several_kinds_are_searched_for_together(bench: Workbench) -> None:
    first, second = bench.add_kind("a"), bench.add_kind("b")
    unclicked = bench.add_kind("c")
    first.add(np.array([BLOBS[0]]))
    second.add(np.array([BLOBS[1]]))
    finish(bench, bench.find())
    a, b = bench.viewer.layers["a: found"], bench.viewer.layers["b: found"]
    assert "c: found" not in bench.viewer.layers
    assert bench.view(unclicked).candidates == ()
    assert sorted([*a.features["instance"], *b.features["instance"]]) == [1, 2, 3, 4]
    assert not np.allclose(a.border_color[0], b.border_color[0])
    bench.set_threshold(second, 0.8)
    assert (len(a.data), len(b.data)) == (2, 1)


def test_a_diameter_in_angstrom_needs_the_voxel_size(viewer: ViewerModel, quick: SimpleNamespace) -> None:
    bench = Workbench(viewer, viewer.add_image(make_volume()))
    layer = bench.add_kind()
    layer.add(np.array([BLOBS[0]]))
    with pytest.raises(VoxelSizeError):
        finish(bench, bench.find(250.0))
    with pytest.raises(VoxelSizeError, match="larger than 0"):
        bench.set_voxel_size(0)
    bench.set_voxel_size(13.0)
    finish(bench, bench.find(250.0))
    assert quick.calls[-1][1].diameter_angstrom == 250
    assert bench.session.tomograms[0].tomogram.voxel_size_angstrom == 13


def test_a_search_is_cancelled(bench: Workbench, quick: SimpleNamespace) -> None:
    layer = bench.add_kind("ribosome")
    layer.add(np.array([BLOBS[0]]))
    quick.gate.clear()
    steps = bench.find()
    while next(steps).text != "looking at the click":
        pass
    bench.cancel()
    finish(bench, steps)
    assert bench.view(layer).candidates == ()
    assert bench.session.describe()["job"] is None
    quick.gate.set()
    finish(bench, bench.find())
    assert len(bench.view(layer).candidates) == 3


def test_masks_of_many_clicks_are_cancelled_between_two(bench: Workbench) -> None:
    layer = bench.add_kind("ribosome")
    layer.add(np.array(BLOBS))
    steps = bench.find()
    next(steps), next(steps)
    bench.cancel()
    assert list(steps) == []
    assert len(bench.view(layer).clicks) == 1
    assert bench.view(layer).searched is None


def test_a_search_that_fails_says_why(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise InputError("there is a reason")

    monkeypatch.setattr("cryosam.segmentation.segment", fail)
    with pytest.raises(InputError, match="there is a reason"):
        found(bench)


# ---------------------------------------------------------------------------------------------------- by hand


def test_a_point_that_is_deleted_is_rejected_until_it_is_brought_back(bench: Workbench) -> None:
    layer = found(bench)
    points = bench.viewer.layers["ribosome: found"]
    points.selected_data = {0}
    points.remove_selected()
    bench.set_threshold(layer, 0.1)
    np.testing.assert_allclose(points.features["score"], [0.7, 0.2])
    finish(bench, bench.find())
    assert [c.verdict for c in bench.view(layer).candidates] == ["rejected", None, None]
    np.testing.assert_allclose(points.features["score"], [0.7])
    assert bench.restore(layer) == 1
    np.testing.assert_allclose(points.features["score"], [0.9, 0.7])


def test_a_point_that_is_added_is_a_particle_and_gets_a_mask(bench: Workbench) -> None:
    layer = found(bench)
    points, labels = bench.viewer.layers["ribosome: found"], bench.viewer.layers["found masks"]
    points.selected_data = {1}  # the new point is given its features
    points.add(np.array([BLOBS[2]]))
    bench.set_threshold(layer, 0.8)
    np.testing.assert_array_equal(points.data, [BLOBS[2], BLOBS[0]])
    np.testing.assert_allclose(points.features["score"], [1, 0.9])
    assert labels.data[tuple(int(c) for c in BLOBS[2])] == 0
    assert finish(bench, bench.segment()) == [Step("segmenting particles added by hand", 0, 1)]
    assert labels.data[tuple(int(c) for c in BLOBS[2])] == 1
    assert finish(bench, bench.segment()) == []


def test_a_point_that_is_moved_takes_the_others_place(bench: Workbench) -> None:
    layer = found(bench)
    points = bench.viewer.layers["ribosome: found"]
    moved = points.data.copy()
    moved[1] = (15.0, 28.0, 37.0)
    points.data = moved
    finish(bench, bench.segment())
    np.testing.assert_array_equal(points.data, [moved[1], BLOBS[0]])
    assert [c.verdict for c in bench.view(layer).candidates] == ["accepted", None, "rejected", None]


def test_a_layer_of_results_that_is_removed_rejects_nothing(bench: Workbench) -> None:
    layer = found(bench)
    bench.viewer.layers.remove("ribosome: found")
    bench.viewer.layers.remove("found masks")
    bench.set_threshold(layer, 0.1)
    assert len(bench.viewer.layers["ribosome: found"].data) == 3
    assert len(np.unique(bench.viewer.layers["found masks"].data)) == 4


def test_a_layer_of_results_is_no_layer_of_clicks(bench: Workbench) -> None:
    found(bench)
    with pytest.raises(InputError, match="has particles found"):
        bench.take(bench.viewer.layers["ribosome: found"])


def test_kinds_are_named_and_removed_with_their_layers(bench: Workbench) -> None:
    first, second = bench.add_kind("a"), bench.add_kind("b")
    for layer in (first, second):
        layer.add(np.array([BLOBS[0]]))
    second.name = "proteasome"
    bench.viewer.layers.remove(first)
    finish(bench, bench.segment())
    assert [kind.name for kind in bench.session.state.kinds] == ["proteasome"]


# -------------------------------------------------------------------------------------------------------------- files


def test_the_files_are_those_of_the_command_line(bench: Workbench, tmp_path: Path) -> None:
    layer = found(bench)
    bench.set_threshold(layer, 0.1)
    points = bench.viewer.layers["ribosome: found"]
    points.selected_data = {0}
    points.remove_selected()
    finish(bench, bench.export(tmp_path / "out"))
    table = read_points(tmp_path / "out" / "particles.csv")
    np.testing.assert_allclose(table.points, BLOBS[1:])
    np.testing.assert_allclose(table.scores, [0.7, 0.2])
    labels = bench.viewer.layers["found masks"].data
    np.testing.assert_array_equal(read_volume(tmp_path / "out" / "instances.mrc"), labels)
    assert read_info(tmp_path / "out" / "instances.mrc").voxel_size_angstrom == SCALE
    assert '"tomo"' in (tmp_path / "out" / "run.json").read_text()
    with pytest.raises(OutputExistsError):
        finish(bench, bench.export(tmp_path / "out"))


def test_nothing_to_export_is_said(bench: Workbench, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no particle is shown"):
        finish(bench, bench.export(tmp_path / "out"))


# -------------------------------------------------------------------------------------------------------------- window

WINDOW = """
import sys, time
import numpy as np
from napari.components import ViewerModel
from cryosam import segmentation
from cryosam.masks import InstanceMask, Segmentation
from cryosam.ui.napari.panel import Panel
from qtpy.QtWidgets import QApplication


def answer(tomogram, prompts, config, **_):
    masks = tuple(InstanceMask(tuple(int(c) for c in p), np.ones((1, 1, 1), bool)) for p in prompts.positive)
    return Segmentation(tomogram.shape, np.zeros((0, 3)), np.zeros(0), (), prompt_masks=masks)


segmentation.segment_prompts = answer
app, viewer = QApplication([]), ViewerModel()  # a canvas would need OpenGL
panel = Panel(viewer)
viewer.add_image(np.random.default_rng(0).random((9, 11, 13), dtype=np.float32), name="tomo", scale=(3, 3, 3))


def press(button):
    button.native.click()
    end = time.monotonic() + 60
    while panel.cancel.enabled and time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


press(panel.find)
print(panel.said.value)
press(panel.new_kind)
press(panel.segment)
print(panel.said.value)
panel.clicks.value.add(np.array([(4.0, 5.0, 6.0)]))
panel.diameter.value = "wide"
press(panel.find)
print(panel.said.value)
press(panel.segment)
print(np.argwhere(viewer.layers["clicked masks"].data).tolist(), panel.segment.enabled, panel.cancel.enabled)
viewer.layers.clear()
press(panel.new_kind)
print(panel.said.value)
"""


def test_the_panel_does_in_a_window_what_its_buttons_say() -> None:
    offscreen = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    there = [sys.executable, "-c", "from qtpy.QtWidgets import QApplication; QApplication([])"]
    if subprocess.run(there, env=offscreen, capture_output=True, check=False).returncode:
        pytest.skip("no Qt that opens a window: pip install pyqt6, and its system libraries")
    # in a process of its own: Qt ends a process where an exception leaves one of its calls
    ran = subprocess.run([sys.executable, "-c", WINDOW], env=offscreen, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "Begin a kind of particle first, and click the middle of one",
        "No clicks: choose a points layer, and click the middle of a particle in it",
        "The diameter is a number of angstrom, got 'wide'",
        "[[4, 5, 6]] True False",
        "Open a tomogram first: drag its file into the window",
    ]
