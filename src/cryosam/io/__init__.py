"""Reading and writing files; the only place where coordinates come x first."""

from cryosam.io.atomic import atomic_path
from cryosam.io.point_files import read_points, write_points
from cryosam.io.points import PointTable
from cryosam.io.volume_info import VolumeInfo
from cryosam.io.volumes import is_volume_name, read_info, read_tomogram, read_volume, write_volume

__all__ = [
    "PointTable",
    "VolumeInfo",
    "atomic_path",
    "is_volume_name",
    "read_info",
    "read_points",
    "read_tomogram",
    "read_volume",
    "write_points",
    "write_volume",
]
