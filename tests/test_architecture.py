"""The shape of the repository: which layer may import which, and that every instruction is everywhere."""

import ast
import tomllib
from pathlib import Path

import pytest
from heddle.arch.isa import INSTRUCTIONS

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "arch": set(),
    "hw": {"arch"},
    "sim": {"arch"},
    "models": set(),
    "compiler": {"arch", "sim"},
    "cosim": {"arch", "hw", "sim", "compiler"},
    "explore": {"arch", "hw", "sim", "compiler", "models", "cosim"},
}
FILES = [path for layer in MAY_IMPORT for path in sorted((ROOT / layer).rglob("*.py"))]


def layers_imported(path: Path) -> set[str]:
    """Names of sibling layers that a file imports, relatively or as heddle.<layer>."""
    found = set()
    depth = len(path.relative_to(ROOT).parts)  # a relative import of this level reaches the package heddle
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {(node.module or "").split(".")[0]} if node.module else {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("heddle."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {each.name.split(".")[1] for each in node.names if each.name.startswith("heddle.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    layer = path.relative_to(ROOT).parts[0]
    assert layers_imported(path) <= MAY_IMPORT[layer] | {layer}


@pytest.mark.parametrize("path", [p for p in FILES if p.is_relative_to(ROOT / "arch")], ids=lambda path: path.name)
def test_the_contract_needs_only_the_standard_library_and_numpy(path):
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add((node.module or "").split(".")[0])
    assert not modules & {"torch", "amaranth", "cocotb", "heddle", "sim", "scipy"}


@pytest.mark.parametrize("unit", sorted({each.unit.name.lower() for each in INSTRUCTIONS if each.unit is not None}))
def test_every_unit_has_one_file_per_layer(unit):
    for path in (f"hw/units/{unit}.py", f"sim/units/{unit}.py", f"tests/hw/test_{unit}.py"):
        assert (ROOT / path).is_file(), f"{path} is missing"
    assert any((ROOT / "tests/sim").rglob(f"test_{unit}.py")), f"tests/sim/…/test_{unit}.py is missing"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, f"{path.relative_to(ROOT)} has no module docstring"


def test_every_folder_of_modules_is_installed():
    """A wheel holds the packages that pyproject.toml lists, and no others."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    layers = {".".join(("heddle", *path.parent.relative_to(ROOT).parts)) for path in FILES}
    own = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "heddle").rglob("*.py")}
    assert set(setuptools["packages"]) == layers | own
