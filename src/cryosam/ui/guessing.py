"""Guesses at what clicks are on, made in the background: a first one in a tomogram takes many seconds."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from types import MappingProxyType

import numpy as np

from cryosam.config import Config
from cryosam.errors import CryosamError
from cryosam.intensities import normalise
from cryosam.missing_wedge import settle_wedge
from cryosam.power_spectrum import PowerSpectrum
from cryosam.structures import BinnedTomogram
from cryosam.structures.guess import Chance, Guess, chance_in, guess_structure
from cryosam.ui.state import Point
from cryosam.ui.viewed import ViewedTomogram

__all__ = ["Guesser"]

_NICE = 10  # lower priority than what the user waits for

_log = logging.getLogger(__name__)


class Guesser:
    """Guesses one click after the other, in a thread of its own.

    Guesses are no part of the state of a session: undo does not change them, and they are not saved.

    Parameters
    ----------
    config
        Settings of the tomogram: contrast, range of intensities and tilts.
    tell
        Called, from the thread, after each guess.
    """

    def __init__(self, config: Config, tell: Callable[[], None]) -> None:
        self._config, self._tell = config, tell
        self._asked: SimpleQueue[tuple[ViewedTomogram, int, Point] | None] = SimpleQueue()
        self._guesses: Mapping[int, Guess] = MappingProxyType({})
        self._chances: dict[ViewedTomogram, tuple[BinnedTomogram, Chance]] = {}
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._is_closed = False

    @property
    def guesses(self) -> Mapping[int, Guess]:
        """The guesses so far, by number of the click."""
        return self._guesses

    def ask(self, viewed: ViewedTomogram, click_id: int, point: Point) -> None:
        """Ask for a guess at a click; without a voxel size there is none, as structures are told by their size."""
        if viewed.voxel_size_angstrom is None or self._is_closed:
            return
        self._asked.put((viewed, click_id, point))
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="guesses")
                self._thread.start()

    def close(self) -> None:
        """Guess no more; a guess that is being made is not waited for."""
        self._is_closed = True
        self._asked.put(None)

    def _work(self) -> None:
        if sys.platform == "linux":  # there, a thread can have a priority of its own: masks go first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while (asked := self._asked.get()) is not None and not self._is_closed:
            viewed, click_id, point = asked
            try:
                guess = self._guess(viewed, point)
            except CryosamError as error:
                _log.warning("no guess at a click: %s", error)
                continue
            except Exception:  # the next click may still be guessed
                _log.exception("no guess at a click")
                continue
            if not self._is_closed:
                self._guesses = MappingProxyType({**self._guesses, click_id: guess})
                self._tell()

    def _guess(self, viewed: ViewedTomogram, point: Point) -> Guess:
        if viewed not in self._chances:
            choice = self._config.tomogram.contrast
            contrast = viewed.contrast.contrast if choice == "auto" else choice
            voxels = normalise(viewed.tomogram, contrast, self._config.tomogram.percentiles)
            wedge = settle_wedge(PowerSpectrum.of(viewed.tomogram), self._config.tomogram).wedge
            opened = BinnedTomogram.of(voxels, wedge)
            self._chances[viewed] = (opened, chance_in(opened))
        opened, chance = self._chances[viewed]
        return guess_structure(opened, np.array(point), chance=chance)
