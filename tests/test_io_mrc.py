import gzip
import os
import struct
import time
import tracemalloc
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryosam.errors import OutputError, TomogramError, VoxelSizeError
from cryosam.io import read_info, read_search_mask, read_tomogram, read_volume, read_voxels, write_volume
from cryosam.io.mrc import read_mrc, read_mrc_info, write_mrc, write_mrc_labels
from cryosam.masks import InstanceMask

TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
VOXELS = np.arange(2 * 3 * 5).reshape(2, 3, 5)


def mrc_bytes(
    data: np.ndarray,
    mode: int,
    *,
    order: str = "<",
    cell: tuple[float, float, float] | None = None,
    axes: tuple[int, int, int] = (1, 2, 3),
    extended: bytes = b"",
    space_group: int = 1,
    imod: tuple[int, int] = (0, 0),
    limits: tuple[float, float] = (0, -1),
    origin: tuple[float, float, float] = (0, 0, 0),
    map_id: bytes = b"MAP ",
) -> bytes:
    """A file written out word by word from the MRC2014 standard; ``cell`` and ``origin`` are x, y, z."""
    nz, ny, nx = data.shape
    samples = [0, 0, 0]
    for axis, n in zip(axes, (nx, ny, nz), strict=True):
        samples[max(axis, 1) - 1] = n
    cell = cell or tuple(10.0 * n for n in samples)
    words = struct.pack(f"{order}10i", nx, ny, nz, mode, 0, 0, 0, *samples)  # words 1 to 10
    words += struct.pack(f"{order}6f", *cell, 90, 90, 90)  # 11 to 16
    words += struct.pack(f"{order}3i3f2i", *axes, *limits, 0, space_group, len(extended))  # 17 to 24
    words += bytes(56) + struct.pack(f"{order}2i", *imod) + bytes(36)  # 25 to 49; IMOD's marks at byte 152
    words += struct.pack(f"{order}3f", *origin) + map_id  # 50 to 53
    words += b"\x44\x44\0\0" if order == "<" else b"\x11\x11\0\0"  # 54
    words += bytes(1024 - len(words))
    types = TYPES | {4: "c8"}
    return words + extended + data.astype(np.dtype(types[mode]).newbyteorder(order)).tobytes()


@pytest.fixture
def put(tmp_path: Path):
    def write(content: bytes, name: str = "t.mrc") -> Path:
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        return path

    return write


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mode", TYPES)
def test_every_mode_in_both_byte_orders(put, mode: int, order: str) -> None:
    tomogram = read_tomogram(put(mrc_bytes(VOXELS, mode, order=order)))
    np.testing.assert_array_equal(tomogram.data, VOXELS)
    assert tomogram.data.dtype.kind + str(tomogram.data.dtype.itemsize) == TYPES[mode]
    assert tomogram.voxel_size_angstrom == 10
    assert tomogram.name == "t"


@pytest.mark.parametrize("name", ["a.mrc", "a.MRC", "a.rec", "a.map", "a.st", "a.mrcs", "a.mrc.gz", "a.rec.gz"])
def test_every_ending(put, name: str) -> None:
    path = put(mrc_bytes(VOXELS, 1), name)
    tomogram = read_tomogram(path)
    np.testing.assert_array_equal(tomogram.data, VOXELS)
    assert tomogram.name == "a"
    assert read_info(path).shape == (2, 3, 5)


def test_an_uncompressed_file_is_mapped_not_read(put) -> None:
    data = read_tomogram(put(mrc_bytes(VOXELS, 2))).data
    assert isinstance(data, np.memmap)
    assert not data.flags.writeable


