import errno
import os
from pathlib import Path

import pytest

from cryosam.errors import InputError, OutputError
from cryosam.io import atomic_path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_with(error: BaseException, target: Path) -> None:
    """Fail in the middle of writing a file."""
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("name", ["t.mrc", "t.mrc.gz", "t.ome.zarr"])
def test_the_temporary_name_lies_beside_the_target_and_ends_like_it(tmp_path: Path, name: str) -> None:
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(f"-{name}")
        temporary.write_text("x")
    assert names_in(tmp_path) == [name]


def test_nothing_appears_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, InputError])
def test_an_exception_leaves_what_was_there_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error, match="stop"):
        fail_with(error("stop"), target)
    assert names_in(tmp_path) == ["a.txt"]
    assert target.read_text() == "old"


def test_a_half_written_folder_is_deleted_too(tmp_path: Path) -> None:
    def interrupt() -> None:
        with atomic_path(tmp_path / "a.zarr") as temporary:
            (temporary / "0").mkdir(parents=True)
            (temporary / "0" / "chunk").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert names_in(tmp_path) == []


def test_a_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    for content in ("old", "new"):
        with atomic_path(target) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert names_in(tmp_path) == ["a.zarr"]
    assert names_in(target) == ["new"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "Permission denied"),
        (OSError("1000 requested and 24 written"), "only a part was written"),
    ],
)
def test_what_the_system_refuses_is_one_clear_line(tmp_path: Path, error: OSError, said: str) -> None:
    with pytest.raises(OutputError, match=said) as caught:
        fail_with(error, tmp_path / "a.mrc")
    assert "\n" not in str(caught.value)
    assert "a.mrc" in str(caught.value)
    assert ".partial" not in str(caught.value)
    assert names_in(tmp_path) == []


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    target = tmp_path / "absent" / "a.txt"
    with pytest.raises(OutputError, match=r"absent.*No such file or directory"), atomic_path(target) as temporary:
        temporary.write_text("x")
    assert names_in(tmp_path) == []
