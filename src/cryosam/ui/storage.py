"""A session on disk: a file that is whole or not there, and that is believed only where it makes sense.

Score maps and structures that are no particles lie beside it, each in a file of its own.
"""

import hashlib
import io
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, get_args

import numpy as np

from cryosam.errors import ConflictError, CryosamError
from cryosam.io import atomic_path
from cryosam.masks import InstanceMask
from cryosam.results import Average, ScoreMap
from cryosam.structure_results import StructureInstance, StructureKind
from cryosam.ui.array_folder import ArrayFolder
from cryosam.ui.item_arrays import arrays_of_instance, arrays_of_map, instance_of, map_of
from cryosam.ui.state import Candidate, Click, Kind, Quaternion, Size, State, View
from cryosam.ui.viewed import ViewedTomogram

__all__ = ["Saved", "Store", "state_folder"]

_FORMAT, _READ = 3, (2, 3)  # written, and read: format 2 knew only particles
_NAME = "session.npz"
_TOKEN = "token"
_OTHERS = 0o077  # permissions of others than the owner

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Saved:
    """The saved part of a session: its state, and the numbers that must not be used twice."""

    state: State
    revision: int
    next_id: int


def state_folder() -> Path:
    """Return the folder of saved sessions: ``$CRYOSAM_SESSIONS``, or a folder in ``$XDG_STATE_HOME``."""
    if given := os.environ.get("CRYOSAM_SESSIONS"):
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "cryosam" / "sessions"


class Store:
    """The file of one session; a separate thread always writes the newest state.

    Parameters
    ----------
    folder
        Folder of the session, created if missing.
    tomograms
        Tomograms of the session; a file of other tomograms, or of other content of these, is not loaded.

    Raises
    ------
    ConflictError
        If another process has the session open.
    """

    def __init__(self, folder: Path, tomograms: Sequence[ViewedTomogram]) -> None:
        self.path = folder / _NAME
        self._fingerprints = [viewed.fingerprint for viewed in tomograms]
        self._shapes = [viewed.shape for viewed in tomograms]
        self._changed = threading.Condition()
        self._waiting: Saved | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._write_on, daemon=True, name="saving")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        self._maps = ArrayFolder[ScoreMap](folder, "score map", arrays_of_map)
        self._instances = ArrayFolder[StructureInstance](folder, "structure", arrays_of_instance)
        self._thread.start()

    @classmethod
    def for_tomograms(
        cls, tomograms: Sequence[ViewedTomogram], root: Path | None = None, results: Sequence[Path] = ()
    ) -> "Store":
        """Open the store in the user's folder for these tomograms and the results that the session starts from."""
        parts = [viewed.fingerprint for viewed in tomograms]
        parts += [hashlib.sha256(_content(folder / "run.json")).hexdigest() for folder in results]
        name = hashlib.sha256("".join(parts).encode()).hexdigest()[:16]
        return cls((root or state_folder()) / name, tomograms)

    @cached_property
    def token(self) -> str:
        """A secret that opens the session, also when it is served again; a file that others can read is not used."""
        file = self.path.with_name(_TOKEN)
        if file.is_file() and not file.stat().st_mode & _OTHERS:
            return file.read_text(encoding="utf-8")
        file.unlink(missing_ok=True)
        token = secrets.token_urlsafe(24)
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as opened:
            opened.write(token)
        return token

    def load(self) -> Saved | None:
        """Load the saved session, or None; an invalid file is renamed, and a warning is logged."""
        if not self.path.exists():
            return None
        try:
            return _decode(self.path.read_bytes(), self._fingerprints, self._shapes, self._maps, self._instances)
        except Exception as error:  # any problem means that the file cannot be used
            aside = self.path.with_name(f"set-aside-{time.strftime('%Y%m%d-%H%M%S')}-{_NAME}")
            self.path.replace(aside)
            _log.warning("the saved session cannot be used (%s); it was renamed to %s", error, aside)
            return None

    def save(self, saved: Saved) -> None:
        """Schedule a state to be written; it replaces one that is still waiting."""
        with self._changed:
            self._waiting = saved
            self._changed.notify()

    def close(self) -> None:
        """Write the waiting state, and end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()
        if self._lock is not None:
            self._lock.close()

    def _write_on(self) -> None:
        while True:
            with self._changed:
                while self._waiting is None and not self._is_closed:
                    self._changed.wait()
                saved, self._waiting = self._waiting, None
            if saved is None:
                return
            try:
                self._write(saved)
            except CryosamError as error:
                _log.warning("the session could not be saved: %s", error)

    def _write(self, saved: Saved) -> None:
        views = saved.state.views.items()
        maps = {key: self._maps.write(view.score_map) for key, view in views if view.score_map is not None}
        found = [(each.id, each.instance) for _, view in views for each in view.candidates]
        instances = {number: self._instances.write(instance) for number, instance in found if instance is not None}
        with atomic_path(self.path) as temporary:
            temporary.write_bytes(_encode(saved, self._fingerprints, maps, instances))
        self._maps.keep_only(maps.values())
        self._instances.keep_only(instances.values())


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


def _lock(folder: Path) -> IO[bytes] | None:
    """Lock the session, as two processes would overwrite each other's changes; None if the system has no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file = (folder / "lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ConflictError(
            f"another cryosam serve has this session open ({folder}); use its page, stop it, or give --session DIR"
        ) from None
    except OSError as error:  # some network file systems have no locks
        _log.warning("%s cannot be locked (%s); serve these tomograms only once at a time", folder, error)
    return file


