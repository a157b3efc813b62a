"""Project files: which tomograms to search, what to search for, and where the results go."""

import glob
import os
import string
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryosam.batch.jobs import Job
from cryosam.batch.structure_choices import ALL, StructureChoices, read_choices
from cryosam.config import Config
from cryosam.errors import ConfigError, InputError, InputNotFoundError
from cryosam.io import is_volume_name
from cryosam.io.locations import tomogram_name
from cryosam.io.queries import read_queries
from cryosam.io.tomogram_names import star_name, warp_name
from cryosam.structure_query import StructureQuery
from cryosam.structure_results import StructureKind

__all__ = ["Project", "read_project"]

_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "tomograms": (str, list),
    "out": str,
    "name": str,
    "query": (str, list),
    "points": str,
    "axes": str,
    "search_mask": str,
    "voxel_size": (int, float),
    "preset": str,
    "retries": int,
    "threads": int,
    "export": (str, list),
    "tilt_series_pixel_size": (int, float),
    "structure": str,
    "spacing": (int, float),
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
_OF_CHOICES = ("structure", "spacing")  # keys of a kind that are no settings
_RETRIES = 1


@dataclass(frozen=True, kw_only=True)
class Project:
    """The content of a project file.

    Parameters
    ----------
    jobs
        One per tomogram, sorted by name.
    out
        Folder of all results.
    kinds
        Names of the kinds that saved queries search for; those in points files are not known beforehand.
    structures
        What those of the kinds are that are no particles.
    retries
        How often a tomogram is tried again if its worker was killed, or if it failed and its file is not the cause.
    n_threads
        Threads of each worker on this machine.
    export
        Formats of `cryosam.io.exports.EXPORTS` in which the particles of all tomograms are written.
    tilt_series_pixel_size_angstrom
        Pixel size of the tilt series, needed for RELION 4.
    """

    jobs: tuple[Job, ...]
    out: Path
    kinds: tuple[str, ...] = ()
    structures: Mapping[str, StructureKind] = field(default_factory=dict)
    retries: int = _RETRIES
    n_threads: int = 1
    export: tuple[str, ...] = ()
    tilt_series_pixel_size_angstrom: float | None = None


