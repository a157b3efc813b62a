"""Show the progress of a long computation."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cryosam.arrays import Progress

__all__ = ["show_progress"]

_PATIENCE = 2.0  # seconds before the first line
_INTERVAL = 20.0  # seconds between lines in a log


@contextmanager
def show_progress() -> Iterator[Progress]:
    """Provide a `cryosam.arrays.Progress`: bars with the remaining time on a terminal, occasional lines in a log.

    Both are written to stderr, so that the output of a command can be piped.
    """
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:12}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

        def show(stage: str, done: int, total: int) -> None:
            if not bars.tasks or bars.tasks[-1].description != stage or bars.tasks[-1].completed > done:
                bars.add_task(stage, total=total)  # a stage may run again on other input
            bars.update(bars.tasks[-1].id, completed=done, total=total)

        yield show


class _Lines:
    """Progress as a few plain lines."""

    def __init__(self) -> None:
        self.stage = ""
        self.start = self.next = 0.0
        self.last = 0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` parts of a stage are finished."""
        now = time.monotonic()
        if stage != self.stage or done < self.last:
            self.stage, self.start, self.next = stage, now, now + _PATIENCE
        self.last = done
        if now < self.next or not 0 < done < total:
            return
        self.next = now + _INTERVAL
        left = (now - self.start) / done * (total - done)
        click.echo(f"cryosam: {stage} {100 * done // total} %, about {left:.0f} s left", err=True)
