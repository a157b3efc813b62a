"""The documentation says what is: links lead somewhere, names exist, commands have those options, examples run."""

import importlib
import re
import shlex
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import cryosam.cli
import cryosam.io
from cryosam.config import Config, to_toml

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def each(pages: Iterable[Path]) -> pytest.MarkDecorator:
    """Run a test on each of some pages."""
    return pytest.mark.parametrize("page", list(pages), ids=lambda p: p.relative_to(ROOT).as_posix())


def blocks(page: Path, language: str) -> list[str]:
    """Fenced code of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as a link gives them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each(PAGES)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert linked.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(linked), target


@each(PAGES)
def test_names_exist(page: Path) -> None:
    """Every `cryosam.module.name` in backticks can be imported."""
    for name in re.findall(r"`(cryosam(?:\.\w+)+)(?:\(\))?`", page.read_text(encoding="utf-8")):
        parts = name.split(".")
        for n in range(len(parts), 0, -1):
            try:
                found: object = importlib.import_module(".".join(parts[:n]))
            except ModuleNotFoundError:
                continue
            for attribute in parts[n:]:
                assert hasattr(found, attribute), name
                found = getattr(found, attribute)
            break


def command_lines(page: Path) -> list[list[str]]:
    """Words of every ``cryosam`` command in the page's shell examples."""
    text = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
    words = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [line[1:] for line in words if line and line[0].endswith("cryosam")]


@each(page for page in PAGES if command_lines(page))
def test_commands_have_these_options(page: Path) -> None:
    for line in command_lines(page):
        command, rest = cryosam.cli.main, line
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, line
            command, rest = command.commands[rest[0]], rest[1:]
        known = {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}
        for word in rest:
            assert not word.startswith("--") or word in known | {"--help", "--version"}, line


@each(page for page in PAGES if blocks(page, "python"))
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's Python, top to bottom, in a folder that holds a small ``tomogram.mrc``, and an ``other.mrc``."""
    write_tomogram(tmp_path / "tomogram.mrc")
    write_tomogram(tmp_path / "other.mrc")
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks(page, "python")), str(page), "exec"), {"__name__": "__main__"})


def write_tomogram(path: Path) -> None:
    """Dark balls, of which one is centred on (20, 30, 40), at 10 angstrom a voxel."""
    centres = np.zeros((40, 60, 80), dtype=np.float32)
    for z, y, x in [(20, 30, 40), (12, 12, 15), (28, 45, 20), (18, 15, 65), (25, 48, 62)]:
        centres[z, y, x] = 1
    balls = ndimage.grey_dilation(centres, footprint=np.linalg.norm(np.indices((9, 9, 9)) - 4, axis=0) <= 4)
    noise = np.random.default_rng(0).normal(size=balls.shape)
    cryosam.io.write_volume(
        path, (ndimage.gaussian_filter(noise, 1) - 2 * balls).astype(np.float32), voxel_size_angstrom=10.0
    )


def settings_in(table: dict[str, Any], section: str = "") -> dict[tuple[str, str], Any]:
    """The settings of a TOML table, by the name of their section and their own."""
    settings: dict[tuple[str, str], Any] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            settings |= settings_in(value, f"{section}.{name}".lstrip("."))
        else:
            settings[section, name] = value
    return settings


def test_every_setting_is_documented_with_its_default() -> None:
    section: str | None = None
    documented: dict[tuple[str, str], Any] = {}
    for line in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"(?:## )?`\[([\w.]+)\]`", line):
            section = heading[1]
        elif line.startswith("## "):
            section = "" if line == "## At the top of the file" else None
        elif section is not None and (row := re.match(r"\| `(\w+)` \| ([^|]*) \|", line)):
            default = row[2].strip("` ")
            documented[section, row[1]] = "none" if default == "none" else tomllib.loads(f"it = {default}")["it"]
    expected = settings_in(tomllib.loads(to_toml(Config())))
    same_as = {"compartment.ridges": "membrane.ridges"}
    assert {key: documented.get((same_as.get(key[0], key[0]), key[1])) for key in expected} == expected
