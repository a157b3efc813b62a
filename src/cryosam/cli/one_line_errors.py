"""Turn every user error into one line on stderr and an exit code."""

import logging
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import click

from cryosam.errors import explain

__all__ = ["OneLineErrors"]

_ELSEWHERE = {"--gpu": "--device cuda", "--cuda": "--device cuda", "--cpu": "--device cpu"}  # as other programs say it
_USAGE = 2
_INTERRUPTED = 130


class OneLineErrors(click.Group):
    """A group of commands that prints errors as one line, without a traceback.

    Exit codes: 2 for an error that the user can correct, 130 after Ctrl-C. A fault of the program itself keeps its
    traceback, which a bug report needs.
    """

    def main(  # type: ignore[override]  # one of the overloads of click
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Run a command; the command line as typed becomes the ``obj`` of the context."""
        words = list(sys.argv[1:] if args is None else args)
        extra |= {"standalone_mode": False, "obj": shlex.join(["cryosam", *words])}
        logging.basicConfig(level=logging.WARNING, format="cryosam: %(message)s")
        logging.getLogger("cryosam").setLevel(logging.INFO)
        _unwind_when_terminated()
        try:
            sys.exit(super().main(words, prog_name, **extra) or 0)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(_USAGE)
        except (click.Abort, KeyboardInterrupt):
            _say("interrupted; no half-written file is left")
            sys.exit(_INTERRUPTED)
        except Exception as error:
            message = _explain_any(error)
            if message is None:
                raise
            _say(f"error: {message}")
            sys.exit(_USAGE)


def _explain_any(error: Exception) -> str | None:
    """Return the message for the user, or None for a fault of the program."""
    if isinstance(error, click.UsageError):
        text = error.format_message()
        if isinstance(error, click.NoSuchOption) and error.option_name in _ELSEWHERE:
            text = f"{error.message} Did you mean '{_ELSEWHERE[error.option_name]}'?"
        return f"{text} (see {error.ctx.command_path if error.ctx else 'cryosam'} --help)"
    if isinstance(error, click.ClickException):
        return error.format_message()
    return explain(error)


def _say(message: str) -> None:
    click.echo("cryosam: " + " ".join(message.split()), err=True)


def _unwind_when_terminated() -> None:
    """Make SIGTERM, which batch systems send, also clean up temporary files."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    try:
        signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread: signals belong to the program that embeds this one
        return