def test_two_gigabytes_are_not_read_for_info_or_one_window(tmp_path: Path) -> None:
    path = tmp_path / "big.mrc"
    shape = (512, 1024, 1024)
    header = mrc_bytes(np.zeros((1, 1, 1)), 2)[:1024]
    edges = struct.pack("<3i", *shape[::-1])
    path.write_bytes(
        edges + header[12:28] + edges + struct.pack("<3f", *(13.48 * n for n in shape[::-1])) + header[52:]
    )
    os.truncate(path, 1024 + 4 * 512 * 1024 * 1024)  # sparse: takes no space on the disk
    tracemalloc.start()
    started = time.perf_counter()
    info = read_info(path)
    tomogram = read_tomogram(path)
    window = np.array(tomogram.data[100:132, 500:532, 500:532])
    image = tomogram.slice("z", 256)
    seconds, (_, peak) = time.perf_counter() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (info.shape, info.voxel_size_angstrom) == (shape, 13.48)
    assert not window.any()
    assert not image.any()
    assert peak < 20e6  # one slice as float32 is 4 MB; the file is 2147 MB
    assert seconds < 2


def test_bytes_are_signed_unless_imod_says_otherwise(put) -> None:
    """IMOD shows the signed byte -128 as 0: labels and masks have the values that it shows, intensities the stored."""
    high = np.full((2, 3, 5), 200)
    stamp = 1146047817
    raw = mrc_bytes(high.astype("u1").view("i1"), 0)
    assert read_volume(put(raw)).max() == 200 - 256
    for flags, stored, shown in ((0, 200, 200), (1, -56, 72), (2, 200, 200), (3, -56, 72)):
        marked = put(mrc_bytes(high.astype("u1").view("i1"), 0, imod=(stamp, flags)))
        assert (read_volume(marked).max(), read_volume(marked).dtype) == (shown, np.uint8)
        assert read_voxels(marked).max() == read_tomogram(marked).data.max() == stored
    assert isinstance(read_tomogram(marked).data, np.memmap)
    assert read_volume(put(mrc_bytes(high.astype("u1").view("i1"), 0, imod=(stamp, 0), order=">"))).max() == 200


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("limits", "value"), [((0, 200), 200), ((200, 255), 200), ((0, 127), -56), ((-56, 127), -56), ((0, -1), -56)]
)
def test_unmarked_bytes_are_unsigned_where_the_headers_range_has_no_other_meaning(
    put, limits: tuple[float, float], value: int, order: str
) -> None:
    raw = mrc_bytes(np.full((2, 3, 5), 200).astype("u1").view("i1"), 0, limits=limits, order=order)
    assert read_volume(put(raw)).max() == value
    assert read_info(put(raw)).dtype == ("uint8" if value > 0 else "int8")


def test_the_mark_counts_more_than_the_range(put) -> None:
    raw = mrc_bytes(np.full((2, 3, 5), -56), 0, imod=(1146047817, 1), limits=(0, 200))
    assert read_voxels(put(raw)).max() == -56


def hill(middle: float, deviation: float) -> np.ndarray:
    """Bytes of a tomogram, 0 to 255, with clipped ends."""
    values = np.random.default_rng(0).normal(middle, deviation, (20, 51, 60))
    values[:2] = middle
    return np.clip(values.round(), 0, 255).astype("u1")


@pytest.mark.parametrize("name", ["t.mrc", "t.mrc.gz"])
@pytest.mark.parametrize("limits", [(0, -1), (0, 0), (0, 1000)])
@pytest.mark.parametrize(("middle", "deviation"), [(128, 20), (100, 15), (140, 50)])
def test_bytes_of_unknown_sign_are_unsigned_where_their_histogram_is_cut_otherwise(
    put, caplog: pytest.LogCaptureFixture, name: str, limits: tuple[float, float], middle: float, deviation: float
) -> None:
    voxels = hill(middle, deviation)
    path = put(mrc_bytes(voxels.view("i1"), 0, limits=limits), name)
    np.testing.assert_array_equal(read_tomogram(path).data, voxels)
    assert caplog.text.count("bytes are signed; the voxels show that they are not") == 1
    assert read_info(path).dtype == np.uint8
    caplog.clear()
    signed = (voxels.astype(int) - 128).astype("i1")
    np.testing.assert_array_equal(read_tomogram(put(mrc_bytes(signed, 0, limits=limits), name)).data, signed)
    assert not caplog.text