def _encode(
    saved: Saved, fingerprints: Sequence[str], maps: Mapping[tuple[int, int], str], instances: Mapping[int, str]
) -> bytes:
    """Encode a session: JSON, the voxels of the masks as bits, and the averages.

    The JSON has the names of the files of score maps, and by number of the candidate those of other structures.
    """
    masks: list[InstanceMask] = []
    arrays: dict[str, np.ndarray] = {}

    def place(mask: InstanceMask) -> list[list[int]]:
        masks.append(mask)
        return [list(mask.origin), list(mask.data.shape)]

    views = []
    for (tomogram, kind), view in saved.state.views.items():
        plain = _plain_view(view, place, instances) | {"score_map": maps.get((tomogram, kind))}
        if view.average is not None:
            plain["average_step"] = view.average.step
            plain["average_fsc"] = None if view.average.fsc is None else view.average.fsc.tolist()
            arrays[f"average-{tomogram}-{kind}"] = view.average.data
        views.append({"tomogram": tomogram, "kind": kind, **plain})
    content = {
        "format": _FORMAT,
        "tomograms": list(fingerprints),
        "revision": saved.revision,
        "next_id": saved.next_id,
        "kinds": [[kind.id, kind.name, kind.colour, kind.structure] for kind in saved.state.kinds],
        "views": views,
    }
    voxels = np.concatenate([np.zeros(0, dtype=bool), *(mask.data.ravel() for mask in masks)])
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    np.savez(buffer, content=text, masks=np.packbits(voxels), **arrays)  # type: ignore[arg-type]  # names of arrays
    return buffer.getvalue()


def _plain_view(
    view: View, place: Callable[[InstanceMask], list[list[int]]], instances: Mapping[int, str]
) -> dict[str, Any]:
    nothing = InstanceMask.empty()
    return {
        "clicks": [[c.id, c.point, c.is_positive, c.message, place(c.mask)] for c in view.clicks],
        "candidates": [
            [
                c.id,
                c.point,
                c.score,
                c.verdict,
                c.is_moved,
                c.rotation,
                place(c.mask if c.instance is None else nothing),
            ]
            for c in view.candidates
        ],
        "structures": {str(c.id): instances[c.id] for c in view.candidates if c.instance is not None},
        "searched_as": view.searched_as,
        "threshold": view.threshold,
        "default_threshold": view.default_threshold,
        "searched": view.searched,
        "warnings": view.warnings,
        "size": None if view.size is None else [view.size.diameter, view.size.smoothing],
    }


