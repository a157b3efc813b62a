from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryosam.errors import TomogramError, VoxelSizeError
from cryosam.io import read_info, read_tomogram, read_volume, write_volume
from cryosam.io.tiff import read_tiff, read_tiff_info, write_tiff

VOXELS = np.arange(5 * 6 * 7, dtype=np.float32).reshape(5, 6, 7)


def imagej(path: Path, edges: tuple[float, float, float] = (1.0, 1.0, 1.0), **metadata: object) -> Path:
    """A stack as ImageJ writes it, with the edges z, y, x of a voxel in the unit of ``metadata``."""
    z, y, x = edges
    described = {"axes": "ZYX", "spacing": z, **metadata}
    tifffile.imwrite(path, VOXELS, imagej=True, resolution=(1 / x, 1 / y), metadata=described)
    return path


@pytest.mark.parametrize("unit", ["nm", "nanometer", "um", "micron", "µm", "\\u00B5m", "angstrom", "Å", "A", "NM"])
def test_the_voxel_size_in_every_unit(tmp_path: Path, unit: str) -> None:
    factor = 10 if unit.lower().startswith("n") else 1 if unit[0].lower() in "aå" else 10_000
    edge = 13.48 / factor
    path = tmp_path / "t.tif"
    # the description is ASCII for tifffile, but other programs write Latin-1 or escapes
    imagej(path, (edge,) * 3, unit=unit if unit.isascii() else "@@")
    path.write_bytes(path.read_bytes().replace(b"unit=@@", f"unit={unit}".encode("latin-1").ljust(7)[:7]))
    assert read_tomogram(path).voxel_size_angstrom == 13.48


@pytest.mark.parametrize("unit", ["pixel", "inch", "cm", "", "furlong"])
def test_without_a_unit_of_that_scale_the_voxel_size_is_not_known(tmp_path: Path, unit: str) -> None:
    path = imagej(tmp_path / "t.tif", unit=unit)
    assert read_tomogram(path).voxel_size_angstrom is None
    assert read_tomogram(path, voxel_size_angstrom=8.0).voxel_size_angstrom == 8


@pytest.mark.parametrize("edges", [(1.1, 1.0, 1.0), (1.0, 1.1, 1.0), (1.0, 1.0, 1.1)])
def test_edges_that_disagree_are_an_error_that_names_them_in_order(tmp_path: Path, edges: tuple[float, ...]) -> None:
    path = imagej(tmp_path / "t.tif", edges, unit="nm")
    said = " x ".join(f"{10 * e:g}" for e in edges)
    with pytest.raises(VoxelSizeError, match=f"{said} angstrom along z, y, x"):
        read_tomogram(path)
    assert read_tomogram(path, voxel_size_angstrom=10.5).voxel_size_angstrom == 10.5


def test_a_printers_resolution_is_no_voxel_size(tmp_path: Path) -> None:
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, VOXELS, photometric="minisblack", resolution=(300, 300), resolutionunit="INCH")
    assert read_tomogram(path).voxel_size_angstrom is None


def test_the_range_that_imagej_shows_is_reported(tmp_path: Path) -> None:
    info = read_info(imagej(tmp_path / "t.tif", unit="nm", min=-3.0, max=7.0))
    assert (info.format, info.minimum, info.maximum, info.dtype) == ("TIFF (ImageJ)", -3, 7, np.float32)


def write_pages(path: Path, **options: object) -> Path:
    with tifffile.TiffWriter(path) as tif:
        for section in VOXELS:
            tif.write(section, contiguous=False, metadata=None, **options)
    return path


LAYOUTS = {
    "one piece": lambda path: tifffile.imwrite(path, VOXELS, photometric="minisblack"),
    "big-endian": lambda path: tifffile.imwrite(path, VOXELS, photometric="minisblack", byteorder=">"),
    "big": lambda path: tifffile.imwrite(path, VOXELS, photometric="minisblack", bigtiff=True),
    "zlib": lambda path: tifffile.imwrite(path, VOXELS, photometric="minisblack", compression="zlib"),
    "pages": write_pages,
    "zlib pages": lambda path: write_pages(path, compression="zlib"),
    "imagej": imagej,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "t.TIFF"
    LAYOUTS[layout](path)
    data = read_tomogram(path).data
    np.testing.assert_array_equal(data, VOXELS)
    assert isinstance(data, np.memmap) == (layout in {"one piece", "big-endian", "big", "imagej"})


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7])
def test_every_truncated_layout_is_an_error(tmp_path: Path, layout: str, share: float, caplog) -> None:
    path = tmp_path / "t.tif"
    LAYOUTS[layout](path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TomogramError, match=r"truncated|damaged"):
        read_tomogram(path)
    assert not caplog.records  # tifffile's own words stay off the screen