def test_bytes_whose_sign_nothing_shows_are_signed_and_said(put, caplog: pytest.LogCaptureFixture) -> None:
    even = np.random.default_rng(0).integers(0, 256, (20, 51, 60)).astype("u1").view("i1")
    np.testing.assert_array_equal(read_tomogram(put(mrc_bytes(even, 0))).data, even)
    assert "neither the header nor the voxels tell whether bytes are signed" in caplog.text
    caplog.clear()
    labels = np.arange(60 * 51 * 20).reshape(20, 51, 60) // 2000
    read_volume(put(mrc_bytes(labels, 0)))
    assert not caplog.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (mrc_bytes(np.where(VOXELS > 9, 1, -1), 1), "no voxel of the search mask is 0, they are from -1 to 1"),
        (mrc_bytes(np.where(VOXELS > 9, 1, np.nan), 2), "NaN or infinite voxels"),
        (mrc_bytes(np.where(VOXELS > 9, np.inf, 0), 2), "NaN or infinite voxels"),
        (mrc_bytes(np.where(VOXELS > 9, 1, 0), 0, imod=(1146047817, 1)), "is 0, they are from 128 to 129"),
    ],
)
def test_a_search_mask_that_does_not_say_what_is_outside_is_refused(put, content: bytes, said: str) -> None:
    with pytest.raises(TomogramError, match=said):
        read_search_mask(put(content), VOXELS.shape)


def test_a_search_mask_of_imod_is_what_it_shows(put, caplog: pytest.LogCaptureFixture) -> None:
    inside = VOXELS > 9
    for content in (
        mrc_bytes(np.where(inside, -127, -128), 0, imod=(1146047817, 1)),
        mrc_bytes(np.where(inside, 1, 0), 0, imod=(1146047817, 0)),
        mrc_bytes(np.where(inside, 1, 0), 0),
        mrc_bytes(np.where(inside, -1, 0), 2),
    ):
        mask = read_search_mask(put(content), VOXELS.shape)
        assert mask is not None
        np.testing.assert_array_equal(mask, inside)
    assert not caplog.text
    for content in (mrc_bytes(np.ones(VOXELS.shape), 0), mrc_bytes(np.full(VOXELS.shape, 2.5), 2)):
        caplog.clear()
        read_search_mask(put(content), VOXELS.shape)
        assert "no voxel of the search mask is 0; particles are searched everywhere" in caplog.text


@pytest.mark.parametrize("missing", [1, 100])
def test_a_truncated_file_says_how_many_bytes_are_missing(put, missing: int) -> None:
    content = mrc_bytes(VOXELS, 2)
    path = put(content[:-missing])
    for read in (read_info, read_tomogram, read_volume):
        with pytest.raises(TomogramError, match=rf"truncated: {1024 + 120} bytes.*has {1024 + 120 - missing};"):
            read(path)


def test_a_truncated_content_within_a_whole_gzip_says_the_same(put) -> None:
    with pytest.raises(TomogramError, match=r"truncated: 1144 bytes expected after decompression, there are 1143"):
        read_volume(put(mrc_bytes(VOXELS, 2)[:-1], "t.mrc.gz"))


def test_a_truncated_or_false_gzip_is_an_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 1000, (6, 7, 8))
    whole = gzip.compress(mrc_bytes(noise, 1))
    for content in (whole[:-40], whole[:30], mrc_bytes(noise, 1), b""):
        path = tmp_path / "t.mrc.gz"
        path.write_bytes(content)
        with pytest.raises(TomogramError):
            read_volume(path)


@pytest.mark.parametrize("content", [b"", b"MAP ", bytes(1024), bytes(5000), b"not a tomogram\n" * 200])
def test_what_is_no_mrc_file_is_said_to_be_none(put, content: bytes) -> None:
    path = put(content)
    for read in (read_info, read_tomogram):
        with pytest.raises(TomogramError, match="not an MRC file"):
            read(path)


@given(content=st.binary(max_size=1500))
def test_no_bytes_whatever_cause_another_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "t.mrc"
    path.write_bytes(content)
    with pytest.raises(TomogramError):
        read_tomogram(path)


