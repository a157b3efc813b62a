"""``cryosam cache``."""

from datetime import datetime
from pathlib import Path

import click

from cryosam.cli.options import CACHE, example

__all__ = ["cache"]


@click.group(epilog=example("cryosam cache info", "cryosam cache clear"))
def cache() -> None:
    """Show or delete the cached features of tomograms, which later runs reuse. The cache can be deleted at any time."""


@cache.command("info", epilog=example("cryosam cache info"))
@CACHE
def info_(cache: Path | None) -> None:
    """Show the cache folder, the size of each entry, and when it was last used."""
    from cryosam.matching.feature_cache import FeatureCache

    kept = FeatureCache(cache)
    entries = kept.entries()
    total = sum(entry.n_bytes for entry in entries) / 1e9
    click.echo(f"{kept.folder}: entries {len(entries)}, size {total:.2f} GB, limit {kept.max_bytes / 1e9:g} GB")
    for entry in reversed(entries):
        used = datetime.fromtimestamp(entry.used).astimezone().isoformat(" ", "minutes")
        click.echo(f"{entry.path.name[:12]}  {entry.n_bytes / 1e9:6.2f} GB  last used {used[:16]}")


@cache.command("clear", epilog=example("cryosam cache clear"))
@CACHE
def clear_(cache: Path | None) -> None:
    """Delete all cached features; runs in progress are not affected."""
    from cryosam.matching.feature_cache import FeatureCache

    kept = FeatureCache(cache)
    click.echo(f"{kept.folder}: {kept.clear() / 1e9:.2f} GB deleted")