@pytest.mark.parametrize("content", [b"", b"II*\0", b"not a tomogram\n" * 90, b"MM\0*\0\0\0\x08" + bytes(50)])
def test_what_is_no_tiff_file_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.tif"
    path.write_bytes(content)
    with pytest.raises(TomogramError, match="not a TIFF file"):
        read_tomogram(path)


@settings(max_examples=40)
@given(position=st.integers(0, 400), value=st.integers(0, 255))
def test_a_changed_byte_never_causes_another_error(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "t.tif"
    imagej(path, unit="nm")
    content = bytearray(path.read_bytes())
    content[position] = value
    path.write_bytes(bytes(content))
    try:
        shape = read_tomogram(path).shape
    except (TomogramError, VoxelSizeError) as error:
        shape, message = None, str(error)
        assert "\n" not in message
    assert shape is None or np.prod(shape) <= path.stat().st_size


@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 2, 6, 7), "TZYX"), ((5, 3, 6, 7), "ZCYX"), ((3, 6, 7), "CYX"), ((2, 3, 4, 6, 7), "TZCYX")]
)
def test_channels_and_time_series_are_refused(tmp_path: Path, shape: tuple[int, ...], axes: str) -> None:
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, np.zeros(shape, np.uint8), imagej=True, metadata={"axes": axes})
    with pytest.raises(TomogramError, match="one grey stack"):
        read_tomogram(path)


def test_a_stack_that_fiji_calls_a_time_series_is_a_tomogram(tmp_path: Path) -> None:
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, VOXELS, imagej=True, metadata={"axes": "TYX"})
    np.testing.assert_array_equal(read_tomogram(path).data, VOXELS)


def test_many_channels_are_sections_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """ImageJ labels the images of a stack that it knows nothing about as channels."""
    data = np.arange(88 * 6 * 7, dtype=np.uint16).reshape(88, 6, 7)
    tifffile.imwrite(tmp_path / "t.tif", data, imagej=True, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read_tomogram(tmp_path / "t.tif").data, data)
    assert "its 88 channels are read as sections" in caplog.text


def test_an_image_and_a_colour_picture_are_no_tomograms(tmp_path: Path) -> None:
    path = tmp_path / "t.tif"
    tifffile.imwrite(path, VOXELS[0])
    with pytest.raises(TomogramError, match="2D image, 1 x 6 x 7"):
        read_tomogram(path)
    tifffile.imwrite(path, np.zeros((5, 6, 7, 3), np.uint8), photometric="rgb")
    with pytest.raises(TomogramError, match="S: colour samples"):
        read_tomogram(path)
    tifffile.imwrite(path, VOXELS.astype(np.complex64), photometric="minisblack")
    with pytest.raises(TomogramError, match="real numbers"):
        read_tomogram(path)


def test_images_of_different_sizes_are_no_tomogram(tmp_path: Path) -> None:
    path = tmp_path / "t.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(VOXELS[0], metadata=None)
        tif.write(VOXELS[0, :4], metadata=None)
    with pytest.raises(TomogramError, match="2 images of different sizes"):
        read_tomogram(path)


@settings(max_examples=40)
@given(
    data=hnp.arrays(
        st.sampled_from(["int8", "uint8", "int16", "uint16", "int32", "float32", "bool"]),
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=4),
    ),
    size=st.none() | st.floats(0.5, 100).map(lambda v: float(f"{v:.5g}")),
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, data: np.ndarray, size: float | None) -> None:
    if data.dtype == np.int32:
        data = data % 2**16
    path = tmp_path_factory.mktemp("tiff") / "t.tif"
    write_tiff(path, data, size)
    np.testing.assert_array_equal(read_tiff(path), data)
    info = read_tiff_info(path)
    assert (info.shape, info.voxel_size_angstrom) == (data.shape, size)


def test_what_is_written_is_an_imagej_stack(tmp_path: Path) -> None:
    write_volume(tmp_path / "t.tif", VOXELS.astype(np.int64), 13.48)
    with tifffile.TiffFile(tmp_path / "t.tif") as tif:
        assert tif.is_imagej
        assert (tif.series[0].axes, tif.series[0].dtype.name) == ("ZYX", "uint8")
        assert tif.imagej_metadata["unit"] == "nm"
        assert tif.imagej_metadata["spacing"] == 1.348
        pixels, nm = tif.pages[0].tags["XResolution"].value
        assert nm / pixels == pytest.approx(1.348)


def test_a_real_microtubule(shared_data: Path) -> None:
    path = shared_data / "microtubule_13pf.tif"
    tomogram = read_tomogram(path)
    assert (tomogram.shape, tomogram.voxel_size_angstrom) == ((36, 206, 94), 10.52)
    assert tomogram.data.dtype == np.uint8
    np.testing.assert_array_equal(read_volume(path), tifffile.imread(path))
