"""What holds for the tests themselves."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODULES = sorted(TESTS.rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Names of all modules that are imported anywhere, also within functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            names.update(alias.name for alias in node.names if not node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_module_imports_tests(path: Path) -> None:
    """What tests share lies in a module that holds no tests, or is a fixture in conftest.py."""
    names = imported(ast.parse(path.read_text(encoding="utf-8")))
    shared = {name for name in names if any(part.startswith("test_") for part in name.split("."))}
    assert not shared


@pytest.mark.parametrize(
    "statement",
    ["import test_a", "from test_a import b", "from . import test_a", "def f():\n    from tests.test_a import b"],
)
def test_an_import_of_tests_is_seen_wherever_it_stands(statement: str) -> None:
    assert any("test_a" in name for name in imported(ast.parse(statement)))
