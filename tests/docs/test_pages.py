"""The pages for readers: each block of code runs, each script of examples/ too, and no link is broken."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from heddle.cli import COMMANDS, cli

ROOT = Path(__file__).parents[2]
PAGES = ["tutorial", "model", "program", "machine"]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
ON_THE_RTL = {"on_the_rtl.py"}
BLOCK = re.compile(r"(<!-- rtl -->\n)?```(\w+)\n(.*?)```", re.S)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def blocks(page: str, language: str, rtl: bool) -> list[str]:
    """The blocks of a page, those marked as of the RTL only if asked for."""
    found = BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text())
    return [text for marked, kind, text in found if kind == language and (rtl or not marked)]


def run(code: str, folder: Path) -> None:
    """Code in a process of its own, as a reader would have it; a picture needs no screen."""
    environment = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_what_pages_and_examples_say_in_code_runs(tmp_path):
    """All in one process, each with names of its own, as Python and PyTorch take longer to start than most of them."""
    pages = {page: "\n".join(blocks(page, "python", rtl=False)) for page in PAGES}
    scripts = {name: (ROOT / "examples" / name).read_text() for name in EXAMPLES if name not in ON_THE_RTL}
    names = json.dumps({**pages, **scripts})
    run(f"import json\nfor name, code in json.loads({names!r}).items():\n    "
        "exec(compile(code, name, 'exec'), {'__name__': '__main__'})", tmp_path)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_and_on_the_rtl(tmp_path, page):
    run("\n".join(blocks(page, "python", rtl=True)), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_pages_run(tmp_path, page):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for text in blocks(page, "sh", rtl=True):
        subprocess.run(["sh", "-e", "-c", text], cwd=tmp_path, check=True, env={**os.environ, "PATH": path})


def test_there_are_four_examples():
    assert EXAMPLES == ["on_the_rtl.py", "own_machine.py", "own_model.py", "own_program.py"]


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(ON_THE_RTL))
def test_examples_run_on_the_rtl(tmp_path, name):
    folder = str(ROOT / "examples")
    start = f"import runpy, sys\nsys.path.insert(0, {folder!r})\n"
    run(start + f"runpy.run_path({folder!r} + '/{name}', run_name='__main__')", tmp_path)
    assert (tmp_path / "product.vcd").stat().st_size > 1000


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{page}.md" for page in (*PAGES, "index"))])
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text()
    missing = [link for link in LINK.findall(text) if not ((ROOT / page).parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{page}.md" for page in (*PAGES, "compiler", "contributing"))])
def test_commands_that_a_page_names_have_these_options(page):
    found = re.findall(r"(?:`|^)heddle ([a-z-]+)([^`#\n]*)", (ROOT / page).read_text(), re.M)
    for name, rest in found:
        assert name in COMMANDS, f"heddle {name}"
        command = cli.get_command(click.Context(cli), name)
        options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        assert set(re.findall(r"(?<= )--[a-z-]+", rest)) <= options, f"heddle {name}{rest}"


def test_the_readme_leads_to_every_page_a_newcomer_needs():
    linked = set(LINK.findall((ROOT / "README.md").read_text()))
    wanted = {f"docs/{name}.md" for name in (*PAGES, "compiler", "glossary", "api", "architecture")}
    assert wanted | {"CONTRIBUTING.md"} <= linked


def test_tests_that_the_checklists_name_exist():
    """`tests/x.py::name`, `…name` for another of the file before, and files and folders in backticks."""
    text, file = (ROOT / "CONTRIBUTING.md").read_text().replace("UNIT", "norm").replace("NAME", "llama"), ""
    for path, name, other in re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`|`…(\w+)`", text):
        file = (ROOT / path).read_text() if path else file
        wanted = name or other
        assert not wanted or re.search(rf"def (test_)?{wanted}\(", file), wanted
    for path in re.findall(r"`((?:arch|sim|hw|compiler|cosim|models|heddle|tests)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.long
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / "site" / "tutorial.html").read_text()
    assert not re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))"', page), "something is from elsewhere"
