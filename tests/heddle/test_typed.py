"""What tools that do not run it see of the package: names and types, in an editable installation and in a wheel."""

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import heddle
import pytest
from heddle.document import SECTIONS, api_page
from heddle.release import commit, commit_of

ROOT = Path(__file__).parents[2]
NAMES = [*heddle.__all__, "__version__", *(f"isa.{name}" for name in heddle.isa.__all__)]
LAYERS = ["arch", "compiler", "cosim", "explore", "hw", "models", "sim"]
REVEAL = "\n".join(["import heddle", *(f"reveal_type(heddle.{name})" for name in NAMES), ""])
SCRIPT = """
program = heddle.Program.load("x.heddle")
result: heddle.Result = heddle.simulate(program)
cycles: str = result.cycles
heddle.simulat(program)
heddle.HardwareConfig(name="mine")
"""


def pyright(folder: Path, text: str, **settings) -> list[tuple[str, str]]:
    """(rule, message) of a script, by this Python's packages; settings as in pyrightconfig.json."""
    (folder / "script.py").write_text(text)
    (folder / "pyrightconfig.json").write_text(json.dumps({"include": ["script.py"], **settings}))
    command = ["-m", "pyright", "-p", str(folder), "--pythonpath", sys.executable, "--outputjson"]
    found = json.loads(subprocess.run([sys.executable, *command], capture_output=True, text=True).stdout)
    return [(each.get("rule", ""), each["message"]) for each in found["generalDiagnostics"]]


def types_in(found: list[tuple[str, str]]) -> dict[str, str]:
    told = [message.removeprefix('Type of "heddle.').split('" is "', 1) for rule, message in found if not rule]
    return {name: kind[:-1] for name, kind in told}


def test_an_editable_installation_has_the_types_of_all_public_names(tmp_path):
    found = pyright(tmp_path, REVEAL + SCRIPT)
    kinds = types_in(found)
    assert list(kinds) == NAMES
    assert not {name: kind for name, kind in kinds.items() if "Unknown" in kind or kind == "Any"}
    assert kinds["get_config"] == "(config: HardwareConfig | str | PathLike[str]) -> HardwareConfig"
    assert kinds["isa.Load"] == "type[Load]" and kinds["__version__"] == "str"
    wrong = [(rule, message) for rule, message in found if rule]
    assert [rule for rule, _ in wrong] == ["reportAssignmentType", "reportAttributeAccessIssue", "reportCallIssue"]
    assert "simulat" in wrong[1][1] and '"rows", "columns"' in wrong[2][1]


@pytest.mark.long
def test_a_wheel_has_them_too_and_knows_its_commit(tmp_path):
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    subprocess.run([sys.executable, *build], check=True)
    (wheel,) = tmp_path.glob("heddle-*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    package = tmp_path / "site" / "heddle"
    assert (package / "py.typed").is_file() and (package / "hw" / "lint.vlt").is_file()
    assert (package / "commit.txt").read_text().strip() == commit_of(ROOT / "heddle")
    assert not any(path.is_symlink() for path in package.rglob("*"))
    (tmp_path / "user").mkdir()
    (tmp_path / "empty").mkdir()
    before = types_in(pyright(tmp_path / "empty", REVEAL))
    found = types_in(pyright(tmp_path / "user", REVEAL, extraPaths=[str(tmp_path / "site")]))
    assert found == before


def test_the_imports_for_tools_are_those_that_run():
    tree = ast.parse((ROOT / "heddle" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {each.asname: node.module or each.name for node in imports for each in node.names}
    assert seen == heddle._HOME


def test_every_instruction_is_public():
    names = {each.__name__ for each in heddle.isa.INSTRUCTIONS}
    assert names | {"Source", "NormKind"} <= set(heddle.isa.__all__)
    assert all(hasattr(heddle.isa, each) for each in heddle.isa.__all__) and "Memory" not in heddle.isa.__all__


def test_links_lead_to_every_layer():
    """So that a folder of its own at the top is a part of the package to all who look at files."""
    links = {path.name: path.resolve() for path in (ROOT / "heddle").iterdir() if path.is_symlink()}
    assert links == {layer: ROOT / layer for layer in LAYERS}
    assert (ROOT / "tools" / "path" / "heddle").resolve() == ROOT / "heddle"


def test_the_page_of_the_public_interface_is_current():
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(heddle.__all__)
    assert (ROOT / "docs" / "api.md").read_text() == api_page(), "run make docs"


def test_the_commit_is_that_of_the_sources_alone(tmp_path):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if head.returncode == 0:
        assert commit().rstrip("+") and head.stdout.startswith(commit().rstrip("+"))
    assert commit_of(tmp_path) == "" and commit_of(ROOT / "arch" / "isa") == ""


def test_a_notebook_shows_tables(tmp_path):
    program = heddle.random_program("nano", 3)
    result = heddle.simulate(program)
    assert "<th>instructions</th>" in program._repr_html_()
    assert f"<td>{result.cycles:,}</td>" in result._repr_html_()
    agreed = heddle.Comparison("icarus", "a<b", 1, 1, 14, 379, 0, 0, 0, None)
    assert "<th>agrees</th><td>yes</td>" in agreed._repr_html_() and "a&lt;b" in agreed._repr_html_()
    assert all("\n" not in repr(each) for each in (program, result, agreed))
