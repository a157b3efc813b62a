import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cryosam.errors import InputNotFoundError, OutputError, TomogramError, VoxelSizeError
from cryosam.io import read_info, read_tomogram, read_volume, write_volume
from cryosam.io.ome_zarr import read_ome_zarr, read_ome_zarr_info, write_ome_zarr

VOXELS = np.arange(3 * 5 * 4, dtype=np.int16).reshape(3, 5, 4)


def by_hand(
    path: Path,
    data: np.ndarray = VOXELS,
    *,
    version: str = "0.4",
    axes: str = "zyx",
    unit: str | None = "nanometer",
    scale: list[float] | None = None,
    image_scale: list[float] | None = None,
    level: str = "0",
) -> Path:
    """An image as the specification spells it out: the files' text by hand, the voxels as one raw chunk."""
    kinds = {"t": {"name": "t", "type": "time"}, "c": {"name": "c", "type": "channel"}}
    space = {"type": "space"} | ({"unit": unit} if unit else {})
    multiscale: dict[str, Any] = {
        "axes": [kinds.get(a) or {"name": a, **space} for a in axes],
        "datasets": [
            {"path": level, "coordinateTransformations": [{"type": "scale", "scale": scale or [1.0] * len(axes)}]}
        ],
    }
    if image_scale:
        multiscale["coordinateTransformations"] = [{"type": "scale", "scale": image_scale}]
    (path / level).mkdir(parents=True)
    little = data.astype(data.dtype.newbyteorder("<"))
    shape = list(data.shape)
    if version == "0.4":
        (path / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
        (path / ".zattrs").write_text(json.dumps({"multiscales": [{"version": "0.4", **multiscale}]}))
        array: dict[str, Any] = {"zarr_format": 2, "shape": shape, "chunks": shape, "dtype": little.dtype.str}
        array |= {"compressor": None, "fill_value": 0, "order": "C", "filters": None, "dimension_separator": "/"}
        (path / level / ".zarray").write_text(json.dumps(array))
        chunk = path / level / "/".join("0" * data.ndim)
    else:
        ome = {"ome": {"version": "0.5", "multiscales": [multiscale]}}
        (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": ome}))
        array = {"zarr_format": 3, "node_type": "array", "shape": shape, "data_type": data.dtype.name, "fill_value": 0}
        array["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": shape}}
        array["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "/"}}
        array["codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]
        array["attributes"] = {}
        array["dimension_names"] = list(axes)
        (path / level / "zarr.json").write_text(json.dumps(array))
        chunk = path / level / "c" / "/".join("0" * data.ndim)
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(little.tobytes())
    return path


VERSIONS = pytest.mark.parametrize("version", ["0.4", "0.5"])


@VERSIONS
def test_an_image_by_the_book(tmp_path: Path, version: str) -> None:
    path = by_hand(tmp_path / "t.ome.zarr", version=version, scale=[1.348] * 3)
    tomogram = read_tomogram(path)
    np.testing.assert_array_equal(tomogram.data, VOXELS)
    assert (tomogram.voxel_size_angstrom, tomogram.name) == (13.48, "t")
    info = read_info(path)
    assert (info.format, info.shape, info.dtype) == (f"OME-Zarr {version}", (3, 5, 4), np.int16)


@VERSIONS
@pytest.mark.parametrize(("unit", "size"), [("angstrom", 2.5), ("nanometer", 25), ("micrometer", 25000), (None, None)])
def test_units(tmp_path: Path, version: str, unit: str | None, size: float | None) -> None:
    path = by_hand(tmp_path / "t.zarr", version=version, unit=unit, scale=[2.5] * 3)
    assert read_tomogram(path).voxel_size_angstrom == size


@VERSIONS
def test_axes_may_stand_in_any_order_and_single_ones_are_dropped(tmp_path: Path, version: str) -> None:
    for i, (axes, order) in enumerate({"xyz": (2, 1, 0), "yzx": (1, 0, 2), "zxy": (0, 2, 1)}.items()):
        path = by_hand(tmp_path / f"{i}.zarr", np.transpose(VOXELS, order), version=version, axes=axes)
        np.testing.assert_array_equal(read_tomogram(path).data, VOXELS)
        assert read_info(path).shape == VOXELS.shape
    for axes in ("czyx", "tczyx"):
        data = VOXELS.reshape((1,) * (len(axes) - 3) + VOXELS.shape)
        path = by_hand(tmp_path / f"{axes}.zarr", data, version=version, axes=axes, scale=[9.0] * len(axes))
        np.testing.assert_array_equal(read_tomogram(path).data, VOXELS)
        assert read_tomogram(path).voxel_size_angstrom == 90


def test_the_scale_follows_the_axes(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "t.zarr", axes="xyz", data=np.transpose(VOXELS), scale=[1.0, 2.0, 3.0])
    np.testing.assert_allclose(read_info(path).spacing_angstrom, (30, 20, 10))
    with pytest.raises(VoxelSizeError, match="30 x 20 x 10"):
        read_tomogram(path)


def test_the_images_scale_comes_on_top_of_the_levels(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "t.zarr", scale=[2.0] * 3, image_scale=[0.5] * 3)
    assert read_tomogram(path).voxel_size_angstrom == 10


SCALE = {"type": "scale", "scale": [10.0] * 3}
TRANSLATION = {"type": "translation", "translation": [5.0] * 3}
ROWS = [[10.0, 0.0, 0.0, 7.0], [0.0, 10.0, 0.0, 8.0], [0.0, 0.0, 10.0, 9.0]]
TURNED = [[0.0, 10.0, 0.0, 0.0], [10.0, 0.0, 0.0, 0.0], [0.0, 0.0, 10.0, 0.0]]


@VERSIONS
@pytest.mark.parametrize(
    ("transformations", "size"),
    [
        (None, None),
        ([], None),
        ([{"type": "identity"}], None),
        ([TRANSLATION], None),
        ([SCALE, {"type": "identity"}, TRANSLATION], 10),
        ([{"type": "sequence", "transformations": [SCALE, TRANSLATION]}], 10),
        ([{"type": "sequence", "transformations": [TRANSLATION, {"type": "identity"}]}], None),
        ([{"type": "sequence", "transformations": [{"type": "sequence", "transformations": [SCALE]}, SCALE]}], 100),
        ([SCALE, SCALE], None),
        ([{"type": "affine", "affine": ROWS}], 10),
        ([{"type": "affine", "affine": [*ROWS, [0.0, 0.0, 0.0, 1.0]]}], 10),
        ([{"type": "affine", "affine": [number for row in ROWS for number in row]}], 10),
        ([{"type": "affine", "affine": TURNED}], None),
        ([{"type": "rotation", "rotation": [[0, 1, 0], [1, 0, 0], [0, 0, 1]]}, SCALE], None),
        ([{"type": "sequence", "transformations": [{"type": "mapAxis", "mapAxis": [1, 0, 2]}, SCALE]}], None),
    ],
)
def test_the_voxel_size_is_unknown_unless_a_scale_is_there(
    tmp_path: Path, version: str, transformations: list[Any] | None, size: float | None
) -> None:
    path = by_hand(tmp_path / "t.zarr", version=version, unit="angstrom")
    with_transformations(path, version, transformations)
    assert read_tomogram(path).voxel_size_angstrom == size
    assert read_tomogram(path, 7.0).voxel_size_angstrom == 7


@pytest.mark.parametrize(
    "transformation",
    [
        7,
        "scale",
        {"type": "scale"},
        {"type": "scale", "scale": [10.0, 10.0]},
        {"type": "scale", "scale": [10.0, "wide", 10.0]},
        {"type": "scale", "scale": [[10.0, 10.0, 10.0]]},
        {"type": "affine", "affine": [[10.0, 0.0], [0.0, 10.0]]},
        {"type": "sequence", "transformations": [{"type": "scale", "scale": None}]},
    ],
)
def test_broken_transformations_are_one_clear_line(tmp_path: Path, transformation: object) -> None:
    path = by_hand(tmp_path / "t.zarr", unit="angstrom")
    with_transformations(path, "0.4", [transformation])
    with pytest.raises(TomogramError, match=r"t\.zarr: (a scale|an affine|broken OME-Zarr metadata)"):
        read_tomogram(path)


def with_transformations(path: Path, version: str, transformations: list[Any] | None) -> None:
    """Replace the transformations of the level, or leave them out."""
    file = path / (".zattrs" if version == "0.4" else "zarr.json")
    attributes = json.loads(file.read_text())
    described = attributes if version == "0.4" else attributes["attributes"]["ome"]
    dataset = described["multiscales"][0]["datasets"][0]
    dataset["coordinateTransformations"] = transformations
    if transformations is None:
        del dataset["coordinateTransformations"]
    file.write_text(json.dumps(attributes))


@VERSIONS
def test_a_path_may_name_a_level(tmp_path: Path, version: str) -> None:
    path = by_hand(tmp_path / "t.zarr", version=version, scale=[1.0] * 3)
    small = by_hand(tmp_path / "small.zarr", VOXELS[:2, :3, :2], version=version, level="s1")
    (small / "s1").rename(path / "s1")
    metadata = path / (".zattrs" if version == "0.4" else "zarr.json")
    described = json.loads(metadata.read_text())
    image = (described if version == "0.4" else described["attributes"]["ome"])["multiscales"][0]
    image["datasets"].append(
        {"path": "s1", "coordinateTransformations": [{"type": "scale", "scale": [2.0] * 3}, {"type": "translation"}]}
    )
    metadata.write_text(json.dumps(described))
    for level, shape, size in (("", (3, 5, 4), 10), ("0", (3, 5, 4), 10), ("s1", (2, 3, 2), 20)):
        tomogram = read_tomogram(path / level)
        assert (tomogram.shape, tomogram.voxel_size_angstrom, tomogram.name) == (shape, size, "t")


def test_a_level_may_lie_one_folder_deeper(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "t.zarr", level="scale0/image", version="0.4")
    assert read_tomogram(path).voxel_size_angstrom == 10
    assert read_tomogram(path / "scale0" / "image").voxel_size_angstrom == 10


def test_a_bare_array_has_no_voxel_size(tmp_path: Path) -> None:
    zarr.save_array(tmp_path / "t.zarr", VOXELS)
    np.testing.assert_array_equal(read_tomogram(tmp_path / "t.zarr").data, VOXELS)
    assert read_info(tmp_path / "t.zarr").voxel_size_angstrom is None


def test_more_than_one_volume_is_refused(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "t.zarr", np.zeros((2, 3, 5, 4), np.int16), axes="czyx")
    with pytest.raises(TomogramError, match=r"several volumes, along c \(2\)"):
        read_tomogram(path)


def test_an_image_is_no_tomogram(tmp_path: Path) -> None:
    with pytest.raises(TomogramError, match="axes z, y, x; this has y, x"):
        read_tomogram(by_hand(tmp_path / "t.zarr", VOXELS[0], axes="yx"))
    with pytest.raises(TomogramError, match="2D image"):
        read_tomogram(by_hand(tmp_path / "u.zarr", VOXELS[:1]))


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    zarr.save_array(tmp_path / "t.zarr", VOXELS.astype(np.complex64))
    with pytest.raises(TomogramError, match="real numbers"):
        read_tomogram(tmp_path / "t.zarr")


def broken(path: Path, change: str) -> Path:
    by_hand(path)
    attributes = json.loads((path / ".zattrs").read_text())
    image = attributes["multiscales"][0]
    match change:
        case "no image":
            attributes = {}
        case "no axes":
            del image["axes"]
        case "no datasets":
            image["datasets"] = []
        case "too few axes":
            image["axes"].pop()
        case "short scale":
            image["datasets"][0]["coordinateTransformations"][0]["scale"].pop()
        case "wrong level":
            image["datasets"][0]["path"] = "7"
        case "nonsense":
            attributes = {"multiscales": [7]}
    (path / ".zattrs").write_text(json.dumps(attributes))
    if change == "no JSON":
        (path / "0" / ".zarray").write_text("{")
    if change == "short chunk":
        (path / "0" / "0" / "0" / "0").write_bytes(b"\0" * 7)
    return path


@pytest.mark.parametrize(
    "change",
    [
        "no image",
        "no axes",
        "no datasets",
        "too few axes",
        "short scale",
        "wrong level",
        "nonsense",
        "no JSON",
        "short chunk",
    ],
)
def test_broken_metadata_are_one_clear_line(tmp_path: Path, change: str) -> None:
    with pytest.raises(TomogramError, match=r"t\.zarr") as caught:
        read_tomogram(broken(tmp_path / "t.zarr", change))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_zarr_and_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "t.zarr").mkdir()
    with pytest.raises(TomogramError, match="neither a Zarr array nor a group"):
        read_tomogram(tmp_path / "t.zarr")
    with pytest.raises(InputNotFoundError):
        read_tomogram(tmp_path / "absent.zarr")


def test_information_does_not_need_the_voxels(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "t.zarr")
    (path / "0" / "0" / "0" / "0").write_bytes(b"damaged")
    assert read_info(path).shape == (3, 5, 4)


def test_what_is_written_is_what_version_0_4_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "t.ome.zarr"
    write_volume(path, VOXELS, 13.48)
    assert json.loads((path / ".zgroup").read_text()) == {"zarr_format": 2}
    assert json.loads((path / ".zattrs").read_text()) == {
        "multiscales": [
            {
                "version": "0.4",
                "name": "t",
                "axes": [
                    {"name": "z", "type": "space", "unit": "angstrom"},
                    {"name": "y", "type": "space", "unit": "angstrom"},
                    {"name": "x", "type": "space", "unit": "angstrom"},
                ],
                "datasets": [
                    {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [13.48, 13.48, 13.48]}]}
                ],
            }
        ]
    }
    array = json.loads((path / "0" / ".zarray").read_text())
    assert (array["zarr_format"], array["shape"], array["dtype"]) == (2, [3, 5, 4], "|u1")
    assert array["dimension_separator"] == "/"
    assert (path / "0" / "0" / "0" / "0").is_file()