@given(position=st.integers(0, 220), value=st.integers(0, 255), suffix=st.sampled_from([".mrc", ".mrc.gz"]))
def test_a_changed_byte_never_causes_another_error(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, suffix: str
) -> None:
    content = bytearray(mrc_bytes(VOXELS, 1))
    content[position] = value
    path = tmp_path_factory.mktemp("byte") / f"t{suffix}"
    path.write_bytes(gzip.compress(bytes(content)) if suffix.endswith("gz") else bytes(content))
    try:
        shape = read_tomogram(path).shape
    except (TomogramError, VoxelSizeError) as error:
        shape, message = None, str(error)
        assert "\n" not in message
    assert shape is None or np.prod(shape) <= len(content)


def test_no_voxel_size_in_the_header_is_none_and_is_not_guessed(put) -> None:
    path = put(mrc_bytes(VOXELS, 2, cell=(1e-30, 0, 0)))
    with pytest.raises(VoxelSizeError):  # one edge that is not zero is no answer either
        read_tomogram(path)
    content = bytearray(mrc_bytes(VOXELS, 2))
    content[40:52] = bytes(12)
    path = put(bytes(content))
    assert read_info(path).voxel_size_angstrom is None
    assert read_tomogram(path).voxel_size_angstrom is None
    assert read_tomogram(path, voxel_size_angstrom=7.5).voxel_size_angstrom == 7.5


@pytest.mark.parametrize(
    ("z_edge", "is_cube"), [(10.0, True), (10.09, True), (9.91, True), (10.2, False), (9.8, False)]
)
def test_voxels_that_are_no_cubes_are_an_error_unless_the_size_is_given(put, z_edge: float, is_cube: bool) -> None:
    path = put(mrc_bytes(VOXELS, 2, cell=(50, 30, 2 * z_edge)))
    np.testing.assert_allclose(read_info(path).spacing_angstrom, (z_edge, 10, 10), rtol=1e-6)
    if is_cube:
        assert read_tomogram(path).voxel_size_angstrom == 10
    else:
        with pytest.raises(VoxelSizeError, match=rf"{z_edge:g} x 10 x 10 angstrom along z, y, x.*--voxel-size"):
            read_tomogram(path)
    assert read_tomogram(path, voxel_size_angstrom=11.0).voxel_size_angstrom == 11
    assert read_volume(path).shape == (2, 3, 5)  # labels need no voxel size


def test_a_nonsensical_size_given_by_the_user_is_refused(put) -> None:
    with pytest.raises(VoxelSizeError, match="must be positive"):
        read_tomogram(put(mrc_bytes(VOXELS, 2)), voxel_size_angstrom=-1.0)


def test_an_image_is_no_tomogram(put) -> None:
    path = put(mrc_bytes(VOXELS[:1], 2))
    with pytest.raises(TomogramError, match="2D image, 1 x 3 x 5"):
        read_tomogram(path)


@pytest.mark.parametrize(("mode", "said"), [(4, "Fourier"), (3, "complex integers"), (101, "4-bit")])
def test_modes_that_are_no_real_numbers_are_refused_by_name(put, mode: int, said: str) -> None:
    content = bytearray(mrc_bytes(VOXELS, 2))
    content[12:16] = struct.pack("<i", mode)
    with pytest.raises(TomogramError, match=rf"mode {mode} holds.*{said}"):
        read_tomogram(put(bytes(content)))


def test_a_stack_of_volumes_is_refused(put) -> None:
    with pytest.raises(TomogramError, match="stack of volumes"):
        read_tomogram(put(mrc_bytes(VOXELS, 2, space_group=401)))


def test_a_stack_of_sections_is_a_tomogram(put) -> None:
    np.testing.assert_array_equal(read_tomogram(put(mrc_bytes(VOXELS, 2, space_group=0))).data, VOXELS)


def test_an_extended_header_is_stepped_over(put) -> None:
    for name in ("t.mrc", "t.mrc.gz"):
        path = put(mrc_bytes(VOXELS, 2, extended=b"\xff" * 768), name)
        np.testing.assert_array_equal(read_tomogram(path).data, VOXELS)


