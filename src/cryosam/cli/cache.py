"""``cryosam cache``."""

from datetime import datetime
from pathlib import Path

import click

from cryosam.cli.options import CACHE, example

__all__ = ["cache"]


@click.group(epilog=example("cryosam cache info", "cryosam cache clear"))
def cache() -> None:
    """What runs keep for the next one on the same tomogram: its features. It can be deleted at any time."""


@cache.command("info", epilog=example("cryosam cache info"))
@CACHE
def info_(cache: Path | None) -> None:
    """Where it is, how large it is, and when it was used."""
    from cryosam.matching.feature_cache import FeatureCache

    kept = FeatureCache(cache)
    entries = kept.entries()
    total = sum(entry.n_bytes for entry in entries) / 1e9
    click.echo(f"{kept.folder}: {len(entries)} of {total:.2f} GB; beyond {kept.max_bytes / 1e9:g} GB the oldest go")
    for entry in reversed(entries):
        used = datetime.fromtimestamp(entry.used).astimezone().isoformat(" ", "minutes")
        click.echo(f"{entry.path.name[:12]}  {entry.n_bytes / 1e9:6.2f} GB  used {used[:16]}")


@cache.command("clear", epilog=example("cryosam cache clear"))
@CACHE
def clear_(cache: Path | None) -> None:
    """Delete all of it; runs that are under way are not disturbed."""
    from cryosam.matching.feature_cache import FeatureCache

    kept = FeatureCache(cache)
    click.echo(f"{kept.folder}: {kept.clear() / 1e9:.2f} GB deleted")
