"""``cryosam models``."""

from pathlib import Path

import click

from cryosam.cli.options import PathType, example

__all__ = ["models"]


@click.group(
    epilog=example(
        "cryosam models list", "cryosam models fetch sam2.1-tiny", "cryosam models import sam_vit_b_01ec64.pth"
    )
)
def models() -> None:
    """List, download and import models; the default preset needs none."""


@models.command("list", epilog=example("cryosam models list"))
def list_() -> None:
    """List the names for --features and --segmenter, and which models are ready to use."""
    from rich.console import Console
    from rich.table import Table

    from cryosam.backends.weights import cache_folder, list_models

    table = Table("name", "for", "family", "download", "licence", "ready", box=None, header_style="bold")
    for model in list_models():
        size = f"{model.size_mb} MB" if model.size_mb else "none"
        ready = "yes" if model.is_available else f"cryosam models fetch {model.name}"
        table.add_row(model.name, f"--{model.kind}", model.family, size, model.licence, ready)
    Console(width=None if Console().is_terminal else 200).print(table)  # unbroken lines for a file or a pipe
    click.echo(
        f"imported models are in {cache_folder()}; a folder, a .pth file or a Hugging Face repository is accepted too"
    )


@models.command("fetch", epilog=example("cryosam models fetch dinov2-small"))
@click.argument("name")
def fetch_(name: str) -> None:
    """Download the weights of a model; NAME is one of models list or a Hugging Face repository."""
    from cryosam.backends.weights import fetch

    click.echo(f"{name} is in {fetch(name)}")


@models.command("import", epilog=example("cryosam models import sam_vit_b_01ec64.pth"))
@click.argument("file", type=PathType)
@click.option("--name", help="Name for the model.  [default: the published name, or the file name]")
def import_(file: Path, name: str | None) -> None:
    """Convert an original SAM checkpoint (.pth) from Meta or micro-sam, so that it can be used by name."""
    from cryosam.backends.weights import import_checkpoint

    folder = import_checkpoint(file, name)
    click.echo(f"use it as --segmenter {folder.name}; it is in {folder}")
