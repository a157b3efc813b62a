"""The public names, and what importing them costs."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import cryosam

PACKAGE = Path(cryosam.__file__).parent
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "cli" not in p.parts and p.name != "__main__.py")
HEAVY = ["torch", "transformers", "scipy", "skimage", "pandas", "mrcfile", "zarr", "click", "rich"]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after ``statement``."""
    code = f"import sys\n{statement}\nprint(*{{m.split('.')[0] for m in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert imported_by("import cryosam").isdisjoint(HEAVY)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_the_listed_names_exist_and_leave_nothing_public_out(path: Path) -> None:
    """``__all__`` holds every class and function without an underscore that the module itself defines."""
    module = importlib.import_module(module_name(path))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name[0] != "_"}
    if not hasattr(module, "__all__"):
        assert not defined, f"{module.__name__} defines {defined} but no __all__"
        return
    assert defined <= set(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
