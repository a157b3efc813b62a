"""The actions of a user: click, find, judge, undo. Independent of HTTP and of any window; thread-safe."""

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from cryosam import __version__
from cryosam.arrays import Points, Progress
from cryosam.config import Config
from cryosam.errors import InputError, PromptError, UnknownItemError
from cryosam.masks import InstanceMask
from cryosam.matching.feature_cache import FeatureCache
from cryosam.prompts import PointPrompts
from cryosam.steps import MASKS, Steps
from cryosam.structure_results import StructureKind
from cryosam.ui import description
from cryosam.ui.filling import fill_masks, with_masks, without_mask
from cryosam.ui.finding import Found, clicks_of, find, with_all_found, with_found
from cryosam.ui.guessing import Guesser
from cryosam.ui.history import History, Listener
from cryosam.ui.jobs import SearchJob, Worker
from cryosam.ui.masking import Masked, mask_at, no_mask, warm_up
from cryosam.ui.state import Candidate, Click, Kind, Point, Size, State, Verdict, View, best_first
from cryosam.ui.storage import Store
from cryosam.ui.structures import refuse_structure, require_voxel_size, say_failures, search_steps
from cryosam.ui.viewed import Gallery

__all__ = ["Session"]

_PATIENCE = 5.0  # seconds to wait for a search when the session ends