def test_old_files_without_the_map_mark_are_read(put) -> None:
    np.testing.assert_array_equal(read_tomogram(put(mrc_bytes(VOXELS, 1, map_id=bytes(4)))).data, VOXELS)


@pytest.mark.parametrize("axes", [(1, 2, 3), (2, 1, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2), (1, 3, 2)])
def test_the_headers_axis_order_is_turned_back(put, axes: tuple[int, int, int]) -> None:
    """Axes are columns, rows, sections; the file is stored so that the answer is always VOXELS."""
    letters = [3 - a for a in axes[::-1]]  # of sections, rows, columns: 0, 1, 2 for z, y, x
    cell = (50.0, 30.3, 20.1)  # x, y, z: nearly but not quite 10 A each
    path = put(mrc_bytes(np.transpose(VOXELS, letters), 2, axes=axes, cell=cell))
    np.testing.assert_array_equal(read_tomogram(path).data, VOXELS)
    info = read_info(path)
    assert info.shape == (2, 3, 5)
    np.testing.assert_allclose(info.spacing_angstrom, (10.05, 10.1, 10.0), rtol=1e-6)


def test_an_axis_order_that_is_none_is_refused_and_none_at_all_is_the_usual(put) -> None:
    with pytest.raises(TomogramError, match="mapc, mapr, maps = \\[1, 1, 3\\]"):
        read_tomogram(put(mrc_bytes(VOXELS, 2, axes=(1, 1, 3))))
    content = bytearray(mrc_bytes(VOXELS, 2))
    content[64:76] = bytes(12)
    np.testing.assert_array_equal(read_tomogram(put(bytes(content))).data, VOXELS)


def test_the_headers_range_and_origin_are_facts_only(put) -> None:
    known = read_info(put(mrc_bytes(VOXELS, 2, limits=(-3, 29), origin=(1, 2, 3))))
    assert (known.minimum, known.maximum, known.origin_angstrom) == (-3, 29, (3, 2, 1))
    for limits in ((0, -1), (0, 0), (float("nan"), 1)):
        info = read_info(put(mrc_bytes(VOXELS, 2, limits=limits)))
        assert (info.minimum, info.maximum) == (None, None)


@pytest.mark.parametrize(
    ("low", "high", "stored"),
    [(0, 127, "int8"), (-128, 5, "int8"), (0, 128, "uint16"), (0, 65535, "uint16"), (-1, 128, "int16")],
)
@pytest.mark.parametrize("given_as", ["int32", "int64"])
def test_labels_get_the_smallest_type(tmp_path: Path, low: int, high: int, stored: str, given_as: str) -> None:
    path, labels = tmp_path / "l.mrc", np.array([[[low, high, 0]]], dtype=given_as)
    write_volume(path, labels, 10.0)
    again = read_volume(path)
    assert again.dtype == stored
    np.testing.assert_array_equal(again, labels)


def test_unsigned_bytes_do_not_become_negative(tmp_path: Path) -> None:
    """MRC has no unsigned byte, and mrcfile stores them in two: a mask of bytes would take twice the space."""
    path = tmp_path / "l.mrc"
    write_volume(path, np.array([[[0, 1, 255]]], dtype=np.uint8), None)
    assert read_volume(path).tolist() == [[[0, 1, 255]]]
    write_volume(path, np.array([[[False, True]]]), None)
    assert (read_volume(path).dtype, read_volume(path).tolist()) == (np.int8, [[[0, 1]]])


def test_large_labels_are_stored_exactly_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "l.mrc"
    write_volume(path, np.array([[[0, 2**24]]]), None)
    assert read_volume(path).tolist() == [[[0, 2**24]]]
    with pytest.raises(ValueError, match="do not fit"):
        write_volume(tmp_path / "m.mrc", np.array([[[0, 2**24 + 1]]]), None)
    assert [p.name for p in tmp_path.iterdir()] == ["l.mrc"]


