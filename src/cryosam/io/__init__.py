"""Reading and writing files; the only folder in which coordinates are in the order x, y, z.

In: paths to read, or volumes, points and segmentations to write.
Out: arrays in z, y, x and voxels, or files with the units and the axis order that other programs expect.
May import: evaluation, config, and the nouns at the package's root. No other folder may import a file-format library.
"""

from cryosam.io.atomic import atomic_path
from cryosam.io.point_files import is_points_name, read_points, write_points
from cryosam.io.points import PointTable
from cryosam.io.tomogram_points import TomogramPoints
from cryosam.io.volume_info import VolumeInfo
from cryosam.io.volumes import (
    is_volume_name,
    read_info,
    read_search_mask,
    read_tomogram,
    read_volume,
    read_voxels,
    write_volume,
)

__all__ = [
    "PointTable",
    "TomogramPoints",
    "VolumeInfo",
    "atomic_path",
    "is_points_name",
    "is_volume_name",
    "read_info",
    "read_points",
    "read_search_mask",
    "read_tomogram",
    "read_volume",
    "read_voxels",
    "write_points",
    "write_volume",
]