def read_project(
    path: Path,
    *,
    out: Path | None = None,
    name: str | None = None,
    choices: StructureChoices | None = None,
    command: str = "",
) -> Project:
    r"""Read and check a project file; paths in it are relative to its folder.

    Parameters
    ----------
    path
        A TOML file; ``docs/batch.md`` lists its keys.
    out
        Folder of the results; replaces the one in the file.
    name
        Pattern of the tomograms' names; replaces the one in the file.
    choices
        What clicks are on, and spacings of points; they replace those in the file.
    command
        The command line, to be recorded in the results.

    Raises
    ------
    InputNotFoundError
        If the file or a query does not exist, or a pattern matches no tomogram.
    ConfigError
        If the file is not TOML, has an unknown key or a value of the wrong type, does not say what to search for, or
        gives two tomograms the same name.
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
    content = _read_toml(path)
    _check(path, content, _KEYS)
    base = path.absolute().parent
    out = _output(path, content, base) if out is None else out.absolute()
    queries = tuple(base / name for name in _listed(content.get("query", [])))
    saved = [query for file in queries for query in read_queries(file)]
    config, kind_configs = _read_settings(path, content)
    chosen = (choices or StructureChoices()).after(read_choices(str(path), content, content.get("kinds", {})))
    chosen.check_settings(str(path), content.get("kinds", {}), saved)
    _require_kinds(path, [query.name for query in saved], {*kind_configs, *chosen.structures, *chosen.spacings} - {ALL})
    if queries and "points" in content:
        raise ConfigError(f"{path}: give query or points, not both")
    jobs = []
    for entry in _find(path, _listed(content.get("tomograms", [])), base, out):
        values = _fields(entry["path"])
        values["name"] = entry.get("name") or _fill(path, name or content.get("name", "{file}"), values)
        points, mask = (entry.get(key, content.get(key)) for key in ("points", "search_mask"))
        if not queries and points is None:
            raise ConfigError(
                f'{path}: it does not say what to search for; add query = "FILE.npz" or points = "PATTERN"'
            )
        jobs.append(
            Job(
                name=values["name"],
                path=entry["path"],
                queries=queries if points is None else (),
                points=None if points is None else base / _fill(path, points, values),
                axes=content.get("axes"),
                search_mask=None if mask is None else base / _fill(path, mask, values),
                voxel_size_angstrom=entry.get("voxel_size", content.get("voxel_size")),
                out=out,
                config=config,
                kind_configs=kind_configs,
                choices=chosen,
                command=command,
            )
        )
    if not jobs:
        raise ConfigError(f'{path}: it names no tomograms; add tomograms = "PATTERN", or a list of patterns')
    export = _read_export(path, content)
    chosen.check(str(path), saved, export, has_clicks=any(job.points is not None for job in jobs))
    _require_names(path, jobs, warp_name if "warp" in export else star_name)
    jobs.sort(key=lambda job: job.name)
    return Project(
        jobs=tuple(jobs),
        out=out,
        kinds=tuple(each.name for each in saved),
        structures={each.name: each.structure for each in saved if isinstance(each, StructureQuery)},
        retries=content.get("retries", _RETRIES),
        n_threads=content.get("threads", 1),
        export=export,
        tilt_series_pixel_size_angstrom=content.get("tilt_series_pixel_size"),
    )


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputNotFoundError(f"project file not found: {path}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error


def _check(path: Path, content: Mapping[str, Any], keys: Mapping[str, type | tuple[type, ...]]) -> None:
    """Refuse unknown keys, and values of the wrong type or out of range."""
    for key, value in content.items():
        if key not in keys:
            raise ConfigError(f"{path}: unknown key {key!r}; there are {', '.join(keys)}")
        if not isinstance(value, keys[key]) or isinstance(value, bool):
            raise ConfigError(f"{path}: {key} has a value of the wrong type: {value!r}")
    if sorted(content.get("axes", "xyz")) != ["x", "y", "z"]:
        raise ConfigError(f"{path}: axes must name x, y and z once, such as xyz, got {content['axes']!r}")
    size, retries, threads = content.get("voxel_size"), content.get("retries"), content.get("threads")
    if size is not None and not 0 < size < float("inf"):
        raise ConfigError(f"{path}: voxel_size must be positive, got {size}")
    if retries is not None and retries < 0:
        raise ConfigError(f"{path}: retries must not be negative, got {retries}")
    if threads is not None and threads < 1:
        raise ConfigError(f"{path}: threads must be positive, got {threads}")


def _output(path: Path, content: Mapping[str, Any], base: Path) -> Path:
    """Folder of the results."""
    if "out" not in content:
        raise ConfigError(f'{path}: it names no folder for the results; add out = "FOLDER", or give --out')
    return Path(os.path.normpath(base / content["out"]))


def _read_export(path: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    """Export formats, checked as far as that is possible before there are results."""
    formats = tuple(map(str, _listed(content.get("export", []))))
    if not formats:
        return ()
    from cryosam.io.exports import check_exports  # slow to import

    pixel_size = content.get("tilt_series_pixel_size")
    try:
        check_exports(formats, 1.0, pixel_size)
    except InputError as error:
        raise ConfigError(f"{path}, export: {error}") from error
    return formats


def _listed(value: str | list[Any]) -> list[Any]:
    """A single value as a list; a list as it is."""
    return [value] if isinstance(value, str) else value


def _require_kinds(path: Path, kinds: Sequence[str], configured: Iterable[str]) -> None:
    """Refuse two queries for the same kind, and settings of a kind that no query searches for."""
    if len(set(kinds)) < len(kinds):
        raise ConfigError(f"{path}: two queries are for the same kind: {', '.join(kinds)}; remove one of them")
    if kinds and (odd := sorted(set(configured) - set(kinds))):
        raise ConfigError(f"{path}: no query is for kind {odd[0]!r}; there are {', '.join(kinds)}")


def _read_settings(path: Path, content: Mapping[str, Any]) -> tuple[Config, dict[str, Config]]:
    """The common settings, and those of each kind that has its own."""
    config, kind_configs = Config.from_preset(content.get("preset", "embedded")), {}
    config = _change(f"{path}, settings", config, content.get("settings", {}))
    for name, changes in content.get("kinds", {}).items():
        own = {key: v for key, v in changes.items() if key not in _OF_CHOICES} if isinstance(changes, dict) else changes
        if own or not changes:
            kind_configs[name] = _change(f"{path}, kinds.{name}", config, own)
    return config, kind_configs


def _change(where: str, config: Config, changes: object) -> Config:
    """The settings with some changes."""
    if not isinstance(changes, dict):
        raise ConfigError(f"{where}: this must be a section of settings, got {changes!r}")
    if "preset" in changes:
        raise ConfigError(f"{where}: preset must be at the top of the file, outside of all sections")
    try:
        return config.override(**changes)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _find(path: Path, entries: Sequence[Any], base: Path, out: Path) -> Iterator[dict[str, Any]]:
    """The entry of each tomogram, with its file; volumes among the batch's own results are left out."""
    for entry in entries:
        given = {"path": entry} if isinstance(entry, str) else entry
        if not isinstance(given, dict) or not isinstance(given.get("path"), str):
            raise ConfigError(f"{path}: a tomogram is given as a file, a pattern or a table with a path, got {entry!r}")
        _check(path, given, _TOMOGRAM_KEYS)
        pattern = given["path"]
        anchored = str(Path(glob.escape(str(base)), pattern))  # an absolute pattern stays as it is
        found = [base / pattern]  # a name may have brackets, which are a pattern's too
        if not found[0].exists():
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
    """The fields of a tomogram's file that a pattern may use."""
    return {
        "file": tomogram_name(file),
        "folder": file.absolute().parent.name,
        "folder2": file.absolute().parents[1].name,
    }


def _require_names(path: Path, jobs: Sequence[Job], written: Callable[[str], str]) -> None:
    """Refuse names that cannot be folders, and two tomograms with the same folder or the same name in a STAR file."""
    seen: dict[str, Job] = {}
    for job in jobs:
        if not job.name or job.name.startswith(".") or "/" in job.name:
            raise ConfigError(
                f"{path}: the name of {job.path} would be {job.name!r}, which cannot be a folder; give it another name"
            )
        other = seen.setdefault(written(job.name).casefold(), job)
        if other is not job:
            raise ConfigError(
                f"{path}: two tomograms have the same name, {job.name}: {other.path} and {job.path}; "
                'name them after their folders with name = "{folder}", or give each its own name'
            )