def test_what_is_written_is_what_version_0_5_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "t.zarr"
    write_ome_zarr(path, VOXELS, None, version="0.5")
    group = json.loads((path / "zarr.json").read_text())
    assert (group["zarr_format"], group["node_type"]) == (3, "group")
    assert group["attributes"] == {
        "ome": {
            "version": "0.5",
            "multiscales": [
                {
                    "name": "t",
                    "axes": [
                        {"name": "z", "type": "space"},
                        {"name": "y", "type": "space"},
                        {"name": "x", "type": "space"},
                    ],
                    "datasets": [
                        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]}
                    ],
                }
            ],
        }
    }
    array = json.loads((path / "0" / "zarr.json").read_text())
    assert (array["zarr_format"], array["node_type"], array["shape"]) == (3, "array", [3, 5, 4])
    assert array["dimension_names"] == ["z", "y", "x"]
    assert array["data_type"] == "uint8"
    assert read_info(path).voxel_size_angstrom is None


@settings(max_examples=40)
@given(
    data=hnp.arrays(
        st.sampled_from(
            ["int8", "uint8", "int16", "uint16", "int64", "uint64", "float16", "float32", "float64", "bool"]
        ),
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=4),
    ),
    size=st.none() | st.floats(0.5, 100).map(lambda v: float(f"{v:.5g}")),
    version=st.sampled_from(["0.4", "0.5"]),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, data: np.ndarray, size: float | None, version: str
) -> None:
    path = tmp_path_factory.mktemp("zarr") / "t.zarr"
    write_ome_zarr(path, data, size, version=version)
    again = read_ome_zarr(path)
    np.testing.assert_array_equal(again, data)
    assert again.dtype == data.dtype if data.dtype.kind == "f" else again.dtype.itemsize <= data.dtype.itemsize
    assert read_ome_zarr_info(path).voxel_size_angstrom == size


