"""copick projects: a folder of tomograms, picks and segmentations, and the JSON files of picks.

::

    PROJECT/config.json                                        names of objects, and the location of the data
    PROJECT/ExperimentRuns/RUN/VoxelSpacing10.000/TYPE.zarr    tomograms, OME-Zarr; a run is one tilt series
    PROJECT/ExperimentRuns/RUN/Picks/USER_SESSION_OBJECT.json  picks
    PROJECT/ExperimentRuns/RUN/Segmentations/10.000_USER_SESSION_OBJECT.zarr          masks
    PROJECT/ExperimentRuns/RUN/InstanceSegmentations/10.000_USER_SESSION_OBJECT.zarr  instance labels

A pick is at ``location`` plus the last column of ``transformation_``, x, y, z in angstrom: the voxel index times the
voxel size, so that the centre of the first voxel is at 0. The rest of the matrix rotates the reference of the object
into the pose of the object.

Source: "Geometry Conventions" and the data model of copick. The package itself is not used: it needs an older Zarr.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from cryosam.arrays import Labels
from cryosam.errors import PointsFileError, VoxelSizeError
from cryosam.io.atomic import atomic_path
from cryosam.io.folders import make_folder
from cryosam.io.ndjson import rotations_from_matrices
from cryosam.io.points import PointTable
from cryosam.io.text_files import read_text
from cryosam.io.tomogram_names import choose_tomogram, file_name, same_tilt_series
from cryosam.io.tomogram_points import TomogramPoints, check_distinct
from cryosam.io.x_first import x_first_matrices

__all__ = ["copick_name", "copick_names", "find_picks", "read_copick", "write_copick", "write_copick_masks"]

_RUNS, _PICKS = "ExperimentRuns", "Picks"
_USER, _SESSION = "cryosam", "0"  # session 0: made by a tool
_INVALID = re.compile(r"[<>:\"/\\|?*\x00-\x1f\x7f\s_]")
_COLOURS = ((255, 170, 0), (0, 170, 255), (255, 0, 170), (0, 255, 170), (170, 0, 255), (170, 255, 0))


def copick_name(name: str) -> str:
    """Make a name valid in copick: characters that separate the parts of its file names become ``-``.

    Examples
    --------
    >>> copick_name("80S ribosome_v2")
    '80S-ribosome-v2'
    """
    return _INVALID.sub("-", name).strip("-") or "particle"


def copick_names(kinds: Sequence[str]) -> list[str]:
    """Make the names of several kinds valid in copick; they must stay different, as file names are made from them.

    Raises
    ------
    PointsFileError
        If two kinds get the same name.

    Examples
    --------
    >>> copick_names(["80S ribosome", "ring"])
    ['80S-ribosome', 'ring']
    """
    names = [copick_name(kind) for kind in kinds]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        clashing = " and ".join(kind for kind, name in zip(kinds, names, strict=True) if name == duplicate)
        raise PointsFileError(f"{clashing} would both be named {duplicate} in files; rename one of them")
    return names


def read_copick(
    path: Path, *, voxel_size_angstrom: float | None = None, tomogram_name: str | None = None
) -> PointTable:
    """Read picks of one tomogram.

    Parameters
    ----------
    path
        A JSON file of picks; or a project, given as its folder or its configuration file, from which the picks of all
        objects in one run are read. The name of the object becomes the name of the points.
    voxel_size_angstrom
        Voxel size of the tomogram, needed because picks are in angstrom.
    tomogram_name
        Name of the run, if ``path`` is a project.

    Raises
    ------
    PointsFileError
        If this is not a file of picks, there are no picks, several sets of picks are of the same object, or a value is
        not a number.
    VoxelSizeError
        If the voxel size is not given.

    Examples
    --------
    >>> import tempfile
    >>> picks = {"pickable_object_name": "ribosome", "points": [{"location": {"x": 30, "y": 20, "z": 10}}]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "me_1_ribosome.json").write_text(json.dumps(picks))
    ...     read_copick(Path(folder, "me_1_ribosome.json"), voxel_size_angstrom=10.0).points
    array([[1., 2., 3.]])
    """
    is_one_file = path.is_file() and not _is_configuration(path)
    files = [path] if is_one_file else find_picks(path, tomogram_name)
    tables = [_read_picks(file, voxel_size_angstrom) for file in files]
    picked = [table for table in tables if len(table)]
    if is_one_file and tables[0].tomogram_name is not None:
        choose_tomogram(path, [tables[0].tomogram_name], tomogram_name)  # logs that it is another one
    if len(picked) < 2:
        return [*picked, *tables][0]
    scores = [table.scores for table in picked if table.scores is not None]
    rotations = [table.rotations for table in picked if table.rotations is not None]
    return PointTable(
        np.concatenate([table.points for table in picked]),
        np.concatenate(scores) if len(scores) == len(picked) else None,
        tuple(name for table in picked for name in table.names or ()),
        rotations=Rotation.concatenate(rotations) if len(rotations) == len(picked) else None,
        tomogram_name=picked[0].tomogram_name,
    )


def find_picks(project: Path, run: str | None) -> list[Path]:
    """Find the pick files of one run of a project, one file per object.

    Parameters
    ----------
    project
        The folder of the project, its configuration file, or the folder of the run.
    run
        Name of the run; may be None if there is only one.

    Raises
    ------
    PointsFileError
        If there is no such run, it has no picks, or several users or sessions picked the same object.

    Examples
    --------
    >>> import tempfile
    >>> part = TomogramPoints(table=PointTable(np.ones((1, 3))), name="TS_01", voxel_size_angstrom=10.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_copick(Path(folder), [part])
    ...     [file.name for file in find_picks(Path(folder), "TS_01")]
    ['cryosam_0_particle.json']
    """
    roots = _roots(project)
    if all((root / _PICKS).is_dir() for root in roots):
        folders = roots
    else:
        runs = sorted(
            {f.name for root in roots if (root / _RUNS).is_dir() for f in (root / _RUNS).iterdir() if f.is_dir()}
        )
        found = runs if run is None else same_tilt_series({name: [name] for name in runs}, run)
        if len(found) != 1:
            problem = f"no run named {run!r} in this copick project; the runs are {', '.join(runs) or 'none'}"
            raise PointsFileError(f"{project}: {problem}; name one with --name")
        folders = [root / _RUNS / found[0] for root in roots]
    files = [file for folder in folders for file in sorted((folder / _PICKS).glob("*.json"))]
    objects = [file.stem.split("_", 2)[-1] for file in files]
    if not files:
        raise PointsFileError(f"{folders[0]}: no picks in this copick run; there is no {_PICKS}/*.json")
    duplicate = next((name for name in objects if objects.count(name) > 1), None)
    if duplicate is not None:
        sets = ", ".join(str(file) for file, name in zip(files, objects, strict=True) if name == duplicate)
        raise PointsFileError(f"{project}: several sets of picks of {duplicate}: {sets}; give one of these files")
    return files


def write_copick(folder: Path, parts: Sequence[TomogramPoints], *, lies_at: Path | None = None) -> None:
    """Write picks of one or several tomograms as a copick project, or into an existing project.

    Parameters
    ----------
    folder
        The folder of the project, created if missing. Its ``config.json`` is created, or missing objects are added to
        it. Other content of the project is kept; earlier picks of the same objects by this function are replaced.
    parts
        Points of each tomogram, which becomes a run of that name. A kind becomes an object, named by `copick_name`;
        picks without names belong to the only kind that was searched for, or to "particle". Scores, orientations and
        instances are written too.
    lies_at
        Final location of the project, if not ``folder``; it is written to the configuration.

    Raises
    ------
    VoxelSizeError
        If a voxel size is not known.
    PointsFileError
        If two tomograms, or two kinds in copick, have the same name; if there is no tomogram, or the ``config.json``
        of the project is damaged.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> table = PointTable(np.array([[1.0, 2.0, 3.0]]), names=("ribosome",))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_copick(Path(folder), [TomogramPoints(table=table, name="TS_01", voxel_size_angstrom=10.0)])
    ...     read_copick(Path(folder), voxel_size_angstrom=10.0, tomogram_name="TS_01").points
    array([[1., 2., 3.]])
    """
    check_distinct(folder, parts)
    sizes = [part.need_voxel_size(folder, "copick") for part in parts]
    kinds = copick_names(list(dict.fromkeys(kind for part in parts for kind in part.by_kind())))
    make_folder(folder)
    for part, size in zip(parts, sizes, strict=True):
        target = folder / _RUNS / file_name(part.name) / _PICKS
        make_folder(target)
        for kind, table in part.by_kind().items():
            file = target / f"{_USER}_{_SESSION}_{copick_name(kind)}.json"
            _write_json(file, _describe_picks(copick_name(kind), file_name(part.name), table, size))
    _write_configuration(folder, kinds, lies_at or folder)


def write_copick_masks(folder: Path, part: TomogramPoints, labels: Labels) -> None:
    """Write the masks of one tomogram into a copick project: a mask and instance labels for each kind.

    Parameters
    ----------
    folder
        The folder of the project, as for `write_copick`.
    part
        The points; their instances tell which labels belong to which kind.
    labels
        ``(z, y, x)`` instance labels, 0 is background.

    Raises
    ------
    VoxelSizeError
        If the voxel size is not known.
    PointsFileError
        If the points have no instances.
    OutputError
        If there is no space or no permission.

    Examples
    --------
    >>> import tempfile
    >>> table = PointTable(np.ones((1, 3)), instances=np.array([1]))
    >>> part = TomogramPoints(table=table, name="TS_01", voxel_size_angstrom=10.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_copick_masks(Path(folder), part, np.ones((3, 3, 3), dtype=np.uint8))
    ...     sorted(path.parent.name for path in Path(folder).glob("ExperimentRuns/TS_01/*/10.000_*.zarr"))
    ['InstanceSegmentations', 'Segmentations']
    """
    from cryosam.io.ome_zarr import write_ome_zarr  # Zarr is slow to import

    size = part.need_voxel_size(folder, "copick")
    if part.table.instances is None:
        raise PointsFileError(f"{folder}: the points of {part.name} have no instance labels; give instances")
    run = folder / _RUNS / file_name(part.name)
    for kind, table in part.by_kind().items():
        known = np.zeros(0, dtype=int) if table.instances is None else table.instances[table.instances > 0]
        of_kind = np.where(np.isin(labels, known), labels, 0)
        name = f"{size:.3f}_{_USER}_{_SESSION}_{copick_name(kind)}.zarr"
        for directory, data in (("Segmentations", (of_kind > 0).astype(np.uint8)), ("InstanceSegmentations", of_kind)):
            make_folder(run / directory)
            write_ome_zarr(run / directory / name, data, size)


def _describe_picks(kind: str, run: str, table: PointTable, size: float) -> dict[str, Any]:
    """Build the content of a file of picks."""
    transformations = np.tile(np.eye(4), (len(table), 1, 1))
    if table.rotations is not None:
        transformations[:, :3, :3] = x_first_matrices(table.rotations).round(9)
    points = []
    for i, (z, y, x) in enumerate((table.points * size).round(4).tolist()):
        point = {"location": {"x": x, "y": y, "z": z}, "transformation_": transformations[i].tolist()}
        point["instance_id"] = 0 if table.instances is None else int(table.instances[i])
        point["score"] = None if table.scores is None else round(float(table.scores[i]), 6)
        points.append(point)
    return {
        "pickable_object_name": kind,
        "user_id": _USER,
        "session_id": _SESSION,
        "run_name": run,
        "voxel_spacing": size,
        "unit": "angstrom",
        "points": points,
        "trust_orientation": table.rotations is not None,
    }


def _read_picks(path: Path, voxel_size_angstrom: float | None) -> PointTable:
    """Read one file of picks."""
    picks = _read_json(path)
    rows = picks.get("points")
    if not isinstance(picks.get("pickable_object_name"), str) or not isinstance(rows, list | None):
        raise PointsFileError(f"{path}: not a copick picks file; it has no pickable_object_name and points")
    if picks.get("unit", "angstrom") != "angstrom":
        raise PointsFileError(f"{path}: the unit is {picks['unit']!r}; copick picks are in angstrom")
    if voxel_size_angstrom is None:
        raise VoxelSizeError(f"{path}: copick coordinates are in angstrom, and the voxel size is unknown; give it")
    points, rotations, scores, instances = [], [], [], []
    try:
        for row in rows or []:
            matrix = _matrix(row.get("transformation_"))
            points.append([_number(row["location"][axis]) for axis in "xyz"] + matrix[:3, 3])
            rotations.append(matrix[:3, :3])
            scores.append(row.get("score"))
            instances.append(row.get("instance_id") or 0)
        xyz = np.array(points, dtype=float).reshape(-1, 3)
        known = [s for s in scores if s is not None]
        table = PointTable(
            xyz[:, ::-1] / voxel_size_angstrom,
            np.array([1.0 if s is None else _number(s) for s in scores]) if known else None,
            (picks["pickable_object_name"],) * len(points),
            np.array(instances, dtype=np.int64) if any(instances) else None,
            tomogram_name=None if picks.get("run_name") is None else str(picks["run_name"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise PointsFileError(f"{path}, point {len(points) + 1}: not a copick pick ({reason})") from error
    matrices = np.array(rotations).reshape(-1, 3, 3)
    if not picks.get("trust_orientation", True) or (matrices == np.eye(3)).all():
        return table
    return replace(table, rotations=rotations_from_matrices(path, matrices))


def _matrix(rows: Any) -> Float[np.ndarray, "4 4"]:
    """Return a matrix of four rows; the identity if there is none."""
    return np.array([[_number(value) for value in row] for row in rows]).reshape(4, 4) if rows else np.eye(4)


def _number(value: object) -> float:
    """Return a number of JSON; text and truth values, which Python converts too, are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _write_configuration(folder: Path, kinds: Sequence[str], place: Path) -> None:
    """Create the configuration of the project, or add the objects that it lacks."""
    path = folder / "config.json"
    if path.exists():
        config = _read_json(path)
        objects = config.get("pickable_objects")
        if not isinstance(objects, list):
            raise PointsFileError(f"{path}: not a copick configuration; it has no list pickable_objects")
    else:
        objects = []
        config = {
            "name": place.absolute().parent.name,
            "description": "Particles found by CryoSAM",
            "version": "1.0.0",
            "config_type": "filesystem",
            "overlay_root": f"local://{place.absolute()}",
            "overlay_fs_args": {"auto_mkdir": True},
            "pickable_objects": objects,
        }
    known = {str(o.get("name")) for o in objects if isinstance(o, dict)}
    labels = [int(o.get("label") or 0) for o in objects if isinstance(o, dict)]
    for kind in kinds:
        if kind not in known:
            labels.append(max(labels, default=0) + 1)
            colour = [*_COLOURS[(labels[-1] - 1) % len(_COLOURS)], 255]
            objects.append({"name": kind, "is_particle": True, "label": labels[-1], "color": colour})
    _write_json(path, config)


def _roots(project: Path) -> list[Path]:
    """Return the folders that contain the runs."""
    if project.is_dir():
        return [project]
    config = _read_json(project)
    locations = [str(config[key]) for key in ("static_root", "overlay_root") if config.get(key)]
    remote = next((at for at in locations if "://" in at and not at.startswith(("local://", "file://"))), None)
    if remote is not None:
        raise PointsFileError(f"{project}: the project is stored at {remote}; copy it to this machine")
    return list(dict.fromkeys(Path(at.partition("://")[2] or at) for at in locations))


def _is_configuration(path: Path) -> bool:
    return "pickable_objects" in _read_json(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
    except ValueError as error:  # not text, or not JSON
        raise PointsFileError(f"{path}: not JSON, or cut off ({error})") from error
    if not isinstance(content, dict):
        raise PointsFileError(f"{path}: not a copick file; it is not a JSON object")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