class Session:
    """Clicks and results in some tomograms, and the actions that change them.

    For a change, ``expected`` can give the revision that it was based on; see `cryosam.ui.history.History`.

    Parameters
    ----------
    tomograms
        Tomograms of the session.
    store
        Saves the session; without it, the session is not saved.
    config
        Settings of searches and masks; the default preset if left out.
    cache
        Stores the features of tomograms, so that only the first search computes them.
    guesses
        Whether to guess in the background what each click is on.
    """

    def __init__(
        self,
        tomograms: Gallery,
        store: Store | None = None,
        config: Config | None = None,
        cache: FeatureCache | None = None,
        *,
        guesses: bool = False,
    ) -> None:
        self.tomograms = tomograms
        self.config = config or Config()
        self._cache = cache
        self._history = History(store)
        self._masking = threading.Lock()  # one mask at a time: two would take as long as one after the other
        self._worker = Worker(lambda job: self._history.tell("job", description.describe_job(job)), self._end_job)
        self._guesser = Guesser(self.config, lambda: self._history.tell("session", {"revision": self.revision}))
        self._is_guessing = guesses

    @property
    def state(self) -> State:
        """The current state; it is immutable, and a change replaces it."""
        return self._history.state

    @property
    def revision(self) -> int:
        """Number of the current state."""
        return self._history.revision

    def number(self, tomogram: int) -> int:
        """Return ``tomogram`` if there is a tomogram of this number; otherwise raise UnknownItemError."""
        self.tomograms[tomogram]
        return tomogram

    def describe(self) -> dict[str, Any]:
        """Describe everything except pixels, masks and candidates."""
        tomograms = [description.describe_tomogram(i, viewed) for i, viewed in enumerate(self.tomograms)]
        with self._history.lock:
            state, job = self.state, self._worker.job
            return {
                "revision": self.revision,
                "version": __version__,
                "tomograms": tomograms,
                "kinds": description.describe_kinds(state),
                "views": description.describe_views(state, len(self.tomograms), self._guesser.guesses),
                "job": None if job is None else description.describe_job(job),
                "can_undo": self._history.can_undo,
                "can_redo": self._history.can_redo,
            }

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` at each event until the returned function is called."""
        return self._history.subscribe(listener)

    def warm_up(self) -> None:
        """Prepare the first tomogram and load what masks need, which takes seconds, before the first click."""
        self.tomograms.prepare(0)
        _ = self.tomograms[0].contrast
        import_module("skimage.measure")
        with self._masking:
            warm_up(self.config)

    def say_farewell(self) -> None:
        """Tell all listeners that the session ends, so that they do not delay its end."""
        self._history.tell("farewell", {})

    def close(self) -> None:
        """Cancel the running job, and save."""
        self._guesser.close()
        self._worker.stop(_PATIENCE)
        self._history.close()

    # --------------------------------------------------------------------------------------------------------- kinds

    def add_kind(self, name: str, colour: str) -> int:
        """Add a kind, which is one of particles until that is changed; return its number."""
        kind = Kind(self._history.next_id(), name, colour)
        self._history.change(lambda state: state.with_kinds((*state.kinds, kind)), ("kind", kind.id))
        return kind.id

    def change_kind(
        self,
        kind_id: int,
        *,
        name: str | None = None,
        colour: str | None = None,
        structure: StructureKind | None = None,
        expected: int | None = None,
    ) -> None:
        """Change the name or colour of a kind, or what it is; what was found as something else stays until a search."""

        def change(state: State) -> State:
            old = state.kind(kind_id)
            new = Kind(
                kind_id,
                old.name if name is None else name,
                old.colour if colour is None else colour,
                old.structure if structure is None else structure,
            )
            return state.with_kinds(tuple(new if kind.id == kind_id else kind for kind in state.kinds))

        self._history.change(change, ("kind", kind_id), expected)

    def remove_kind(self, kind_id: int, *, expected: int | None = None) -> None:
        """Remove a kind with all its clicks and candidates."""

        def change(state: State) -> State:
            state.kind(kind_id)
            return state.with_kinds(tuple(kind for kind in state.kinds if kind.id != kind_id))

        self._history.change(change, ("kind", kind_id), expected)

    # -------------------------------------------------------------------------------------------------------- clicks

    def add_click(self, tomogram: int, kind_id: int, point: Point, *, is_positive: bool = True) -> int:
        """Add a click, compute its mask if it is on a particle, and return the number of the click."""
        # The size of the kind also limits the masks of negative clicks, so that a membrane does not take long.
        size = self.state.view(tomogram, kind_id).size
        is_particle = self.state.kind(kind_id).structure == "particle"
        masked = self._mask(tomogram, point, size) if is_particle else no_mask(self.tomograms[tomogram], point)
        message = masked.message if is_positive else None
        click = Click(self._history.next_id(), point, is_positive, masked.mask, message)

        def change(view: View) -> View:
            gives_size = is_positive and view.size is None
            return replace(view, clicks=(*view.clicks, click), size=masked.size if gives_size else view.size)

        self._change_view(tomogram, kind_id, change, ("click", click.id))
        if self._is_guessing and is_positive and is_particle and not self.state.view(tomogram, kind_id).searched:
            self._guesser.ask(self.tomograms[tomogram], click.id, point)
        return click.id

    def remove_click(self, tomogram: int, click_id: int, *, expected: int | None = None) -> None:
        """Remove a click."""
        for kind in self.state.kinds:
            if any(click.id == click_id for click in self.state.view(tomogram, kind.id).clicks):
                key = ("click", click_id)
                self._change_view(tomogram, kind.id, lambda view: view.without_click(click_id), key, expected)
                return
        raise UnknownItemError("this click was already removed")

    # ------------------------------------------------------------------------------------------------------- finding

    def find(self, tomogram: int, kind_ids: Sequence[int] | None = None, diameter_angstrom: float | None = None) -> int:
        """Start a search for some kinds, or for all that have a positive click; return the number of the job.

        Raises
        ------
        PromptError
            If a kind has no positive click.
        VoxelSizeError
            If the voxel size is unknown, and a diameter is given or a kind is no particle.
        ConflictError
            If a search is running.
        """
        viewed, state = self.tomograms[tomogram], self.state
        wanted = [kind.id for kind in state.kinds] if kind_ids is None else list(dict.fromkeys(kind_ids))
        views = {kind_id: state.view(tomogram, kind_id) for kind_id in wanted}
        if kind_ids is None:
            views = {kind_id: view for kind_id, view in views.items() if _has_particle(view)}
        if not views or not all(_has_particle(view) for view in views.values()):
            raise PromptError("click a particle of the kind first: a search needs an example")
        structures = {kind_id: state.kind(kind_id).structure for kind_id in views}
        require_voxel_size(viewed.tomogram, list(structures.values()))
        config = replace(self.config, diameter_angstrom=diameter_angstrom or self.config.diameter_angstrom)
        if config.diameter_angstrom is not None:
            viewed.tomogram.voxels(config.diameter_angstrom)

        steps = search_steps(list(structures.values()))
        job = SearchJob(self._history.next_id(), tomogram, next(iter(views)) if len(views) == 1 else None, steps.now)

        def report(kind_id: int, points: Points) -> None:
            self._worker.require(job.id)
            content = {"job": job.id, "kind": kind_id, "points": points.round(1).tolist()}
            self._history.tell("so_far", content)

        def work(progress: Progress) -> None:
            found, failed = find(viewed.tomogram, views, config, progress, report, self._cache, structures)
            self._worker.require(job.id)

            if found:
                next_id = self._history.next_id
                self._history.change(lambda state: with_all_found(state, tomogram, views, found, next_id), None)
            if failed:
                raise PromptError(say_failures(state, views, failed))

        self._worker.start(job, steps, work)
        return job.id

    def add_found(self, tomogram: int, kind_id: int, prompts: PointPrompts | None, found: Found) -> None:
        """Add a result and its clicks, if any, computed elsewhere, as if a search of the session had found it."""
        used = View() if prompts is None else View(clicks=clicks_of(prompts, found, self._history.next_id))
        settled = with_found(used, used, found, self._history.next_id)
        self._change_view(tomogram, kind_id, lambda _: settled, None)

    def segment(self, tomogram: int, kind_id: int) -> int:
        """Start to compute masks of the shown candidates of a kind that have none; return the number of the job.

        Masks that were computed before a cancellation are kept.

        Raises
        ------
        InputError
            If all shown candidates have a mask.
        ConflictError
            If a search is running.
        """
        viewed, view = self.tomograms[tomogram], self.state.view(tomogram, kind_id)
        bare = without_mask(view)
        if not bare:
            raise InputError("all shown particles of this kind already have a mask")
        steps = Steps(MASKS)
        job = SearchJob(self._history.next_id(), tomogram, kind_id, steps.now)

        def look(point: Point, config: Config, size: Size | None) -> Masked:
            return self._mask(tomogram, point, size, config)

        def work(progress: Progress) -> None:
            made: list[Masked] = []
            try:
                points = [candidate.point for candidate in bare]
                for masked in fill_masks(viewed.tomogram, points, self.config, view.size, look, progress):
                    made.append(masked)  # noqa: PERF402  # masks made before an exception are kept
            finally:
                self._keep_masks(tomogram, kind_id, list(zip(bare, made, strict=False)))
            n_empty = sum(masked.mask.n_voxels == 0 for masked in made)
            if n_empty:
                self._history.tell("note", {"text": f"Nothing was segmented at {n_empty} of {len(made)} points."})

        self._worker.start(job, steps, work)
        return job.id

    def cancel(self, job_id: int) -> None:
        """Cancel a search or the computation of masks."""
        self._worker.cancel(job_id)

    # ---------------------------------------------------------------------------------------------------- candidates

    def set_threshold(self, tomogram: int, kind_id: int, threshold: float, *, expected: int | None = None) -> None:
        """Set the lowest score of the shown candidates of a kind."""
        if not 0 <= threshold <= 1:
            raise InputError(f"a threshold must be between 0 and 1, got {threshold:g}")
        key = ("threshold", tomogram, kind_id)
        self._change_view(tomogram, kind_id, lambda view: replace(view, threshold=threshold), key, expected)

    def add_candidate(self, tomogram: int, kind_id: int, point: Point) -> int:
        """Add a particle by hand, compute its mask, and return its number."""
        refuse_structure(self.state.kind(kind_id))
        mask = self._mask(tomogram, point, self.state.view(tomogram, kind_id).size).mask
        candidate = Candidate(self._history.next_id(), point, None, mask, "accepted")
        self._change_view(tomogram, kind_id, lambda view: view.with_candidate(candidate), ("candidate", candidate.id))
        return candidate.id

    def judge(
        self, tomogram: int, kind_id: int, candidate_id: int, verdict: Verdict | None, *, expected: int | None = None
    ) -> None:
        """Accept or reject a candidate, or remove its verdict."""

        def change(view: View) -> View:
            return view.with_candidate(replace(view.candidate(candidate_id), verdict=verdict))

        self._change_view(tomogram, kind_id, change, ("candidate", candidate_id), expected)

    def move_candidate(
        self, tomogram: int, kind_id: int, candidate_id: int, point: Point, *, expected: int | None = None
    ) -> None:
        """Move a candidate and compute a new mask; more than half a diameter away, it loses its orientation."""
        view = self.state.view(tomogram, kind_id)
        refuse_structure(self.state.kind(kind_id), view.candidate(candidate_id))
        self._history.require_current(("candidate", candidate_id), expected)
        mask = self._mask(tomogram, point, view.size).mask

        def change(view: View) -> View:
            old = view.candidate(candidate_id)
            is_same = view.size is not None and np.linalg.norm(np.subtract(point, old.point)) <= view.size.diameter / 2
            rotation = old.rotation if is_same else None
            return view.with_candidate(replace(old, point=point, mask=mask, is_moved=True, rotation=rotation))

        self._change_view(tomogram, kind_id, change, ("candidate", candidate_id), expected)

    def add_points(self, tomogram: int, kind_id: int, points: Points, *, are_clicks: bool) -> None:
        """Add points ``(n, 3)`` as clicks or as accepted candidates, without masks; a search adds those of clicks."""
        PointPrompts(points).validate(self.tomograms[tomogram].shape)
        if not are_clicks:
            refuse_structure(self.state.kind(kind_id))
        nothing = InstanceMask.empty()
        rows: list[Point] = [(z, y, x) for z, y, x in np.asarray(points, dtype=float).tolist()]

        def change(view: View) -> View:
            if are_clicks:
                clicks = tuple(Click(self._history.next_id(), point, True, nothing) for point in rows)
                return replace(view, clicks=(*view.clicks, *clicks))
            added = [Candidate(self._history.next_id(), point, None, nothing, "accepted") for point in rows]
            return replace(view, candidates=best_first([*added, *view.candidates]))

        self._change_view(tomogram, kind_id, change, None)

    def undo(self) -> None:
        """Undo the last change."""
        self._history.undo()

    def redo(self) -> None:
        """Redo the change that was undone last."""
        self._history.redo()

    def _mask(self, tomogram: int, point: Point, size: Size | None, config: Config | None = None) -> Masked:
        with self._masking:
            return mask_at(self.tomograms[tomogram], point, config or self.config, size)

    def _change_view(
        self,
        tomogram: int,
        kind_id: int,
        change: Callable[[View], View],
        key: Hashable,
        expected: int | None = None,
    ) -> None:
        self.number(tomogram)

        def change_state(state: State) -> State:
            return state.with_view(tomogram, kind_id, change(state.view(tomogram, kind_id)))

        self._history.change(change_state, key, expected)

    def _keep_masks(self, tomogram: int, kind_id: int, made: Sequence[tuple[Candidate, Masked]]) -> None:
        def change(state: State) -> State:
            if not any(kind.id == kind_id for kind in state.kinds):  # it may have been removed meanwhile
                return state
            return state.with_view(tomogram, kind_id, with_masks(state.view(tomogram, kind_id), made))

        if any(masked.mask.n_voxels for _, masked in made):
            self._history.change(change, None)

    def _end_job(self, job: SearchJob, error: str | None) -> None:
        self._history.tell("done", {"job": job.id, "error": error})


def _has_particle(view: View) -> bool:
    return any(click.is_positive for click in view.clicks)
