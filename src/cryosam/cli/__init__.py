"""The ``cryosam`` command, one file per subcommand; each imports what it needs when it runs, so ``--help`` is instant.

In: options of the command line.
Out: files, one line per finding, and exit code 2 with one clear line for what a user got wrong.
May import: everything; nobody may import it, nor a framework for command lines or a progress bar.
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
    """Lists the commands in the order in which a newcomer needs them, not by alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names as they were added."""
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
    """One click on one particle of a cryo-electron tomogram: every particle of that kind, found and segmented in 3D.

    Coordinates are voxels z,y,x, counted from 0; a whole number is the centre of a voxel.
    """
    # Read when a command imports torch. Its threads wait for each other thousands of times a second, and would else
    # keep the cores from whatever else runs there, even from the thread that they wait for.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")


for _command in (demo, serve, segment, pick, mask, query, batch, evaluate, convert, info, simulate, models, cache):
    main.add_command(_command)
