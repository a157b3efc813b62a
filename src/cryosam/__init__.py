"""Find and segment in 3D every particle of a kind in a cryo-electron tomogram, starting from one click."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryosam.backends import load_features, load_segmenter
    from cryosam.config import Config
    from cryosam.errors import CryosamError
    from cryosam.full_map import FullMap
    from cryosam.io import read_points, read_tomogram
    from cryosam.io.queries import read_queries, write_queries
    from cryosam.masks import InstanceMask
    from cryosam.prompts import PointPrompts
    from cryosam.results import Segmentation
    from cryosam.saved_query import SavedQuery
    from cryosam.scene import RunOptions
    from cryosam.segmentation import make_queries, pick, segment, segment_kinds, segment_prompts
    from cryosam.structure_query import StructureQuery
    from cryosam.structure_results import StructureResult
    from cryosam.structure_search import find_map, find_structures, make_structure_query
    from cryosam.tomogram import Tomogram

__all__ = [
    "Config",
    "CryosamError",
    "FullMap",
    "InstanceMask",
    "PointPrompts",
    "RunOptions",
    "SavedQuery",
    "Segmentation",
    "StructureQuery",
    "StructureResult",
    "Tomogram",
    "find_map",
    "find_structures",
    "load_features",
    "load_segmenter",
    "make_queries",
    "make_structure_query",
    "pick",
    "read_points",
    "read_queries",
    "read_tomogram",
    "segment",
    "segment_kinds",
    "segment_prompts",
    "write_queries",
]

__version__ = version("cryosam-et")

_MODULES = {
    "Config": "config",
    "CryosamError": "errors",
    "FullMap": "full_map",
    "InstanceMask": "masks",
    "PointPrompts": "prompts",
    "RunOptions": "scene",
    "SavedQuery": "saved_query",
    "Segmentation": "results",
    "StructureQuery": "structure_query",
    "StructureResult": "structure_results",
    "Tomogram": "tomogram",
    "find_map": "structure_search",
    "find_structures": "structure_search",
    "load_features": "backends",
    "load_segmenter": "backends",
    "make_queries": "segmentation",
    "make_structure_query": "structure_search",
    "pick": "segmentation",
    "read_points": "io",
    "read_queries": "io.queries",
    "read_tomogram": "io",
    "segment": "segmentation",
    "segment_kinds": "segmentation",
    "segment_prompts": "segmentation",
    "write_queries": "io.queries",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package itself is fast."""
    if name not in _MODULES:
        raise AttributeError(f"module 'cryosam' has no attribute {name!r}")
    return getattr(import_module(f"cryosam.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
