"""The panel of napari: buttons for a `Workbench`, whose long computations run in a thread."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from magicgui.widgets import (
    ComboBox,
    Container,
    FloatSlider,
    Label,
    LineEdit,
    ProgressBar,
    PushButton,
    RadioButtons,
    Widget,
)
from napari import layers
from napari.components import ViewerModel

from cryosam.errors import CryosamError, InputError
from cryosam.structure_results import StructureKind
from cryosam.ui.napari.drawing import CLICK, OTHER, PARTICLE, mark
from cryosam.ui.napari.workbench import Step, Workbench

__all__ = ["Panel"]

_NEXT = {"the particle": PARTICLE, "something else": OTHER}
_STRUCTURES: dict[str, StructureKind] = {
    "a particle": "particle",
    "a membrane": "membrane",
    "a filament": "filament",
    "inside a compartment": "compartment",
}


class Panel(Container[Widget]):
    """The panel that napari shows as "Find particles".

    Parameters
    ----------
    napari_viewer
        The viewer, passed by napari.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        self._viewer = napari_viewer
        self._benches: dict[layers.Image, Workbench] = {}
        self._worker: Any = None
        self._is_updating = False  # while the panel updates its widgets, they do not change the session
        self.image = ComboBox(choices=self._images, label="Tomogram")
        self.clicks = ComboBox(choices=self._points, label="Clicks")
        self.new_kind = PushButton(text="New kind of particle")
        self.structure = ComboBox(choices=list(_STRUCTURES), label="Clicks are on")
        self.next_click = RadioButtons(choices=list(_NEXT), label="Next click on")
        self.voxel_size = LineEdit(label="Voxel size, Å", tooltip="From the file or the layer; enter it if unknown")
        self.diameter = LineEdit(label="Diameter, Å", tooltip="Longest extent of the particle; may be left empty")
        self.segment = PushButton(text="Segment what I clicked")
        self.find = PushButton(text="Find all")
        self.cancel = PushButton(text="Cancel", enabled=False)
        self.threshold = FloatSlider(min=0, max=1, step=0.01, value=0.5, label="Lowest score")
        self.restore = PushButton(text="Restore deleted particles")
        self.export = PushButton(text="Export to folder...")
        self.progress = ProgressBar(min=0, max=1, value=0, visible=False)
        self.said = Label(value="")
        shown = [
            self.image,
            self.clicks,
            self.new_kind,
            self.structure,
            self.next_click,
            self.voxel_size,
            self.diameter,
        ]
        shown += [
            self.segment,
            self.find,
            self.cancel,
            self.threshold,
            self.restore,
            self.export,
            self.progress,
            self.said,
        ]
        super().__init__(widgets=shown)
        self.said.native.setWordWrap(True)
        self._connect()
        self._show_image()

    def run(self, steps: Iterator[Step], success: str = "") -> None:
        """Run steps in a thread and show their progress, then the result or the error message."""
        from napari.qt.threading import create_worker  # needs Qt, which the import of this module does not

        def guarded() -> Generator[Step, None, str]:
            try:
                yield from steps
            except CryosamError as error:  # napari would show it as a program error, or not at all
                return str(error)
            return success

        self._set_busy(True)
        ends = {"yielded": self._show_step, "returned": self._show_end, "finished": lambda: self._set_busy(False)}
        self._worker = create_worker(guarded, _connect=ends)

    # ------------------------------------------------------------------------------------------------------- private

    def _connect(self) -> None:
        self.image.changed.connect(self._show_image)
        self.clicks.changed.connect(self._show_kind)
        self.new_kind.changed.connect(lambda: self._try(self._begin_kind))
        self.structure.changed.connect(lambda: self._try(self._set_structure))
        self.next_click.changed.connect(lambda: self._try(self._mark))
        self.voxel_size.changed.connect(lambda: self._try(self._set_voxel_size))
        self.segment.changed.connect(lambda: self._try(lambda: self.run(self._taken().segment())))
        self.find.changed.connect(lambda: self._try(lambda: self.run(self._taken().find(self._diameter()))))
        self.cancel.changed.connect(lambda: self._bench().cancel())
        self.threshold.changed.connect(lambda: self._try(self._set_threshold))
        self.restore.changed.connect(lambda: self._try(lambda: self._bench().restore(self._layer())))
        self.export.changed.connect(lambda: self._try(self._export))
        events = self._viewer.layers.events
        events.removed.connect(self._forget)
        for event in (events.inserted, events.removed, events.renamed):
            event.connect(self._list_layers)

    def _try(self, action: Callable[[], object]) -> None:
        """Run an action at once, and show errors and the summary in the panel."""
        if self._is_updating:
            return
        try:
            action()
        except CryosamError as error:
            self._say([str(error)])
        else:
            if self.cancel.enabled:  # a worker has started, and shows its own messages
                return
            if self.image.value in self._benches:
                self._say(self._bench().summary())

    def _images(self, _: Any) -> list[tuple[str, layers.Image]]:
        return [(layer.name, layer) for layer in self._viewer.layers if isinstance(layer, layers.Image)]

    def _points(self, _: Any) -> list[tuple[str, layers.Points]]:
        """Return all points layers except those of particles found."""
        found = [layer for bench in self._benches.values() for layer in bench.found]
        everything = [layer for layer in self._viewer.layers if isinstance(layer, layers.Points)]
        return [(layer.name, layer) for layer in everything if layer not in found]

    def _list_layers(self, _: Any = None) -> None:
        self.image.reset_choices()
        self.clicks.reset_choices()

    def _bench(self) -> Workbench:
        image = self.image.value
        if image is None:
            raise InputError("open a tomogram first: drag its file into the window")
        if image not in self._benches:
            self._benches[image] = Workbench(self._viewer, image)
        return self._benches[image]

    def _layer(self) -> layers.Points:
        layer = self.clicks.value
        if layer is None:
            raise InputError("add a kind of particle first, and click the middle of one")
        return layer

    def _taken(self) -> Workbench:
        """Return the workbench, with the selected layer as clicks."""
        bench = self._bench()
        bench.take(self._layer())
        return bench

    def _begin_kind(self) -> None:
        layer = self._bench().add_kind()
        self.clicks.value = layer
        self._viewer.layers.selection.active = layer

    def _mark(self) -> None:
        mark(self._layer(), is_positive=_NEXT[self.next_click.value] == PARTICLE)

    def _set_structure(self) -> None:
        self._bench().set_structure(self._layer(), _STRUCTURES[self.structure.value])

    def _set_voxel_size(self) -> None:
        size = _number(self.voxel_size.value, "voxel size")
        if size is not None:
            self._bench().set_voxel_size(size)

    def _diameter(self) -> float | None:
        return _number(self.diameter.value, "diameter")

    def _set_threshold(self) -> None:
        if self._bench().view(self._layer()).candidates:
            self._bench().set_threshold(self._layer(), self.threshold.value)

    def _export(self) -> None:
        from qtpy.QtWidgets import QFileDialog

        bench = self._bench()
        folder = QFileDialog.getExistingDirectory(self.native, "A new or empty folder for the results")
        if folder:
            self.run(bench.export(Path(folder)), f"Results are in {folder}")

    def _forget(self, event: Any) -> None:
        bench = self._benches.pop(event.value, None)
        if bench is not None:
            bench.close()

    def _show_image(self) -> None:
        """Show the properties of the selected tomogram."""
        if self.image.value is not None:
            try:
                size = self._bench().voxel_size_angstrom
            except CryosamError as error:
                self._say([str(error)])
                return
            self._show(self.voxel_size, "" if size is None else f"{size:g}")
        self._show_kind()

    def _show_kind(self) -> None:
        """Show the properties of the selected kind."""
        bench, layer = self._benches.get(self.image.value), self.clicks.value
        if bench is None or layer is None:
            return
        self._show(self.threshold, bench.view(layer).threshold)
        next_is_other = CLICK in layer.features and layer.feature_defaults[CLICK].iloc[0] == OTHER
        self._show(self.next_click, "something else" if next_is_other else "the particle")
        names = {structure: name for name, structure in _STRUCTURES.items()}
        self._show(self.structure, names[bench.structure(layer)])
        self._say(bench.summary())

    def _show(self, widget: Any, value: Any) -> None:
        self._is_updating = True
        widget.value = value
        self._is_updating = False

    def _show_step(self, step: Step) -> None:
        self.progress.max = step.total or 0  # a bar from 0 to 0 shows that the total is unknown
        self.progress.value = step.done if step.total else 0
        self._say([f"{step.text}..."])

    def _show_end(self, sentence: str) -> None:
        self._bench().draw()
        self._list_layers()  # without the layers of particles found
        self._show_kind()
        if sentence:
            self._say([sentence])

    def _set_busy(self, is_busy: bool) -> None:
        self.progress.visible = is_busy
        for widget in self:
            if widget not in (self.progress, self.said):
                widget.enabled = is_busy == (widget is self.cancel)

    def _say(self, sentences: list[str]) -> None:
        self.said.value = "\n".join(f"{sentence[:1].upper()}{sentence[1:]}" for sentence in sentences)


def _number(text: str, name: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"the {name} must be a number, in angstrom, got {text!r}") from None
    if not 0 < value < float("inf"):
        raise InputError(f"the {name} must be larger than 0 angstrom, got {text}")
    return value