def _decode(
    content: bytes,
    fingerprints: Sequence[str],
    shapes: Sequence[tuple[int, int, int]],
    maps: ArrayFolder[ScoreMap],
    instances: ArrayFolder[StructureInstance],
) -> Saved:
    """Inverse of `_encode`; raises an error if anything is inconsistent."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        plain = json.loads(arrays["content"].tobytes())
        if plain["format"] not in _READ:
            raise ValueError(f"it has format {plain['format']}, but this program reads {_FORMAT}")
        if plain["tomograms"] != list(fingerprints):
            raise ValueError("it belongs to other tomograms, or they have changed")
        bits, at = np.unpackbits(arrays["masks"]), 0

        def taken(box: list[list[int]], shape: tuple[int, int, int]) -> InstanceMask:
            nonlocal at
            (oz, oy, ox), (nz, ny, nx) = box
            stops = (oz + nz, oy + ny, ox + nx)
            if min(oz, oy, ox, nz, ny, nx) < 0 or any(s > n for s, n in zip(stops, shape, strict=True)):
                raise ValueError("a mask reaches beyond its tomogram")
            start, at = at, at + nz * ny * nx
            return InstanceMask((oz, oy, ox), bits[start:at].reshape(nz, ny, nx).astype(bool))

        views = {}
        for each in plain["views"]:
            tomogram, kind = int(each["tomogram"]), int(each["kind"])
            shape = shapes[tomogram]
            average = None
            if "average_step" in each:
                fsc = each.get("average_fsc")
                average = Average(
                    arrays[f"average-{tomogram}-{kind}"],
                    float(each["average_step"]),
                    None if fsc is None else np.array(fsc, dtype=float),
                )
            view = _view(each, average, lambda box, shape=shape: taken(box, shape))
            placed = partial(instance_of, shape=shape)
            names = {int(number): str(name) for number, name in each.get("structures", {}).items()}
            view = _with_instances(view, {number: instances.read(name, placed) for number, name in names.items()})
            if each["score_map"] is not None:
                view = replace(view, score_map=maps.read(str(each["score_map"]), map_of))
            views[tomogram, kind] = view
    kinds = tuple(
        Kind(int(i), str(name), str(colour), *map(_structure, rest)) for i, name, colour, *rest in plain["kinds"]
    )
    if not {kind for _, kind in views} <= {kind.id for kind in kinds}:
        raise ValueError("it has candidates of a kind that it does not name")
    return Saved(State(kinds, MappingProxyType(views)), int(plain["revision"]), int(plain["next_id"]))


def _view(plain: dict[str, Any], average: Average | None, taken: Callable[..., InstanceMask]) -> View:
    # in the order in which the masks were stored
    clicks = [
        Click(int(i), _point(p), bool(positive), taken(box), said) for i, p, positive, said, box in plain["clicks"]
    ]
    candidates = []
    for i, point, score, verdict, is_moved, rotation, box in plain["candidates"]:
        if verdict not in (None, "accepted", "rejected"):
            raise ValueError(f"{verdict!r} is not a verdict")
        known = None if score is None else float(score)
        orientation = None if rotation is None else _quaternion(rotation)
        candidates.append(Candidate(int(i), _point(point), known, taken(box), verdict, bool(is_moved), orientation))
    searched = plain["searched"]
    return View(
        clicks=tuple(clicks),
        candidates=tuple(candidates),
        threshold=float(plain["threshold"]),
        default_threshold=float(plain["default_threshold"]),
        average=average,
        searched=None if searched is None else tuple(int(i) for i in searched),
        warnings=tuple(str(warning) for warning in plain["warnings"]),
        size=None if plain["size"] is None else _size(*plain["size"]),
        searched_as=_structure(plain.get("searched_as", "particle")),
    )


def _with_instances(view: View, instances: Mapping[int, StructureInstance | None]) -> View:
    """A view whose candidates have these structures; those whose structure could not be read are left out."""
    candidates = []
    for candidate in view.candidates:
        instance = instances.get(candidate.id)
        if instance is not None:
            candidates.append(replace(candidate, mask=instance.mask, instance=instance))
        elif candidate.id not in instances:
            candidates.append(candidate)
    return replace(view, candidates=tuple(candidates))


def _structure(name: str) -> StructureKind:
    for known in get_args(StructureKind):
        if name == known:
            structure: StructureKind = known
            return structure
    raise ValueError(f"{name!r} is not a structure")


def _size(diameter: float, smoothing: float | None) -> Size:
    return Size(float(diameter), None if smoothing is None else float(smoothing))


def _quaternion(values: Sequence[float]) -> Quaternion:
    a, b, c, d = (float(v) for v in values)
    if not abs(a * a + b * b + c * c + d * d - 1) < 1e-6:
        raise ValueError(f"{values} is not a rotation")
    return a, b, c, d


def _point(values: Sequence[float]) -> tuple[float, float, float]:
    z, y, x = (float(v) for v in values)
    return z, y, x
