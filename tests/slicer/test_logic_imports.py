"""The logic needs neither Qt nor torch, and loading it imports nothing from outside Slicer."""

import ast
import subprocess
import sys

import pytest
from scene_helpers import REPOSITORY

LIBRARY = REPOSITORY / "SlicerLLNM" / "LLNM" / "LLNMLib"
LOGIC = sorted(path.stem for path in LIBRARY.glob("*.py") if not path.stem.startswith(("panel", "widget")))
INSIDE_SLICER = {"LLNMLib", "numpy", "vtk", "slicer"}


def test_every_module_of_the_logic_loads_where_qt_torch_and_llnm_cannot_be_imported():
    blocked = ["qt", "ctk", "PySide6", "PythonQt", "PyQt5", "torch", "monai", "llnm", "requests", "pydicom", "scipy"]
    code = f"""
import sys, importlib
sys.path.insert(0, {str(LIBRARY.parent)!r})
for name in {blocked!r}:
    sys.modules[name] = None
for name in {LOGIC!r}:
    importlib.import_module("LLNMLib" if name == "__init__" else "LLNMLib." + name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", LOGIC)
def test_what_a_module_imports_when_it_is_loaded_comes_with_python_or_slicer(name):
    tree = ast.parse((LIBRARY / f"{name}.py").read_text(encoding="utf-8"))
    for statement in tree.body:
        names = [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else []
        names += [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []
        for imported in names:
            root = imported.split(".")[0]
            assert root in sys.stdlib_module_names or root in INSIDE_SLICER, imported


def test_no_file_of_the_logic_is_longer_than_400_lines():
    lengths = {name: len((LIBRARY / f"{name}.py").read_text(encoding="utf-8").splitlines()) for name in LOGIC}
    assert max(lengths.values()) <= 400, lengths
