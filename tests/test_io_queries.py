"""Files of queries: what is written is read, and damage is told."""

import numpy as np
import pytest

from cryosam.errors import InputNotFoundError, PromptError, QueryError
from cryosam.io.queries import read_queries, write_queries
from stand_ins import query


def test_what_is_written_is_read(tmp_path) -> None:
    both = query(), query("thermosome", token_voxels=0.0, contrast="bright")
    write_queries(tmp_path / "both.npz", both)
    again = read_queries(tmp_path / "both.npz")
    assert [each.digest() for each in again] == [each.digest() for each in both]
    assert [(each.name, each.n_particles, each.source) for each in again] == [
        ("ribosome", 14, "TS_01"),
        ("thermosome", 14, "TS_01"),
    ]
    np.testing.assert_array_equal(again[1].average.data, both[1].average.data)
    assert again[1].average.step == 8.75
    np.testing.assert_array_equal(again[0].known_members.is_kind, [True, False])


def test_a_file_holds_no_pickle(tmp_path) -> None:
    write_queries(tmp_path / "q.npz", [query()])
    with np.load(tmp_path / "q.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype.kind in "ufb" for name in arrays.files)


def test_a_pickle_in_a_file_is_not_opened(tmp_path) -> None:
    write_queries(tmp_path / "q.npz", [query()])
    with np.load(tmp_path / "q.npz") as arrays:
        content = dict(arrays)
    content["0.feature"] = np.array([print, 1], dtype=object)
    np.savez(tmp_path / "q.npz", **content)
    with pytest.raises(QueryError, match=r"q\.npz: not a file written by cryosam query, or damaged"):
        read_queries(tmp_path / "q.npz")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("0.feature", None),
        ("0.feature", np.array([1.0, np.nan, 0.0, 0.0, 0.0])),
        ("0.average", np.zeros((3, 4, 4))),
        ("0.is_kind", np.array([True])),
        ("description", np.frombuffer(b'{"format": 1}', dtype=np.uint8)),
        ("description", np.frombuffer(b"no json", dtype=np.uint8)),
        ("description", np.frombuffer(b'{"format": 2, "kinds": []}', dtype=np.uint8)),
        ("description", np.frombuffer(b'{"format": 1, "kinds": []}', dtype=np.uint8)),
    ],
)
def test_damage_is_told_in_one_line(tmp_path, key, value) -> None:
    write_queries(tmp_path / "q.npz", [query()])
    with np.load(tmp_path / "q.npz") as arrays:
        content = {name: arrays[name] for name in arrays.files if name != key}
    np.savez(tmp_path / "q.npz", **(content if value is None else content | {key: value}))
    with pytest.raises((QueryError, PromptError)) as refused:
        read_queries(tmp_path / "q.npz")
    assert len(str(refused.value).splitlines()) == 1


def test_other_files_are_refused(tmp_path) -> None:
    with pytest.raises(InputNotFoundError, match="no such file"):
        read_queries(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("z,y,x\n1,2,3\n")
    with pytest.raises(QueryError, match="not a file written by cryosam query"):
        read_queries(tmp_path / "text.npz")
    write_queries(tmp_path / "cut.npz", [query()])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:400])
    with pytest.raises(QueryError, match="not a file written by cryosam query"):
        read_queries(tmp_path / "cut.npz")


def test_names_and_endings_are_checked_before_writing(tmp_path) -> None:
    with pytest.raises(QueryError, match=r"\.npz"):
        write_queries(tmp_path / "q.txt", [query()])
    with pytest.raises(PromptError, match="its own name"):
        write_queries(tmp_path / "q.npz", [query(), query()])
    with pytest.raises(PromptError, match="file names"):
        query("80S/ribosome")
    assert list(tmp_path.iterdir()) == []
