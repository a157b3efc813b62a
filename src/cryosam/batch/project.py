"""A project file: which tomograms, what to look for in them, and where the results go."""

import glob
import os
import string
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryosam.batch.jobs import Job
from cryosam.config import Config
from cryosam.errors import ConfigError, InputError, InputNotFoundError
from cryosam.io import is_volume_name
from cryosam.io.locations import tomogram_name
from cryosam.io.queries import read_queries
from cryosam.io.tomogram_names import star_name

__all__ = ["Project", "read_project"]

_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "tomograms": (str, list),
    "out": str,
    "name": str,
    "query": (str, list),
    "points": str,
    "search_mask": str,
    "voxel_size": (int, float),
    "preset": str,
    "retries": int,
    "threads": int,
    "export": (str, list),
    "tilt_series_pixel_size": (int, float),
    "settings": dict,
    "kinds": dict,
}
_TOMOGRAM_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "path": str,
    "name": str,
    "points": str,
    "search_mask": str,
    "voxel_size": (int, float),
}
_RETRIES = 1


@dataclass(frozen=True, kw_only=True)
class Project:
    """What a project file says.

    Parameters
    ----------
    jobs
        One a tomogram, by name.
    out
        Folder of all results.
    kinds
        Names of the kinds that saved queries look for; those of points files are not known beforehand.
    retries
        How often a tomogram is tried again whose worker was killed, or that failed for no fault of its file.
    n_threads
        Of each worker on this machine.
    export
        Formats of `cryosam.io.exports.EXPORTS` in which all particles are written together.
    tilt_series_pixel_size_angstrom
        For RELION 4.
    """

    jobs: tuple[Job, ...]
    out: Path
    kinds: tuple[str, ...] = ()
    retries: int = _RETRIES
    n_threads: int = 1
    export: tuple[str, ...] = ()
    tilt_series_pixel_size_angstrom: float | None = None


