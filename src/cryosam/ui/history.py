"""The current and earlier states of a session: revisions, undo, and notification of listeners."""

import threading
from collections.abc import Callable, Hashable
from itertools import count
from typing import Any

from cryosam.errors import ConflictError
from cryosam.ui.state import State
from cryosam.ui.storage import Saved, Store

__all__ = ["History", "Listener"]

Listener = Callable[[str, dict[str, Any]], None]
"""Called from any thread with an event and its content: ``session`` (the revision), ``job`` (its progress), ``so_far``
(points that resemble a kind), ``note`` (a sentence for the user), ``done`` (with the error, if any) or ``farewell``.
"""

_MOST_UNDONE = 200


class History:
    """The sequence of states; thread-safe.

    Each change creates a new `State` with a higher number, the revision. A change can give the revision that it was
    based on, and is refused if the item that it changes was changed since.

    Parameters
    ----------
    store
        Stores the newest state, from which the history continues. With None, nothing is stored.

    Attributes
    ----------
    lock
        Held while the state changes.
    state, revision
        The newest state, and its number.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.lock = threading.RLock()
        self._store = store
        saved = store.load() if store else None
        self.state = saved.state if saved else State()
        self.revision = saved.revision + 1 if saved else 1
        self._next = count(saved.next_id if saved else 1)
        self._past: list[State] = []
        self._future: list[State] = []
        self._touched: dict[Hashable, int] = {}
        self._all_touched = 0
        self._listeners: list[Listener] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to undo."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is a change to redo."""
        return bool(self._future)

    def next_id(self) -> int:
        """Return a number that was not used before."""
        return next(self._next)

    def change(self, change: Callable[[State], State], key: Hashable, expected: int | None = None) -> None:
        """Replace the current state by the one that ``change`` returns for it.

        Parameters
        ----------
        change
            Returns the new state; it must be fast, because other threads wait for it.
        key
            Identifies the item that is changed; None stands for everything.
        expected
            The revision that the change was based on; None to skip the check.

        Raises
        ------
        ConflictError
            If the item was changed after that revision.
        """
        with self.lock:
            self.require_current(key, expected)
            after = change(self.state)
            self._past = [*self._past[1 - _MOST_UNDONE :], self.state]
            self._future = []
            self._publish(after, key)

    def require_current(self, key: Hashable, expected: int | None) -> None:
        """Raise ConflictError if the item of ``key`` was changed after a revision."""
        if expected is not None and max(self._touched.get(key, 0), self._all_touched) > expected:
            raise ConflictError(
                "this was changed in the meantime, in another tab or by a search; check it and repeat the change"
            )

    def undo(self) -> None:
        """Undo the last change; ConflictError if there is none."""
        with self.lock:
            if not self._past:
                raise ConflictError("there is nothing to undo")
            self._future.append(self.state)
            self._publish(self._past.pop(), None)

    def redo(self) -> None:
        """Redo the change that was undone last; ConflictError if there is none."""
        with self.lock:
            if not self._future:
                raise ConflictError("there is nothing to redo")
            self._past.append(self.state)
            self._publish(self._future.pop(), None)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` at each event until the returned function is called."""
        with self.lock:
            self._listeners.append(listener)
        return lambda: self._unsubscribe(listener)

    def tell(self, event: str, content: dict[str, Any]) -> None:
        """Send an event to all listeners."""
        for listener in list(self._listeners):
            listener(event, content)

    def close(self) -> None:
        """Save the newest state."""
        if self._store:
            self._store.close()

    def _publish(self, state: State, key: Hashable) -> None:
        self.state = state
        self.revision += 1
        if key is None:
            self._all_touched = self.revision
        else:
            self._touched[key] = self.revision
        if self._store:
            # a number may be skipped, but none is used twice
            self._store.save(Saved(state, self.revision, self.next_id()))
        self.tell("session", {"revision": self.revision})

    def _unsubscribe(self, listener: Listener) -> None:
        with self.lock:
            self._listeners.remove(listener)