@given(
    data=hnp.arrays(
        st.sampled_from(["int8", "uint8", "int16", "uint16", "float16", "float32", "bool"]),
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=4),
    ),
    size=st.none() | st.floats(0.5, 100).map(lambda v: float(f"{v:.5g}")),
    suffix=st.sampled_from([".mrc", ".mrc.gz"]),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, data: np.ndarray, size: float | None, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("mrc") / f"t{suffix}"
    write_mrc(path, data, size)
    np.testing.assert_array_equal(read_mrc(path), data)
    assert read_mrc_info(path).voxel_size_angstrom == size


def test_what_is_written_agrees_with_mrcfile(tmp_path: Path) -> None:
    path = tmp_path / "t.mrc"
    write_mrc(path, VOXELS.astype(np.float32), 13.48, origin_angstrom=(3.0, 2.0, 1.0))
    assert mrcfile.validate(path)
    with mrcfile.open(path) as mrc:
        np.testing.assert_array_equal(mrc.data, VOXELS)
        assert mrc.is_volume()
        assert mrc.voxel_size.tolist() == pytest.approx((13.48, 13.48, 13.48))
        assert mrc.header.origin.tolist() == (1, 2, 3)
        assert (mrc.header.dmin, mrc.header.dmax) == (0, 29)
    assert read_info(path).origin_angstrom == (3, 2, 1)


@pytest.mark.parametrize("labels", [(), (3, 1), (127, 128), (300, 65535, 2), (7, 65536)])
def test_labels_are_the_file_that_a_whole_volume_gives(tmp_path: Path, labels: tuple[int, ...]) -> None:
    """Masks overlap, and one touches the end of the volume."""
    random = np.random.default_rng(0)
    parts = [(label, InstanceMask((i, 2 * i, 3 * i), random.random((3, 4, 5)) < 0.6)) for i, label in enumerate(labels)]
    volume = np.zeros((5, 8, 11), dtype=np.uint32)
    for label, mask in parts:
        volume[mask.box][mask.data] = label
    write_mrc(tmp_path / "whole.mrc", volume, 13.48, (3.0, 2.0, 1.0))
    write_mrc_labels(tmp_path / "parts.mrc", (5, 8, 11), parts, 13.48, (3.0, 2.0, 1.0))
    assert mrcfile.validate(tmp_path / "parts.mrc")
    with mrcfile.open(tmp_path / "whole.mrc") as whole, mrcfile.open(tmp_path / "parts.mrc") as painted:
        np.testing.assert_array_equal(painted.data, whole.data)
        assert painted.data.dtype == whole.data.dtype
        for name in set(whole.header.dtype.names) - {"label", "dmean", "rms"}:
            assert painted.header[name].tolist() == whole.header[name].tolist(), name
        for name in ("dmean", "rms"):
            assert float(painted.header[name]) == pytest.approx(float(whole.header[name]), rel=1e-5)


def test_labels_do_not_begin_where_there_is_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OutputError, match=r"cannot write .*t\.mrc: No space left on device"):
        write_mrc_labels(tmp_path / "t.mrc", (3, 4, 5), [], 10.0)
    assert not list(tmp_path.iterdir())


def test_scores_with_nan_are_written_without_a_warning(tmp_path: Path) -> None:
    data = np.array([[[0.5, np.nan]]], dtype=np.float32)
    write_volume(tmp_path / "t.mrc", data, 10.0)
    np.testing.assert_array_equal(read_volume(tmp_path / "t.mrc"), data)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mrcfile.mrcfile.MrcFile, "set_data", full)
    with pytest.raises(OutputError, match=r"cannot write .*t\.mrc: No space left on device"):
        write_volume(tmp_path / "t.mrc", VOXELS.astype(np.float32), 10.0)
    assert not list(tmp_path.iterdir())


def test_the_development_tomogram(shared_data: Path) -> None:
    tomogram = read_tomogram(shared_data / "tomo_dev" / "tomo.mrc")
    assert (tomogram.shape, tomogram.voxel_size_angstrom) == ((112, 352, 352), 10)
    assert isinstance(tomogram.data, np.memmap)
    labels = read_volume(shared_data / "tomo_dev" / "labels.mrc.gz")
    assert labels.shape == tomogram.shape
    assert {1, 2, 3, 4, 5, 6, 98, 99} <= set(np.unique(labels).tolist())