def read_project(path: Path, *, out: Path | None = None, command: str = "") -> Project:
    r"""Read and check a project file; paths in it are relative to its folder.

    Parameters
    ----------
    path
        A TOML file; ``docs/batch.md`` lists its keys.
    out
        In the place of the file's own.
    command
        What was typed, for the results.

    Raises
    ------
    InputNotFoundError
        If the file or a query is not there, or a pattern matches nothing.
    ConfigError
        If it is not TOML, has an unknown key or one of the wrong type, does not say what to look for, or gives two
        tomograms one name.
    QueryError
        If a query is damaged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "a.mrc").touch()
    ...     _ = Path(folder, "p.toml").write_text('tomograms = "*.mrc"\nout = "results"\npoints = "{name}.csv"')
    ...     project = read_project(Path(folder, "p.toml"))
    >>> [(job.name, job.points.name) for job in project.jobs]
    [('a', 'a.csv')]
    """
    told = _read_toml(path)
    _check(path, told, _KEYS)
    base = path.absolute().parent
    out = _output(path, told, base) if out is None else out.absolute()
    queries = tuple(base / name for name in _listed(told.get("query", [])))
    kinds = tuple(query.name for file in queries for query in read_queries(file))
    config, kind_configs = _read_settings(path, told)
    _require_kinds(path, kinds, kind_configs)
    if queries and "points" in told:
        raise ConfigError(f"{path}: give query or points, not both")
    jobs = []
    for entry in _find(path, _listed(told.get("tomograms", [])), base, out):
        values = _fields(entry["path"])
        values["name"] = entry.get("name") or _fill(path, told.get("name", "{file}"), values)
        points, mask = (entry.get(key, told.get(key)) for key in ("points", "search_mask"))
        if not queries and points is None:
            raise ConfigError(f'{path}: what is to be found? give query = "FILE.npz", or points = "PATTERN"')
        jobs.append(
            Job(
                name=values["name"],
                path=entry["path"],
                queries=queries if points is None else (),
                points=None if points is None else base / _fill(path, points, values),
                search_mask=None if mask is None else base / _fill(path, mask, values),
                voxel_size_angstrom=entry.get("voxel_size", told.get("voxel_size")),
                out=out,
                config=config,
                kind_configs=kind_configs,
                command=command,
            )
        )
    if not jobs:
        raise ConfigError(f'{path}: which tomograms? give tomograms = "PATTERN", or a list')
    _require_names(path, jobs)
    jobs.sort(key=lambda job: job.name)
    return Project(
        jobs=tuple(jobs),
        out=out,
        kinds=kinds,
        retries=told.get("retries", _RETRIES),
        n_threads=told.get("threads", 1),
        export=_read_export(path, told),
        tilt_series_pixel_size_angstrom=told.get("tilt_series_pixel_size"),
    )


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputNotFoundError(f"project file not found: {path}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error


def _check(path: Path, told: Mapping[str, Any], keys: Mapping[str, type | tuple[type, ...]]) -> None:
    """Keys that are known, with values of their types."""
    for key, value in told.items():
        if key not in keys:
            raise ConfigError(f"{path}: unknown key {key!r}; there are {', '.join(keys)}")
        if not isinstance(value, keys[key]) or isinstance(value, bool):
            raise ConfigError(f"{path}: {key} cannot be {value!r}")
    size, retries, threads = told.get("voxel_size"), told.get("retries"), told.get("threads")
    if size is not None and not 0 < size < float("inf"):
        raise ConfigError(f"{path}: voxel_size must be positive, got {size}")
    if retries is not None and retries < 0:
        raise ConfigError(f"{path}: retries must not be negative, got {retries}")
    if threads is not None and threads < 1:
        raise ConfigError(f"{path}: threads must be positive, got {threads}")


def _output(path: Path, told: Mapping[str, Any], base: Path) -> Path:
    """Folder of the results."""
    if "out" not in told:
        raise ConfigError(f'{path}: where do the results go? add out = "FOLDER", or give --out')
    return Path(os.path.normpath(base / told["out"]))


def _read_export(path: Path, told: Mapping[str, Any]) -> tuple[str, ...]:
    """Formats of other programs, checked as far as they can be before there are results."""
    formats = tuple(map(str, _listed(told.get("export", []))))
    if not formats:
        return ()
    from cryosam.io.exports import check_exports  # it knows formats that take their time to import

    pixel_size = told.get("tilt_series_pixel_size")
    try:
        check_exports(formats, 1.0, pixel_size)
    except InputError as error:
        raise ConfigError(f"{path}, export: {error}") from error
    return formats


def _listed(value: str | list[Any]) -> list[Any]:
    """One or a list as a list."""
    return [value] if isinstance(value, str) else value


def _require_kinds(path: Path, kinds: Sequence[str], configured: Iterable[str]) -> None:
    """Make sure that queries look for different kinds, and that settings are of kinds that are looked for."""
    if len(set(kinds)) < len(kinds):
        raise ConfigError(f"{path}: two queries look for one kind: {', '.join(kinds)}; leave one out")
    if kinds and (odd := sorted(set(configured) - set(kinds))):
        raise ConfigError(f"{path}: no query looks for kind {odd[0]!r}; there are {', '.join(kinds)}")


def _read_settings(path: Path, told: Mapping[str, Any]) -> tuple[Config, dict[str, Config]]:
    """Settings of all kinds, and those of each that has its own."""
    config, kind_configs = Config.from_preset(told.get("preset", "embedded")), {}
    config = _change(f"{path}, settings", config, told.get("settings", {}))
    for name, changes in told.get("kinds", {}).items():
        kind_configs[name] = _change(f"{path}, kinds.{name}", config, changes)
    return config, kind_configs


def _change(where: str, config: Config, changes: object) -> Config:
    """Settings with some changed."""
    if not isinstance(changes, dict):
        raise ConfigError(f"{where}: a section of settings is needed, got {changes!r}")
    if "preset" in changes:
        raise ConfigError(f"{where}: preset stands at the top of the file, outside of all sections")
    try:
        return config.override(**changes)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _find(path: Path, told: Sequence[Any], base: Path, out: Path) -> Iterator[dict[str, Any]]:
    """What is said of each tomogram, with its file; results of the batch itself are none."""
    for entry in told:
        given = {"path": entry} if isinstance(entry, str) else entry
        if not isinstance(given, dict) or not isinstance(given.get("path"), str):
            raise ConfigError(f"{path}: a tomogram is a file, a pattern or a table with a path, got {entry!r}")
        _check(path, given, _TOMOGRAM_KEYS)
        pattern = given["path"]
        anchored = str(Path(glob.escape(str(base)), pattern))  # an absolute pattern stays as it is
        found = sorted(Path(name) for name in glob.glob(anchored, recursive=True))  # noqa: PTH207
        found = [file for file in found if is_volume_name(file) and out not in file.absolute().parents]
        if not found:
            raise InputNotFoundError(f"{path}: no tomogram matches {pattern!r} (in {base})")
        for file in found:
            yield {**given, "path": file}


def _fill(path: Path, pattern: str, values: Mapping[str, str]) -> str:
    """A pattern with its fields filled in."""
    try:
        odd = [name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None and name not in values]
    except ValueError as error:
        raise ConfigError(f"{path}: {pattern!r}: {error}") from error
    if odd:
        raise ConfigError(
            f"{path}: {pattern!r}: unknown field {{{odd[0]}}}; there are {', '.join(f'{{{name}}}' for name in values)}"
        )
    return pattern.format(**values)


def _fields(file: Path) -> dict[str, str]:
    """What a pattern may say of a tomogram's file."""
    return {
        "file": tomogram_name(file),
        "folder": file.absolute().parent.name,
        "folder2": file.absolute().parents[1].name,
    }


def _require_names(path: Path, jobs: Sequence[Job]) -> None:
    """Make sure that each tomogram has a folder, and a name in a STAR file, of its own."""
    seen: dict[str, Job] = {}
    for job in jobs:
        if not job.name or job.name.startswith(".") or "/" in job.name:
            raise ConfigError(f"{path}: {job.path} is to be called {job.name!r}, which cannot name a folder")
        other = seen.setdefault(star_name(job.name).casefold(), job)
        if other is not job:
            raise ConfigError(
                f"{path}: two tomograms have one name, {job.name}: {other.path} and {job.path}; "
                'name them by their folders with name = "{folder}", or give each a name of its own'
            )
