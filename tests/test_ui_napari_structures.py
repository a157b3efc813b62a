"""Membranes, filaments and compartments in napari, without a window: what is drawn of them, and where."""

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("napari", reason="the plugin needs napari: pip install -e '.[napari]'")

from napari import layers
from napari.components import ViewerModel

from cryosam import structure_search
from cryosam.errors import InputError
from cryosam.io import read_volume
from cryosam.ui.napari import panel
from cryosam.ui.napari.workbench import Workbench
from stand_in_structures import SHAPE, SIZE, StandIn, filament, lumen, membrane

CLICK = (6.0, 5.0, 5.0)
SHIFT = np.array([100.0, -50.0, 7.0])
FOUND = {
    "membrane": (membrane(6, 0.8), membrane(20, 0.4)),
    "filament": (filament(20, 0.9), filament(26, 0.6)),
    "compartment": (lumen(),),
}


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure_search, "_finder", lambda structure, config: StandIn(FOUND[structure]))


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def bench(viewer: ViewerModel) -> Iterator[Workbench]:
    data = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    image = viewer.add_image(data, name="tomo", scale=(SIZE,) * 3, translate=SHIFT, units=("angstrom",) * 3)
    bench = Workbench(viewer, image)
    yield bench
    bench.close()


def find(bench: Workbench, structure: str) -> layers.Points:
    """A kind of a structure with one click, and what was found of it; the layer of the click."""
    layer = bench.add_kind(structure)
    bench.set_structure(layer, structure)
    layer.add(np.array([CLICK]))
    list(bench.find())
    bench.draw()
    return layer


def in_world(layer: layers.Layer, points: np.ndarray) -> np.ndarray:
    return np.array([layer.data_to_world(point) for point in points])


def test_membranes_are_surfaces_upon_the_image(bench: Workbench, viewer: ViewerModel) -> None:
    find(bench, "membrane")
    vertices, faces, values = viewer.layers["membrane: surfaces"].data
    (first, second) = FOUND["membrane"]
    np.testing.assert_allclose(vertices, np.concatenate([first.mesh.vertices, second.mesh.vertices]))
    np.testing.assert_array_equal(faces, np.concatenate([first.mesh.faces, second.mesh.faces + 4]))
    np.testing.assert_array_equal(values, [1, 1, 1, 1, 2, 2, 2, 2])
    labels = viewer.layers["found masks"].data
    assert {int(labels[tuple(np.rint(vertices[k]).astype(int))]) for k in (0, 1, 2, 3)} == {1}
    assert labels[20, 4, 4] == 2
    world = in_world(viewer.layers["membrane: surfaces"], vertices)
    np.testing.assert_allclose(world, vertices * SIZE + SHIFT)


def test_filaments_are_paths_as_wide_as_they_are(bench: Workbench, viewer: ViewerModel) -> None:
    find(bench, "filament")
    layer = viewer.layers["filament: filaments"]
    assert isinstance(layer, layers.Shapes)
    for path, line in zip(layer.data, FOUND["filament"], strict=True):
        np.testing.assert_allclose(path, line.points)
    np.testing.assert_allclose(layer.edge_width, 2 * 15.0 / SIZE)
    assert layer.features["instance"].tolist() == [1, 2]
    assert layer.features["score"].tolist() == [0.9, 0.6]
    np.testing.assert_allclose(in_world(layer, layer.data[0][:1]), FOUND["filament"][0].points[:1] * SIZE + SHIFT)
    assert "filament: surfaces" not in viewer.layers


def test_compartments_are_the_surfaces_around_them(bench: Workbench, viewer: ViewerModel) -> None:
    find(bench, "compartment")
    vertices = viewer.layers["compartment: surfaces"].data[0]
    np.testing.assert_allclose(vertices.min(axis=0), [4.5, 9.5, 3.5], atol=0.3)
    np.testing.assert_allclose(vertices.max(axis=0), [15.5, 23.5, 29.5], atol=0.3)


def test_what_is_hidden_by_the_threshold_or_deleted_is_not_drawn(bench: Workbench, viewer: ViewerModel) -> None:
    layer = find(bench, "membrane")
    bench.set_threshold(layer, 0.6)
    assert len(viewer.layers["membrane: surfaces"].data[0]) == 4
    assert [each.name for each in viewer.layers].count("membrane: surfaces") == 1
    bench.set_threshold(layer, 0.0)
    viewer.layers["membrane: surfaces"].visible = False
    points = viewer.layers["membrane: found"]
    points.selected_data = {0}
    points.remove_selected()
    bench.set_threshold(layer, 0.1)
    drawn = viewer.layers["membrane: surfaces"]
    np.testing.assert_allclose(drawn.data[0], FOUND["membrane"][1].mesh.vertices)
    assert not drawn.visible
    bench.set_threshold(layer, 0.9)
    assert "membrane: surfaces" not in viewer.layers


def test_a_click_on_a_membrane_has_no_mask_and_that_is_said(bench: Workbench) -> None:
    layer = bench.add_kind("membrane")
    bench.set_structure(layer, "membrane")
    assert bench.structure(layer) == "membrane"
    layer.add(np.array([CLICK]))
    with pytest.raises(InputError, match="a click on a membrane has no mask of its own: press Find all"):
        bench.segment()


def test_the_files_have_the_geometry(bench: Workbench, tmp_path) -> None:
    find(bench, "filament")
    list(bench.export(tmp_path / "out"))
    assert (tmp_path / "out" / "filaments.csv").is_file()
    assert read_volume(tmp_path / "out" / "instances.mrc").max() == 2


def test_the_panel_offers_what_there_is() -> None:
    assert set(panel._STRUCTURES.values()) == {"particle", *FOUND}
