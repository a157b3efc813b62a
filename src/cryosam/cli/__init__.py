"""The ``cryosam`` command, one file per subcommand; each imports what it needs when it runs, so ``--help`` is instant.

In: command-line options.
Out: files, one line per finding, and exit code 2 with a one-line message for errors that the user can correct.
May import: everything. No other folder may import it, or import a command-line framework or a progress bar.
"""

import os

import click

from cryosam import __version__
from cryosam.cli.batch import batch
from cryosam.cli.cache import cache
from cryosam.cli.convert import convert
from cryosam.cli.demo import demo
from cryosam.cli.evaluate import evaluate
from cryosam.cli.info import info
from cryosam.cli.mask import mask
from cryosam.cli.models import models
from cryosam.cli.one_line_errors import OneLineErrors
from cryosam.cli.options import example
from cryosam.cli.pick import pick
from cryosam.cli.query import query
from cryosam.cli.segment import segment
from cryosam.cli.serve import serve
from cryosam.cli.simulate import simulate

__all__ = ["main"]


class _InOrder(OneLineErrors):
    """List the commands in the order in which a new user needs them, not alphabetically."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order in which they were added."""
        return list(self.commands)


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=example(
        "cryosam demo", "cryosam serve tomogram.mrc", "cryosam segment tomogram.mrc --point 92,310,254 --out results"
    ),
)
@click.version_option(__version__, prog_name="cryosam")
def main() -> None:
    """From one click on a particle in a cryo-electron tomogram, find and segment every particle of that kind in 3D.

    Coordinates are z,y,x in voxels, counted from 0; a whole number is the centre of a voxel.
    """
    # OpenMP reads this when a command imports torch. The threads of torch wait for each other thousands of times per
    # second. If they spin for long while they wait, they take CPU time from other programs, and even from the thread
    # that they are waiting for.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


for _command in (demo, serve, segment, pick, mask, query, batch, evaluate, convert, info, simulate, models, cache):
    main.add_command(_command)
