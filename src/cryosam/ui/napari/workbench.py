"""A session for one image layer: the actions of the buttons. It uses layers but no window, so it runs without one."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
from napari import layers
from napari.components import ViewerModel

from cryosam.config import Config
from cryosam.errors import InputError, PromptError, UnknownItemError, VoxelSizeError
from cryosam.matching.feature_cache import FeatureCache
from cryosam.structure_results import StructureKind
from cryosam.ui.exchange import write_all
from cryosam.ui.napari.drawing import (
    Drawn,
    add_clicks,
    add_found,
    clicks_in,
    features_of,
    labels_of,
    points_of,
    shown_of,
)
from cryosam.ui.napari.placement import placement, viewed_of, voxels_of
from cryosam.ui.napari.solids import draw_solids
from cryosam.ui.session import Session
from cryosam.ui.state import Point, View
from cryosam.ui.viewed import Gallery

__all__ = ["Step", "Workbench"]

Clicks = dict[int, list[tuple[Point, bool]]]

_COLOURS = ("#4cc9f0", "#ffd166", "#06d6a0", "#f78c6b", "#c77dff", "#f4f1de")
_PARTS = 1000  # of a progress bar
_SAME = 1e-3  # voxels: a point that is farther from its drawn position was moved by hand


class Step(NamedTuple):
    """Progress of a computation; the total is None if unknown."""

    text: str
    done: int = 0
    total: int | None = None


class Workbench:
    """The actions on one tomogram in a viewer.

    `segment`, `find` and `export` read the layers at once and return an iterator of steps, which may run in another
    thread; `draw` shows the result. All methods except `cancel` must be called in the thread of the viewer.

    Parameters
    ----------
    viewer
        The viewer of the image, to which results are added.
    image
        The tomogram.
    config
        Settings of searches and masks; the default preset if left out.

    Raises
    ------
    InputError
        If the image is not a tomogram.
    """

    def __init__(self, viewer: ViewerModel, image: layers.Image, config: Config | None = None) -> None:
        self.viewer, self.image = viewer, image
        self._viewed = viewed_of(image)
        self.session = Session(Gallery([self._viewed]), config=config, cache=FeatureCache())
        self._kinds: dict[layers.Points, int] = {}
        self._found: dict[int, layers.Points] = {}
        self._drawn: dict[int, dict[int, Point]] = {}
        self._solids: dict[int, list[layers.Layer]] = {}
        self._masks: dict[str, layers.Labels] = {}
        self._is_cancelled = threading.Event()
        self._job: int | None = None

    # --------------------------------------------------------------------------------------------------------- kinds

    @property
    def voxel_size_angstrom(self) -> float | None:
        """Edge length of a voxel, or None if unknown; lengths in angstrom need it, and it is written to files."""
        return self._viewed.voxel_size_angstrom

    def set_voxel_size(self, voxel_size_angstrom: float) -> None:
        """Set the voxel size, instead of that of the file or the layer."""
        if not (np.isfinite(voxel_size_angstrom) and voxel_size_angstrom > 0):
            raise VoxelSizeError(f"a voxel size must be larger than 0 angstrom, got {voxel_size_angstrom:g}")
        self._viewed.set_voxel_size(voxel_size_angstrom)

    def add_kind(self, name: str = "particle") -> layers.Points:
        """Add a kind of particle, as a points layer for its clicks."""
        layer = add_clicks(self.viewer, self.image, name, self._next_colour())
        self.take(layer)
        return layer

    def take(self, layer: layers.Points) -> int:
        """Use a points layer as clicks on a kind of the same name; return the number of the kind."""
        if layer in self.found:
            raise InputError(f"{layer.name!r} has particles found; choose a layer with clicks, or add a new kind")
        if layer not in self._kinds:
            self._kinds[layer] = self.session.add_kind(layer.name, self._next_colour())
        return self._kinds[layer]

    def set_structure(self, layer: layers.Points, structure: StructureKind) -> None:
        """Set what the clicks of a layer are on: a particle, a membrane, a filament, or inside a compartment."""
        self.session.change_kind(self.take(layer), structure=structure)

    def structure(self, layer: layers.Points) -> StructureKind:
        """Return what the clicks of a layer are on."""
        kind = self._kinds.get(layer)
        return "particle" if kind is None else self.session.state.kind(kind).structure

    @property
    def found(self) -> list[layers.Points]:
        """The points layers of the particles found."""
        return list(self._found.values())

    def view(self, layer: layers.Points) -> View:
        """Return the clicks, candidates, threshold and size of the kind of a layer."""
        kind = self._kinds.get(layer)
        return View() if kind is None else self.session.state.view(0, kind)

    # ---------------------------------------------------------------------------------------------------- long work

    def segment(self) -> Iterator[Step]:
        """Compute the missing masks of clicks and of particles added by hand.

        Raises
        ------
        PromptError
            If there is no click, or one is outside the image.
        """
        clicks = self._read()
        if not any(clicks.values()):
            raise PromptError("no clicks: choose a points layer, and click the middle of a particle in it")
        clicked = {self.session.state.kind(kind).structure for kind, wanted in clicks.items() if wanted}
        if "particle" not in clicked:
            raise InputError(f"a click on a {clicked.pop()} has no mask of its own: press Find all")
        return self._make_masks(clicks)

    def find(self, diameter_angstrom: float | None = None) -> Iterator[Step]:
        """Search for all clicked kinds, which compete for each particle. Errors as in `Session.find`."""
        return self._search(self._read(), diameter_angstrom)

    def export(self, folder: Path) -> Iterator[Step]:
        """Write the shown particles as ``cryosam segment`` does, to a new or empty folder."""
        return self._write(self._read(), folder)

    def cancel(self) -> None:
        """Cancel the running steps."""
        self._is_cancelled.set()
        job = self._job
        if job is not None:
            with suppress(UnknownItemError):  # it has just ended
                self.session.cancel(job)

    def close(self) -> None:
        """Cancel the running steps and close the session."""
        self._is_cancelled.set()
        self.session.close()

    # ---------------------------------------------------------------------------------------------------- candidates

    def set_threshold(self, layer: layers.Points, threshold: float) -> None:
        """Set the lowest score of the shown particles of the kind of a layer."""
        self._read()
        self.session.set_threshold(0, self.take(layer), threshold)
        self.draw()

    def restore(self, layer: layers.Points) -> int:
        """Restore the particles of a kind that were deleted; return their number."""
        self._read()
        kind = self.take(layer)
        gone = [candidate for candidate in self.view(layer).candidates if candidate.verdict == "rejected"]
        for candidate in gone:
            self.session.judge(0, kind, candidate.id, None)
        self.draw()
        return len(gone)

    def summary(self) -> list[str]:
        """Return messages for the user, one sentence each."""
        sentences = []
        for kind in self.session.state.kinds:
            view = self.session.state.view(0, kind.id)
            if view.searched is not None:
                n_scored = sum(candidate.score is not None for candidate in view.candidates)
                sentence = f"{kind.name}: {len(view.shown)} found, of {n_scored} candidates"
                doubtful = [1 - c.score for c in view.shown if c.verdict is None and c.score is not None]
                sentences.append(
                    sentence + ("" if view.average is None else f"; about {sum(doubtful):.1f} are expected to be false")
                )
            if view.is_stale:
                sentences.append(f"{kind.name}: clicks have changed since the last search")
            texts = [*(click.message for click in view.clicks if click.message), *view.current_warnings]
            sentences += [f"{kind.name}: {sentence}" for sentence in dict.fromkeys(texts)]
        return sentences

    def draw(self) -> None:
        """Show the session: labels of clicked objects, points and labels of particles found."""
        state, active = self.session.state, self.viewer.layers.selection.active
        shown = shown_of(state)
        for kind in state.kinds:
            if state.view(0, kind.id).searched is not None or kind.id in self._found:
                mine = [found for found in shown if found.kind == kind.id]
                self._draw_found(kind.id, mine)
                self._solids[kind.id] = draw_solids(self.viewer, self.image, kind, mine, self._solids.get(kind.id, []))
        clicks = [click for kind in state.kinds for click in state.view(0, kind.id).clicks]
        self._draw_masks("clicked masks", [click.mask for click in clicks])
        if self._drawn and self._draw_masks("found masks", [found.candidate.mask for found in shown]):
            self._masks["clicked masks"].visible = False  # the clicked particles are among those found
        self.viewer.layers.selection.active = active

    # ------------------------------------------------------------------------------------------------------- private

    def _next_colour(self) -> str:
        return _COLOURS[len(self._kinds) % len(_COLOURS)]

    def _read(self) -> Clicks:
        """Apply changes of the layers to the session: kinds renamed or removed, particles deleted or added."""
        for layer, kind in list(self._kinds.items()):
            if layer not in self.viewer.layers:
                self.session.remove_kind(kind)
                del self._kinds[layer]
                for known in (self._found, self._drawn, self._solids):
                    known.pop(kind, None)
            elif self.session.state.kind(kind).name != layer.name:
                self.session.change_kind(kind, name=layer.name)
        clicks = {kind: clicks_in(layer, self.image) for layer, kind in self._kinds.items()}
        changed = [kind for kind in self._found if self._read_found(kind)]
        if changed:
            self.draw()
        return clicks

    def _read_found(self, kind: int) -> bool:
        """Reject deleted particles and accept added ones; return whether there was any."""
        layer, drawn = self._found[kind], self._drawn[kind]
        if layer not in self.viewer.layers:  # removing the whole layer does not reject its particles
            return False
        kept: set[int] = set()
        added = []
        for point, candidate in zip(voxels_of(layer, self.image), layer.features["candidate"], strict=True):
            if candidate in drawn and candidate not in kept and np.allclose(point, drawn[candidate], atol=_SAME):
                kept.add(candidate)
            else:  # also a point that was moved, because its mask is no longer correct
                added.append(point)
        for candidate in drawn.keys() - kept:
            self.session.judge(0, kind, candidate, "rejected")
        if added:
            self.session.add_points(0, kind, np.array(added), are_clicks=False)
        return bool(added) or len(kept) < len(drawn)

    def _make_masks(self, clicks: Clicks) -> Iterator[Step]:
        self._is_cancelled.clear()
        missing = [(kind, *click) for kind, wanted in clicks.items() for click in self._without_masks(kind, wanted)]
        bare = [(kind, c) for kind in clicks for c in self.session.state.view(0, kind).candidates if _is_bare(c)]
        total = len(missing) + len(bare)
        for done, (kind, point, is_positive) in enumerate(missing):
            yield Step("segmenting clicks", done, total)
            if self._is_cancelled.is_set():
                return
            self.session.add_click(0, kind, point, is_positive=is_positive)
        for done, (kind, candidate) in enumerate(bare, start=len(missing)):
            yield Step("segmenting particles added by hand", done, total)
            if self._is_cancelled.is_set():
                return
            self.session.move_candidate(
                0, kind, candidate.id, candidate.point
            )  # to the same position, which computes its mask

    def _without_masks(self, kind: int, wanted: list[tuple[Point, bool]]) -> list[tuple[Point, bool]]:
        """Return the clicks that are new to the session, and remove those that were deleted from the layer."""
        new = list(wanted)
        for click in self.session.state.view(0, kind).clicks:
            if (click.point, click.is_positive) in new:
                new.remove((click.point, click.is_positive))
            else:
                self.session.remove_click(0, click.id)
        return new

    def _search(self, clicks: Clicks, diameter_angstrom: float | None) -> Iterator[Step]:
        yield from self._make_masks(clicks)
        if self._is_cancelled.is_set():
            return
        events: SimpleQueue[tuple[str, dict[str, Any]]] = SimpleQueue()
        unsubscribe = self.session.subscribe(lambda event, content: events.put((event, content)))
        try:
            job = self._job = self.session.find(0, None, diameter_angstrom)
            event, content = events.get()
            while event != "done" or content["job"] != job:
                if event == "job":
                    yield Step(content["step"], round(_PARTS * content["share"]), _PARTS)
                event, content = events.get()
        finally:
            self._job = None
            unsubscribe()
        if content["error"]:
            raise InputError(content["error"])

    def _write(self, clicks: Clicks, folder: Path) -> Iterator[Step]:
        yield from self._make_masks(clicks)
        if not self._is_cancelled.is_set():
            yield Step(f"writing {folder}")
            write_all(self.session, 0, folder, command="napari")

    def _draw_found(self, kind: int, found: list[Drawn]) -> None:
        layer = self._found.get(kind)
        if layer is None or layer not in self.viewer.layers:
            state = self.session.state
            layer = add_found(self.viewer, self.image, state.kind(kind), state.view(0, kind).size, found)
            self._found[kind] = layer
        else:
            layer.selected_data = set()
            layer.data = points_of(found)
            layer.features = features_of(found)
        self._drawn[kind] = {each.candidate.id: each.candidate.point for each in found}

    def _draw_masks(self, name: str, masks: list[Any]) -> bool:
        """Show masks in a labels layer; return whether the layer is new."""
        labels, layer = labels_of(self._viewed.shape, masks), self._masks.get(name)
        if layer is not None and layer in self.viewer.layers:
            layer.data = labels
            return False
        if masks:
            self._masks[name] = self.viewer.add_labels(labels, name=name, opacity=0.5, **placement(self.image))
        return bool(masks)


def _is_bare(candidate: Any) -> bool:
    """Whether it was added by hand and has not been segmented yet."""
    return candidate.verdict == "accepted" and candidate.mask.n_voxels == 0 and not candidate.is_moved
