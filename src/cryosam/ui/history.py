"""The state of a session and the ones before it: revisions, undo, and who is told of a change."""

import threading
from collections.abc import Callable, Hashable
from itertools import count
from typing import Any

from cryosam.errors import ConflictError
from cryosam.ui.state import State
from cryosam.ui.storage import Saved, Store

__all__ = ["History", "Listener"]

Listener = Callable[[str, dict[str, Any]], None]
"""Called from any thread with an event and its content: ``session`` (its revision), ``job`` (how far it is), ``so_far``
(places that look like a kind), ``note`` (a sentence for the user), ``done`` (and why it failed) or ``farewell``.
"""

_MOST_UNDONE = 200


class History:
    """States one after the other; safe from any thread.

    Each change makes a new `State`; its number, the revision, grows. A change may say which revision it was based on,
    and is refused if what it changes was changed since.

    Parameters
    ----------
    store
        Keeps the newest state; it is taken up where it was left. None forgets it.

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
        """Whether there is a change to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is a change that was taken back."""
        return bool(self._future)

    def next_id(self) -> int:
        """A number that was not given out before."""
        return next(self._next)

    def change(self, change: Callable[[State], State], key: Hashable, expected: int | None = None) -> None:
        """Take the state that ``change`` makes of the present one.

        Parameters
        ----------
        change
            Must not keep others waiting.
        key
            What is changed; None is all.
        expected
            The revision that the change was based on, if it is to be checked.

        Raises
        ------
        ConflictError
            If what is changed was changed after that revision.
        """
        with self.lock:
            self.require_current(key, expected)
            after = change(self.state)
            self._past = [*self._past[1 - _MOST_UNDONE :], self.state]
            self._future = []
            self._publish(after, key)

    def require_current(self, key: Hashable, expected: int | None) -> None:
        """ConflictError if what ``key`` names was changed after a revision."""
        if expected is not None and max(self._touched.get(key, 0), self._all_touched) > expected:
            raise ConflictError("this was changed meanwhile, in another tab or by a search; look again, and repeat")

    def undo(self) -> None:
        """Take the last change back; ConflictError if there is none."""
        with self.lock:
            if not self._past:
                raise ConflictError("there is nothing to undo")
            self._future.append(self.state)
            self._publish(self._past.pop(), None)

    def redo(self) -> None:
        """Make the change again that was taken back last; ConflictError if there is none."""
        with self.lock:
            if not self._future:
                raise ConflictError("there is nothing to redo")
            self._past.append(self.state)
            self._publish(self._future.pop(), None)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` at each change until the function that is returned is called."""
        with self.lock:
            self._listeners.append(listener)
        return lambda: self._unsubscribe(listener)

    def tell(self, event: str, content: dict[str, Any]) -> None:
        """Tell all listeners."""
        for listener in list(self._listeners):
            listener(event, content)

    def close(self) -> None:
        """Save what is not saved yet."""
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
            # a number may be left out, but none is given out twice
            self._store.save(Saved(state, self.revision, self.next_id()))
        self.tell("session", {"revision": self.revision})

    def _unsubscribe(self, listener: Listener) -> None:
        with self.lock:
            self._listeners.remove(listener)