@pytest.mark.parametrize(
    ("low", "high", "stored"),
    [(0, 255, "uint8"), (-1, 127, "int8"), (0, 256, "uint16"), (-1, 128, "int16"), (0, 65536, "uint32")],
)
def test_labels_get_the_smallest_type(tmp_path: Path, low: int, high: int, stored: str) -> None:
    write_volume(tmp_path / "l.zarr", np.array([[[low, high, 0]]]), 10.0)
    again = read_volume(tmp_path / "l.zarr")
    assert again.dtype == stored
    assert again.tolist() == [[[low, high, 0]]]


@VERSIONS
def test_volumes_of_several_chunks(tmp_path: Path, version: str) -> None:
    data = np.random.default_rng(0).integers(0, 9, (70, 5, 130)).astype(np.uint8)
    write_ome_zarr(tmp_path / "t.zarr", data, 10.0, version=version)
    np.testing.assert_array_equal(read_volume(tmp_path / "t.zarr"), data)


def test_a_volume_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "t.zarr", VOXELS, 10.0, version="0.5")
    write_ome_zarr(tmp_path / "t.zarr", VOXELS[:2], 20.0, version="0.4")
    assert read_tomogram(tmp_path / "t.zarr").shape == (2, 5, 4)
    assert not (tmp_path / "t.zarr" / "zarr.json").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Group, "create_array", full)
    with pytest.raises(OutputError, match=r"cannot write .*t\.zarr: No space left"):
        write_volume(tmp_path / "t.zarr", VOXELS, 10.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_specifications_own_models_accept_what_we_write(tmp_path: Path, version: Literal["0.4", "0.5"]) -> None:
    reason = "ome-zarr-models is not installed: it holds pydantic back, so it is no dependency of the tests"
    pytest.importorskip("ome_zarr_models", reason=reason)
    from ome_zarr_models.v04 import Image as Image04
    from ome_zarr_models.v05 import Image as Image05

    write_ome_zarr(tmp_path / "t.zarr", VOXELS, 13.48, version)
    group = zarr.open_group(tmp_path / "t.zarr", mode="r")
    image = (Image04 if version == "0.4" else Image05).from_zarr(group)
    attributes = image.attributes if version == "0.4" else image.attributes.ome
    multiscale = attributes.multiscales[0]
    assert [(axis.name, axis.unit) for axis in multiscale.axes] == [(name, "angstrom") for name in "zyx"]
    assert multiscale.datasets[0].coordinateTransformations[0].scale == [13.48] * 3
