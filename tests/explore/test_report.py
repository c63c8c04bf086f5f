"""explore/page.py, report.py, audit.py, area_model.py: one page without network, tiny programs, gates with their
error."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import heddle
import pytest
from heddle.arch.config import get_config
from heddle.explore import area_model, audit, report
from heddle.explore.energy import read_table
from heddle.explore.page import Page, Section
from heddle.explore.space import Space
from heddle.explore.sweep import Sweep, run
from heddle.explore.workload import Workload, shape_of

pytest.importorskip("vl_convert")
SPACE = {
    "config": "nano", "parameters": {"rows": [4, 7, 8], "value_words": [16, 256]}, "workloads": ["encoder-layer"],
    "objectives": ["seconds", "area_ge"],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep")
    run(Space.from_dict(SPACE), path)
    return path


@pytest.fixture(scope="module")
def text(folder):
    return report.sweep_page(Sweep.open(folder), "heddle report </script> --html x.html").to_html()


def test_a_page_is_one_file_that_needs_no_network(text):
    assert len(text) < 1.5e6
    outside = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert not re.findall(r"""(?:src|href)\\s*=|@import|url\(""", outside)
    assert text.count("</script>") == 2  # the command is data, and ends no script


def test_a_page_has_a_table_and_a_command_under_each_picture(text):
    sections = json.loads(re.search(r"const sections = (\[.*?\]);\nconst dark", text, re.S)[1])
    assert [each["id"] for each in sections][:2] == ["front", "refused"]
    for number, each in enumerate(sections):
        assert f'id="table-{number}"' in text and f'id="csv-{number}"' in text
        assert len({len(column) for column in each["table"]["columns"]}) == 1
        assert (f'id="picture-{number}" role="img" aria-label=' in text) == (each["wide"] is not None)
    front = dict(zip(sections[0]["table"]["names"], sections[0]["table"]["columns"], strict=True))
    assert set(front["place"]) <= {"front", "others"} and front["area_ge"][0] > 0
    assert text.count("The command that makes it again") == len(sections)


def test_what_is_brushed_is_linked(text):
    wide = json.loads(re.search(r"const sections = (\[.*?\]);\nconst dark", text, re.S)[1])[0]["wide"]
    assert wide["vconcat"][0]["params"][0]["name"] == "brush"
    filters = [each["layer"][1]["transform"][0]["filter"] for each in wide["vconcat"][1]["concat"]]
    assert filters and all({"param": "brush"} in each["and"] for each in filters)


def test_numbers_that_are_none_do_not_break_a_page():
    page = Page("x", "y", {"a": "<b>"}, [Section("s", "t", "u", {"v": [float("nan"), float("inf"), 1.23456789]}, "c")])
    assert '"columns":[[null,null,1.23457]]' in page.to_html() and "<b>" not in page.to_html().split("<dl>")[1][:80]


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs headless Chromium")
@pytest.mark.parametrize("width", [390, 1200])
def test_all_pictures_are_drawn_in_a_browser(text, tmp_path, width):
    (tmp_path / "page.html").write_text(text)
    count = text.count('id="picture-')
    profile = tmp_path / "profile"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             f"--user-data-dir={profile}", f"--window-size={width},2000", "--virtual-time-budget=20000"]  # fmt: skip
    done = subprocess.run(["chromium", *flags, "--dump-dom", f"file://{tmp_path / 'page.html'}"], capture_output=True,
                          text=True, timeout=120)  # fmt: skip
    assert f'data-drawn="{count}"' in done.stdout and done.stdout.count('class="marks"') >= count


def test_a_run_has_a_page_too(folder):
    program = heddle.compile(heddle.WORKLOADS["encoder-layer"].model(),
                             heddle.WORKLOADS["encoder-layer"].example_inputs(), "nano")  # fmt: skip
    result = heddle.simulate(program, values=False)
    page = report.run_page(result, read_table("tpuv4i-7"), "heddle report x.heddle --html x.html")
    sections = {each.id: each for each in page.sections}
    assert sum(sections["operators-run"].columns["path_cycles"]) == result.cycles
    units = sections["units-run"].columns
    busy = [share for share, unit in zip(units["busy"], units["unit"], strict=True) if unit == "matrix"]
    assert sum(busy) / len(busy) == pytest.approx(result.busy["matrix"] / result.cycles, abs=0.01)


@pytest.mark.parametrize("model", ["bert-base", "llama-2-7b"])
def test_a_tiny_program_has_the_operators_of_the_model(model):
    program, inputs = audit.tiny_program(Workload(model), get_config("small"))
    assert heddle.simulate(program, inputs).cycles < 20_000
    full, tiny = shape_of(model).config, audit.tiny_config(shape_of(model).config)
    assert type(tiny) is type(full) and tiny.depth == 1 and tiny.width < full.width


@pytest.mark.long
def test_points_of_a_front_agree_with_their_rtl(folder):
    sweep = Sweep.open(folder)
    found = audit.audit(sweep, 2)
    audit.write(folder, found)
    assert len(found) == 2 and all(each.agrees and each.cycles > 1000 for each in found)
    assert "audited" in report.sweep_page(sweep, "x").sections[0].columns["place"]


def test_gates_are_those_that_were_measured():
    for each in area_model.measurements():
        model = area_model.gates(each.config)
        measured = sum(each.gates.values())
        assert sum(model[unit] for unit in each.gates) == pytest.approx(measured, rel=0.05)


def test_gates_grow_with_the_machine_and_unknown_kinds_are_refused():
    base = get_config("base")
    sums = [sum(area_model.gates(replace(base, rows=side, columns=side)).values()) for side in (16, 32, 64)]
    assert sums[0] < sums[1] < sums[2]
    with pytest.raises(heddle.HeddleError, match="no machine with pe = bf16 was synthesised"):
        area_model.gates(replace(base, pe="bf16"))


def test_a_sweep_is_a_frame(tmp_path):
    said = []
    table = heddle.sweep(SPACE, tmp_path / "s", progress=said.append)
    assert len(table) == 6 and set(table.status) == {"ok", "invalid", "infeasible"} and len(said) == 6
    assert table[table.front].energy_j.gt(0).all() and (table[table.status == "ok"].workload == "encoder-layer").all()
    for wrong, message in ((3, "space must be the path of a .toml file"), ({}, "must have parameters")):
        with pytest.raises(heddle.HeddleError, match=message):
            heddle.sweep(wrong)
    with pytest.raises(heddle.HeddleError, match="its directory does not exist"):
        heddle.sweep(SPACE, tmp_path / "none" / "s")
