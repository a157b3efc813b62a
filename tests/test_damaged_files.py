"""A damaged file is read right, or refused in one line: never a traceback, and never another coordinate.

``make fuzz`` runs these tests with many more examples.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from cryosam.errors import CryosamError
from cryosam.io import PointTable, TomogramPoints, read_points
from cryosam.io.copick import write_copick
from cryosam.io.csv_points import write_csv
from cryosam.io.dynamo import write_dynamo
from cryosam.io.em import write_em
from cryosam.io.imod import write_imod
from cryosam.io.ndjson import write_ndjson
from cryosam.io.star_output import write_star
from damage import Damage, bytes_damage, json_damage, text_damage

SHAPE, SIZE = (64, 72, 80), 10.0
POINTS = np.array([[10.25, 20.5, 30.75], [33.5, 41.25, 12.125], [5.75, 61.5, 22.25], [44.125, 8.5, 57.25]])
SCORES = np.array([0.9375, 0.8125, 0.6875, 0.5625])
TOLERANCE = 1e-3


def part(*, is_scored: bool = True) -> TomogramPoints:
    table = PointTable(POINTS, SCORES if is_scored else None, ("ring", "ring", "ball", "ring"))
    return TomogramPoints(table=table, name="TS_01", shape=SHAPE, voxel_size_angstrom=SIZE)


def one_kind() -> TomogramPoints:
    return TomogramPoints(table=PointTable(POINTS), name="TS_01", shape=SHAPE, voxel_size_angstrom=SIZE)


def optics_first(path: Path) -> None:
    """A file of RELION 4 with its blocks in RELION's order."""
    write_star(path, [part()], program="relion4", tilt_series_pixel_size_angstrom=2.5)
    _, particles, optics = path.read_text().split("\ndata_")
    path.write_text(f"\ndata_{optics}\ndata_{particles}")


WRITERS: dict[str, Callable[[Path], None]] = {
    "relion5.star": lambda path: write_star(path, [part()], program="relion5"),
    "relion4.star": lambda path: write_star(path, [part()], program="relion4", tilt_series_pixel_size_angstrom=2.5),
    "optics-first.star": optics_first,
    "warp.star": lambda path: write_star(path, [part()], program="warp"),
    "points.csv": lambda path: write_csv(path, part().table),
    "unscored.csv": lambda path: write_csv(path, PointTable(POINTS, SCORES)),
    "points.tbl": lambda path: write_dynamo(path, [part()]),
    "points.ndjson": lambda path: write_ndjson(path, one_kind()),
    "points.em": lambda path: write_em(path, [part()]),
    "points.mod": lambda path: write_imod(path, part()),
}
TEXTS = [name for name in WRITERS if not name.endswith((".em", ".mod"))]


