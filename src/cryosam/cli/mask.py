"""``cryosam mask``."""

from typing import Any

import click

from cryosam.cli.options import SearchCommand, example, mask_options

__all__ = ["mask"]


@click.command(cls=SearchCommand, epilog=example("cryosam mask tomogram.mrc --point 92,310,254 --out one-particle"))
@mask_options
@click.pass_obj
def mask(command: str, /, **options: Any) -> None:
    """Segment only what was clicked, without searching for others."""
    from cryosam.cli.pipeline import run

    run("segment_prompts", options, command)
