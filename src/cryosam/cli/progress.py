"""Show the progress of a long computation."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cryosam.arrays import Progress
from cryosam.steps import Progressed, Steps

__all__ = ["say_time", "show_progress"]

_PATIENCE = 2.0  # seconds before the first line
_INTERVAL = 20.0  # seconds between lines in a log


@contextmanager
def show_progress(steps: Steps) -> Iterator[Progress]:
    """Provide a `cryosam.arrays.Progress`: one bar with the remaining time on a terminal, occasional lines in a log.

    Both are written to stderr, so that the output of a command can be piped.
    """
    if not sys.stderr.isatty():
        yield _Lines(steps)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(_name(steps.now), total=1.0, left="")

        def show(stage: str, done: int, total: int) -> None:
            now = steps.update(stage, done, total)
            left = "" if now.seconds_left is None else f"about {say_time(now.seconds_left)} left"
            bars.update(bar, description=_name(now), completed=now.share, left=left)

        yield show


def say_time(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _name(now: Progressed) -> str:
    return now.step if now.n_steps == 1 else f"{now.number}/{now.n_steps} {now.step}"


class _Lines:
    """Progress as a few plain lines."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.next = time.monotonic() + _PATIENCE

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` parts of a stage are finished."""
        now, clock = self.steps.update(stage, done, total), time.monotonic()
        if clock < self.next or now.seconds_left is None or now.share >= 1:
            return
        self.next = clock + _INTERVAL
        left = say_time(now.seconds_left)
        click.echo(f"cryosam: {_name(now)}, {100 * now.share:.0f} %, about {left} left", err=True)
