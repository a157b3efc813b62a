"""Score maps on disk, one file each; they are large and never change, so each is written only once."""

import hashlib
import logging
from collections.abc import Collection
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from cryosam.io import atomic_path
from cryosam.results import ScoreMap

__all__ = ["MapFolder"]

_log = logging.getLogger(__name__)


class MapFolder:
    """Stores score maps in a folder, in files named by a hash of their content.

    Parameters
    ----------
    folder
        An existing folder; other files in it are not changed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     maps = MapFolder(Path(folder))
    ...     name = maps.write(ScoreMap(np.ones((2, 3, 4), dtype=np.float32), 4))
    ...     maps.read(name).stride
    4
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: WeakKeyDictionary[ScoreMap, str] = WeakKeyDictionary()

    def write(self, score_map: ScoreMap) -> str:
        """Write a map unless it is stored already; return its name.

        Raises
        ------
        OutputError
            If there is no space or no permission.
        """
        name = self._names.get(score_map)
        if name is None:
            values = np.ascontiguousarray(score_map.data, dtype=np.float32)
            state = hashlib.sha256(f"{score_map.stride} {values.shape}".encode())
            state.update(values.data)
            name = self._names[score_map] = state.hexdigest()[:16]
        if not self._path(name).exists():
            with atomic_path(self._path(name)) as temporary, temporary.open("wb") as opened:
                np.savez(opened, data=score_map.data, stride=np.array(score_map.stride))
        return name

    def read(self, name: str) -> ScoreMap | None:
        """Read a map by name; None, with a warning, if it cannot be read, because a search can compute it again."""
        try:
            with np.load(self._path(name), allow_pickle=False) as arrays:
                score_map = ScoreMap(arrays["data"].astype(np.float32), int(arrays["stride"]))
        except Exception as error:  # any problem: the session is still usable without the map
            _log.warning("a saved score map cannot be read (%s); to export it, find all again", error)
            return None
        self._names[score_map] = name
        return score_map

    def keep_only(self, names: Collection[str]) -> None:
        """Delete all maps except those with these names."""
        kept = {self._path(name) for name in names}
        for path in set(self._folder.glob("score-*.npz")) - kept:
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"score-{name}.npz"