@cache
def content_of(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        if name == "picks.json":
            write_copick(Path(folder), [one_kind()])
            return next(Path(folder).rglob("cryosam_0_particle.json")).read_bytes()
        WRITERS[name](Path(folder, name))
        return Path(folder, name).read_bytes()


def read(name: str, content: bytes) -> PointTable | str:
    """Read a file; its points, or why it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        try:
            return read_points(path, shape=SHAPE, voxel_size_angstrom=SIZE, tomogram_name="TS_01")
        except CryosamError as error:
            return str(error)


def check(name: str, content: bytes) -> None:
    """Read a damaged file: all its points are those of the whole file, or it is refused in one line."""
    table = read(name, content)
    if isinstance(table, str):
        assert name in table
        assert "\n" not in table
        return
    distances = np.abs(table.points[:, None] - POINTS).max(axis=2)
    assert (distances.min(axis=1, initial=np.inf) < TOLERANCE).all(), table.points
    if table.scores is not None:
        np.testing.assert_allclose(table.scores, SCORES[distances.argmin(axis=1)], atol=TOLERANCE)


def apply(damages: Sequence[Damage], text: str, how: Callable[[Damage, str], str]) -> bytes:
    for damage in damages:
        text = how(damage, text)
    return text.encode()


@pytest.mark.parametrize("name", [*WRITERS, "picks.json"])
def test_the_whole_file_has_all_points(name: str) -> None:
    check(name, content_of(name))
    assert len(read(name, content_of(name))) == len(POINTS)


@pytest.mark.parametrize("name", TEXTS)
@given(damages=text_damage())
def test_damaged_text(name: str, damages: list[Damage]) -> None:
    check(name, apply(damages, content_of(name).decode(), Damage.to_text))


@given(damages=json_damage())
def test_damaged_picks_of_copick(damages: list[Damage]) -> None:
    check("picks.json", apply(damages, content_of("picks.json").decode(), Damage.to_json))


@given(damages=json_damage())
def test_damaged_lines_of_json(damages: list[Damage]) -> None:
    first, *others = content_of("points.ndjson").decode().splitlines()
    line = apply(damages, first, Damage.to_json).decode()
    check("points.ndjson", "\n".join([line, *others]).encode())


@given(damage=bytes_damage())
def test_damaged_motive_list(damage: Damage) -> None:
    check("points.em", damage.to_bytes(content_of("points.em")))


@given(damage=bytes_damage("shorten", "append"))
def test_damaged_model(damage: Damage) -> None:
    check("points.mod", damage.to_bytes(content_of("points.mod")))


@pytest.mark.parametrize(("kind", "n_bytes"), [("double", 18), ("double", 32), ("drop", 26)])
def test_a_model_whose_bytes_moved(kind: str, n_bytes: int) -> None:
    """Then the names of chunks, or the numbers of objects and contours, do not fit."""
    content = content_of("points.mod")
    for place in range(0, len(content), 3):
        check("points.mod", Damage(kind, place, n_bytes - 1).to_bytes(content))


@pytest.mark.parametrize("machine", [0, 2, 3, 5, 6])
def test_a_motive_list_in_either_byte_order(machine: int) -> None:
    """The first byte says which: 6 is little, the others are big endian."""
    content = content_of("points.em")
    header, rows = content[4:16], content[512:]
    for is_header_turned in (False, True):
        for are_rows_turned in (False, True):
            words = np.frombuffer(header, "<i4").astype(">i4" if is_header_turned else "<i4").tobytes()
            values = np.frombuffer(rows, "<f4").astype(">f4" if are_rows_turned else "<f4").tobytes()
            turned = bytes([machine]) + content[1:4] + words + content[16:512] + values
            check("points.em", turned)
            is_right = is_header_turned == are_rows_turned == (machine != 6)
            assert isinstance(read("points.em", turned), PointTable) == is_right


def without_optics(text: str) -> str:
    return text.split("data_optics")[0]


FOUND = {  # faults that these tests have found, each with what is said now
    "a Dynamo row with fewer columns": (
        "points.tbl",
        lambda text: text.splitlines(keepends=True)[0] + " ".join(text.split()[42:69]),
        "27 columns",
    ),
    "an empty cell at the end of a CSV row": (
        "unscored.csv",
        lambda text: text.replace("\n10.250,20.500,30.750,", "\n10,250,20.500,30.750,", 1),
        "line 2: 6 values for 5 columns",
    ),
    "no optics block": ("relion4.star", without_optics, "an optics block, which is missing or empty"),
    "optics groups that are not those of the particles": (
        "relion4.star",
        lambda text: text.replace("_rlnTomoTiltSeriesPixelSize #3\n_rlnImagePixelSize #4\n1\t", "_one _two #"),
        "optics group 1 of the particles is not in the optics block",
    ),
    "an optics block that is the particles": (
        "relion4.star",
        lambda text: without_optics(text).replace("data_particles", "data_optics"),
        "optics group 1 is there twice",
    ),
    "a truth value for a coordinate": (
        "picks.json",
        lambda text: text.replace("307.5", "true"),
        "True is not a number",
    ),
    "a truth value in a matrix": (
        "picks.json",
        lambda text: text.replace("1.0,", "true,", 1),
        "True is not a number",
    ),
}


@pytest.mark.parametrize("fault", FOUND)
def test_faults_that_were_found(fault: str) -> None:
    name, change, said = FOUND[fault]
    text = content_of(name).decode()
    assert change(text) != text
    assert said in str(read(name, change(text).encode()))


def test_a_motive_list_that_is_too_long_or_of_other_columns_is_refused() -> None:
    content = content_of("points.em")
    assert "more than the 80 numbers of its header" in str(read("points.em", content + bytes(4)))
    rows = np.frombuffer(content[512:], "<f4").reshape(-1, 20).copy()
    rows[1, 4] = 1.5
    found = str(read("points.em", content[:512] + rows.tobytes()))
    assert "particle 2: the number of its tomogram is 1.5" in found
