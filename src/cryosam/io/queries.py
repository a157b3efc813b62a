"""Files of saved queries: arrays and a JSON text in the npz format of NumPy, without pickles."""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from cryosam.errors import CryosamError, InputNotFoundError, QueryError
from cryosam.io.atomic import atomic_path
from cryosam.prompts import require_kind_names
from cryosam.results import Average
from cryosam.saved_query import KnownMembers, SavedQuery
from cryosam.structure_query import CompartmentKind, FilamentKind, KindDescription, MembraneKind, StructureQuery

__all__ = ["read_queries", "write_queries"]

_FORMAT, _WITH_STRUCTURES = 2, 3
_DESCRIPTIONS: Mapping[str, type[KindDescription]] = {
    kind.structure: kind for kind in (MembraneKind, FilamentKind, CompartmentKind)
}
_TEXT = "description"
_PLAIN = (
    "name",
    "diameter_angstrom",
    "volume_angstrom3",
    "smoothing_angstrom",
    "contrast",
    "voxel_size_angstrom",
    "token_voxels",
    "features",
    "features_digest",
    "segmenter",
    "segmenter_digest",
    "n_particles",
    "source",
    "source_digest",
)
_OF_STRUCTURE = ("name", "contrast", "voxel_size_angstrom", "n_instances", "source", "source_digest")


def write_queries(path: Path, queries: Sequence[SavedQuery | StructureQuery]) -> None:
    """Write queries of one or several kinds to one file, which appears only when it is complete.

    Parameters
    ----------
    path
        The file to create; its name must end in ``.npz``.
    queries
        One query per kind; the names of the kinds must differ.

    Raises
    ------
    QueryError
        If the name does not end in ``.npz``.
    PromptError
        If two kinds have the same name, or there is no query.
    OutputError
        If there is no space or no permission.
    """
    if path.suffix != ".npz":
        raise QueryError(f"{path}: the file name of a query must end in .npz")
    require_kind_names([query.name for query in queries])
    kinds: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for k, query in enumerate(queries):
        if isinstance(query, StructureQuery):
            kinds.append(_describe(query, k, arrays))
            continue
        plain = {key: getattr(query, key) for key in _PLAIN}
        kinds.append(plain | {"scales": list(query.scales), "average_step_angstrom": query.average.step})
        arrays[f"{k}.feature"] = query.feature.astype(np.float32)
        arrays[f"{k}.average"] = query.average.data.astype(np.float32)
        for column in ("correlations", "prior_score", "is_kind"):
            arrays[f"{k}.{column}"] = getattr(query.known_members, column)
    has_structures = any(isinstance(query, StructureQuery) for query in queries)
    text = json.dumps({"format": _WITH_STRUCTURES if has_structures else _FORMAT, "kinds": kinds})
    arrays[_TEXT] = np.frombuffer(text.encode(), dtype=np.uint8)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def read_queries(path: Path) -> tuple[SavedQuery | StructureQuery, ...]:
    """Read the queries of a file.

    Parameters
    ----------
    path
        A file written by `write_queries`.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    QueryError
        If it is not a file of queries, is damaged, or has another version.

    Examples
    --------
    >>> read_queries(Path("nowhere.npz"))
    Traceback (most recent call last):
        ...
    cryosam.errors.InputNotFoundError: nowhere.npz: no such file; check the path
    """
    if not path.is_file():
        raise InputNotFoundError(f"{path}: no such file; check the path")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            described = json.loads(arrays[_TEXT].tobytes())
            if described["format"] not in (_FORMAT, _WITH_STRUCTURES):
                raise QueryError(
                    f"{path}: this query has version {described['format']}, but this program reads {_WITH_STRUCTURES}"
                )
            queries = tuple(_build(kind, k, arrays) for k, kind in enumerate(described["kinds"]))
        require_kind_names([query.name for query in queries])
    except (CryosamError, OSError):
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise QueryError(
            f"{path}: not a file written by cryosam query, or damaged ({reason}); create it again"
        ) from error
    return queries


def _describe(query: StructureQuery, k: int, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The part of the JSON text of a query for a structure; its arrays are added to the others."""
    plain = {key: getattr(query, key) for key in _OF_STRUCTURE}
    values = {each.name: getattr(query.kind, each.name) for each in fields(query.kind)}
    arrays |= {f"{k}.{name}": value for name, value in values.items() if isinstance(value, np.ndarray)}
    numbers = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
    return plain | {"structure": query.structure, "measured": numbers}


def _build(kind: Mapping[str, Any], k: int, arrays: Mapping[str, np.ndarray]) -> SavedQuery | StructureQuery:
    """Build one query from its part of the JSON text and its arrays."""
    if "structure" in kind:
        described = _DESCRIPTIONS[kind["structure"]]
        measured = dict(kind["measured"])
        measured |= {each.name: arrays[f"{k}.{each.name}"] for each in fields(described) if each.name not in measured}
        types = StructureQuery.__annotations__ | {"contrast": str}
        plain = {key: types[key](kind[key]) for key in _OF_STRUCTURE}
        return StructureQuery(**plain, kind=described(**measured))
    plain = {key: type_of(kind[key]) for key, type_of in _types().items()}
    correlations, prior_score = (_column(arrays[f"{k}.{name}"], float) for name in ("correlations", "prior_score"))
    return SavedQuery(
        **plain,
        feature=_column(arrays[f"{k}.feature"], np.float32),
        average=Average(arrays[f"{k}.average"].astype(np.float32), float(kind["average_step_angstrom"])),
        known_members=KnownMembers(correlations, prior_score, _column(arrays[f"{k}.is_kind"], bool)),
        scales=tuple(float(scale) for scale in kind["scales"]),
    )


def _types() -> dict[str, type]:
    """Return the types of the plain fields."""
    return {key: SavedQuery.__annotations__[key] if key != "contrast" else str for key in _PLAIN}


def _column(values: np.ndarray, dtype: type) -> np.ndarray:
    if values.ndim != 1:
        raise ValueError(f"an array has {values.ndim} dimensions, but must have one")
    return values.astype(dtype)
