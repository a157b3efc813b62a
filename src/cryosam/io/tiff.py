"""TIFF: ImageJ stacks, and plain files with one page per section.

Sources: TIFF 6.0 for the resolution tags; ``unit`` and ``spacing`` as ImageJ writes them in the description tag.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile

from cryosam.arrays import AnyVolume, Mask
from cryosam.errors import CryosamError, TomogramError
from cryosam.io.atomic import atomic_path
from cryosam.io.volume_info import VolumeInfo
from cryosam.io.voxel_types import as_storable

__all__ = ["read_tiff", "read_tiff_info", "write_tiff"]

_log = logging.getLogger(__name__)

_ANGSTROM_PER_UNIT = {
    **dict.fromkeys(("angstrom", "angstroms", "a", "å", "\u212b", "\\u00c5", "\\u212b"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre"), 10.0),
    **dict.fromkeys(("um", "µm", "\u03bcm", "\\u00b5m", "\\u03bcm", "micron", "microns", "micrometer"), 1e4),
}
_SECTION_AXES = "ZIQT"  # sections, pages, unknown; and time, as Fiji often labels the sections of a stack
_MOST_CHANNELS = 8  # more are sections, as ImageJ labels those of a stack without further information
_SIGNS_OF_TRUNCATION = ("invalid page offset", "corrupted file")  # tifffile logs these and returns the remaining pages


def read_tiff_info(path: Path) -> VolumeInfo:
    """Read the header; the voxels are not read.

    The voxel size comes from ``unit`` and ``spacing`` (z) of ImageJ and from the resolution tags (y and x). The
    resolution of a plain TIFF is meant for printers, so its voxel size is unknown.

    Raises
    ------
    TomogramError
        If the file is not a TIFF of one 3D volume of real numbers, or is shorter than its header says.
    """
    with _opened(path) as tif:
        series = _only_series(tif, path)
        metadata = tif.imagej_metadata or {}
        has_range = {"min", "max"} <= metadata.keys()
        return VolumeInfo(
            path,
            "TIFF (ImageJ)" if tif.is_imagej else "TIFF",
            _shape(series, path),
            series.dtype.newbyteorder("="),
            _spacing(tif),
            float(metadata["min"]) if has_range else None,
            float(metadata["max"]) if has_range else None,
        )


def read_tiff(path: Path) -> AnyVolume:
    """Read voxels ``(z, y, x)``; memory-mapped and read-only if they are contiguous and uncompressed.

    Raises
    ------
    TomogramError
        As in `read_tiff_info`.
    """
    with _opened(path) as tif:
        series = _only_series(tif, path)
        shape = _shape(series, path)
        if "C" in series.axes and shape[0] > 1:
            _log.warning("%s: its %d channels are read as sections", path, shape[0])
        if series.dataoffset is not None:
            return np.memmap(path, series.dtype.newbyteorder(tif.byteorder), "r", series.dataoffset, shape)
        return np.asarray(series.asarray()).reshape(shape)


def write_tiff(path: Path, data: AnyVolume | Mask, voxel_size_angstrom: float | None) -> None:
    """Write an ImageJ stack.

    Parameters
    ----------
    data
        ``(z, y, x)``. ImageJ has the types uint8, uint16, int16 and float32; integers and masks are stored in the
        first that holds their values.
    voxel_size_angstrom
        Edge length of a voxel, written in nm; for None no unit is written.

    Raises
    ------
    OutputError
        If there is no space or no permission.
    """
    stored = as_storable(data, ("uint8", "uint16", "int16"), ("float32",))
    metadata: dict[str, str | float] = {"axes": "TZCYXS"}
    resolution = None
    if voxel_size_angstrom is not None:
        edge_nm = voxel_size_angstrom / 10
        metadata |= {"unit": "nm", "spacing": edge_nm}
        resolution = (1 / edge_nm, 1 / edge_nm)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        # above 4 GB only the first page has a directory, as in ImageJ; the description has the number of pages
        warnings.filterwarnings("ignore", ".*truncating ImageJ file", UserWarning)
        # all six axes of ImageJ are given, because tifffile would misinterpret a volume that is one voxel wide
        hyperstack = stored[None, :, None, :, :, None]
        tifffile.imwrite(temporary, hyperstack, imagej=True, metadata=metadata, resolution=resolution)


@contextmanager
def _opened(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open the file; every problem with it becomes a `TomogramError`, and the log of tifffile is suppressed."""
    try:
        with _captured_log() as log, tifffile.TiffFile(path) as tif:
            _ = len(tif.pages), tif.series  # read here, because a gap in them is only logged
            if any(sign in line for line in log for sign in _SIGNS_OF_TRUNCATION):
                raise TomogramError(
                    f"{path}: truncated: pages are missing after byte {path.stat().st_size}; copy or download it again"
                )
            yield tif
    except (CryosamError, OSError):
        raise
    except Exception as error:  # a broken tag makes tifffile raise exceptions of any type
        if "imagecodecs" in str(error):
            raise TomogramError(f"{path}: this compression is not supported; save it uncompressed") from error
        raise TomogramError(f"{path}: not a TIFF file, or damaged ({_line(error)}); copy or save it again") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _captured_log() -> Iterator[list[str]]:
    """Collect the log of tifffile instead of showing it."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, collect = logging.getLogger("tifffile"), Collect(logging.WARNING)
    propagate = logger.propagate
    logger.addHandler(collect)
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.removeHandler(collect)
        logger.propagate = propagate


def _only_series(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """Return the only stack in the file, and check the length of the file."""
    if len(tif.series) != 1:
        raise TomogramError(f"{path}: {len(tif.series)} images of different sizes; a tomogram is one stack")
    series = tif.series[0]
    if series.dataoffset is not None:
        expected = series.dataoffset + series.nbytes
    else:
        expected = max(o + n for p in series.pages for o, n in zip(p.dataoffsets, p.databytecounts, strict=True))
    actual = path.stat().st_size
    if actual < expected:
        raise TomogramError(
            f"{path}: truncated: {expected} bytes expected, but the file has {actual}; copy or download it again"
        )
    return series


def _shape(series: tifffile.TiffPageSeries, path: Path) -> tuple[int, int, int]:
    """Return the number of voxels along z, y, x; axes of length 1 are dropped, and a 2D image has one section."""
    if series.dtype.kind not in "uif":
        raise TomogramError(f"{path}: voxels must be real numbers, these are {series.dtype}")
    kept = [(a, int(n)) for a, n in zip(series.axes, series.shape, strict=True) if a in "YX" or n > 1]
    letters = "".join(a for a, _ in kept)
    if letters == "CYX" and kept[0][1] > _MOST_CHANNELS:
        letters = "ZYX"
    if letters == "YX":
        return 1, kept[0][1], kept[1][1]
    if letters[1:] == "YX" and letters[0] in _SECTION_AXES:
        return kept[0][1], kept[1][1], kept[2][1]
    raise TomogramError(
        f"{path}: a tomogram is one grey stack z, y, x; this has the axes {series.axes} {tuple(series.shape)} "
        "(S: colour samples, C: channels, T: time)"
    )


def _spacing(tif: tifffile.TiffFile) -> tuple[float, float, float] | None:
    """Return the edges of a voxel along z, y, x; None if ImageJ gave no unit of length."""
    metadata = tif.imagej_metadata or {}
    factor = _ANGSTROM_PER_UNIT.get(str(metadata.get("unit", "")).strip().lower())
    tags = tif.pages[0].tags
    if factor is None or not {"XResolution", "YResolution"} <= {tag.name for tag in tags}:
        return None
    edges = [float(metadata.get("spacing", 1.0))]  # ImageJ leaves out a spacing of 1
    for name in ("YResolution", "XResolution"):
        pixels, units = tags[name].value
        edges.append(units / pixels if pixels else 0.0)
    z, y, x = (edge * factor for edge in edges)
    return z, y, x
