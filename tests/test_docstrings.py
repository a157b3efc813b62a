"""Headings and examples in docstrings are whole: a text that was wrapped anew may have swallowed them."""

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cryosam

PACKAGE = Path(cryosam.__file__).parent
HEADINGS = "Parameters|Returns|Yields|Raises|Warns|Attributes|Notes|References|See Also|Examples"
SWALLOWED = re.compile(rf"\b({HEADINGS}) -{{3,}}")
WITH_EXAMPLES = re.compile(r"^Examples?\b *$|^Examples? *-{3,}", re.MULTILINE)


def docstrings(source: str) -> Iterator[tuple[str, str]]:
    """Name and docstring of a module and of everything in it that has one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", "the module"), text


def faults(source: str) -> list[str]:
    """What is wrong with the docstrings of a module, one sentence each."""
    told = []
    for name, text in docstrings(source):
        swallowed = SWALLOWED.search(text)
        if swallowed:
            told.append(f"{name}: the heading {swallowed[1]!r} is no line of its own")
        examples = doctest.DocTestParser().get_examples(text)
        if WITH_EXAMPLES.search(text) and not examples:
            told.append(f"{name}: no example under its heading")
        if text.count(">>> ") != len(examples):
            told.append(f"{name}: {text.count('>>> ')} prompts, of which {len(examples)} are run")
    return told


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_examples_are_run_and_headings_stand_alone(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("text", "n_faults"),
    [
        ("A.\n\n    Examples\n    --------\n    >>> 1 + 1\n    2\n", 0),
        ("A, with examples of no heading.", 0),
        ("A.\n\n    Examples\n    --------\n    Call it with 1.\n", 1),
        ("A.\n\n    Examples -------- >>> f(1) Traceback (most recent call last): ...\n", 3),
        ("A.\n\n    Raises ------ ValueError\n", 1),
        ("A.\n\n    Examples\n    --------\n    >>> 1 + 1\n    2 >>> 1 + 2 3\n", 1),
    ],
)
def test_faults_are_seen(text: str, n_faults: int) -> None:
    assert len(faults(f'def f():\n    """{text}    """')) == n_faults
