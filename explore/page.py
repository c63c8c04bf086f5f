"""One page for a sweep or a run: pictures, under each its table and the command that makes it again. No network.

Pictures are Vega-Lite; the script that draws them (vl-convert's bundle of Vega, Vega-Lite and vega-embed) is in the
page, and so are the numbers, as columns. Readers of screens and keyboards get the tables; SVG and PNG are in each
picture's menu, CSV under each table.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from ..arch.errors import HeddleError

VEGA_LITE = "v6_4"
_DIGITS = 6  # of a number in the page
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1d20; --soft: #5b6168; --line: #d8dbdf; --paper: #fff; --tint: #f4f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8eaed; --soft: #a2a8b0; --line: #3a3f45; --paper: #16181b; --tint: #202327; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 68rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .25rem; }
p { margin: .25rem 0 .75rem; max-width: 48rem; color: var(--soft); } .lead { color: var(--ink); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }
dl div { background: var(--tint); border-radius: .4rem; padding: .5rem .75rem; }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
figure { margin: 0; overflow-x: auto; } .vega-embed { width: auto; }
.vega-embed summary { opacity: .6; } .vega-embed .vega-actions a { color: #1b1d20; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--soft); }
summary:focus-visible, button:focus-visible, a:focus-visible { outline: 2px solid #4c78a8; outline-offset: 2px; }
.table { overflow-x: auto; max-height: 28rem; overflow-y: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { position: sticky; top: 0; background: var(--paper); } th.text, td.text { text-align: left; white-space: normal; }
pre { background: var(--tint); padding: .5rem .75rem; border-radius: .4rem; overflow-x: auto; font-size: .85rem; }
button { font: inherit; font-size: .85rem; color: var(--ink); background: var(--tint); border: 1px solid var(--line);
  border-radius: .4rem; padding: .15rem .6rem; cursor: pointer; }
"""
_SCRIPT = """
const dark = matchMedia("(prefers-color-scheme: dark)"), narrow = matchMedia("(max-width: 760px)");
const records = data => data.columns[0].map((_, row) =>
  Object.fromEntries(data.names.map((name, column) => [name, data.columns[column][row]])));
const made = sections.map(section => records(section.table));
function draw() {
  const ink = dark.matches ? "#e8eaed" : "#1b1d20", line = dark.matches ? "#3a3f45" : "#d8dbdf";
  const config = { background: "transparent", view: { stroke: line }, title: { color: ink },
    axis: { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line },
    legend: { labelColor: ink, titleColor: ink }, header: { labelColor: ink, titleColor: ink },
    text: { color: ink }, rule: { color: ink } };
  sections.forEach((section, number) => {
    const place = document.getElementById("picture-" + number);
    if (!place) return;
    const spec = JSON.parse(JSON.stringify(narrow.matches ? section.narrow : section.wide));
    spec.datasets = { table: made[number] };
    vegaEmbed(place, spec, { config, mode: "vega-lite", renderer: "svg", ast: false,
      actions: { export: true, source: false, compiled: false, editor: false } })
      .then(() => { document.documentElement.dataset.drawn = (+document.documentElement.dataset.drawn || 0) + 1; });
  });
}
const shown = value => typeof value !== "number" ? (value === null ? "" : String(value)) :
  Number.isInteger(value) ? value.toLocaleString("en") : value.toPrecision(4);
sections.forEach((section, number) => {
  const place = document.getElementById("table-" + number), table = document.createElement("table");
  const text = section.table.columns.map(column => column.some(value => typeof value === "string"));
  const head = table.createTHead().insertRow(), body = table.createTBody();
  section.table.names.forEach((name, column) => {
    const cell = document.createElement("th"); cell.scope = "col"; cell.textContent = name.replaceAll("_", " ");
    if (text[column]) cell.className = "text"; head.append(cell); });
  made[number].slice(0, 500).forEach(record => { const row = body.insertRow();
    section.table.names.forEach((name, column) => { const cell = row.insertCell(); cell.textContent =
    shown(record[name]);
      if (text[column]) cell.className = "text"; }); });
  place.append(table);
  const button = document.getElementById("csv-" + number);
  button.onclick = () => {
    const quoted = value => /[",\\n]/.test(value) ? '"' + String(value).replaceAll('"', '""') + '"' : (value ?? "");
    const lines = [section.table.names, ...made[number].map(record => section.table.names.map(name => record[name]))];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.map(line => line.map(quoted).join(",")).join("\\n") + "\\n"],
      { type: "text/csv" }));
    link.download = section.id + ".csv"; link.click(); URL.revokeObjectURL(link.href); };
});
draw();
dark.addEventListener("change", draw); narrow.addEventListener("change", draw);
"""


@dataclass(frozen=True)
class Section:
    """A picture with its table. The specs read the data set "table"; without them there is only the table."""

    id: str
    title: str
    text: str
    columns: Mapping[str, Sequence[Any]]
    command: str
    wide: dict[str, Any] | None = None
    narrow: dict[str, Any] | None = None


@dataclass(frozen=True)
class Page:
    """All of it."""

    title: str
    lead: str
    figures: Mapping[str, str] = field(default_factory=dict)  # what stands out, with its value in words
    sections: Sequence[Section] = ()

    def to_html(self) -> str:
        """The whole file. Raises HeddleError without the extra `explore`."""
        parts = [self._section(number, each) for number, each in enumerate(self.sections)]
        figures = "".join(f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
                          for name, value in self.figures.items())  # fmt: skip
        content = [
            {"id": each.id, "wide": each.wide, "narrow": each.narrow or each.wide, "table": _table(each.columns)}
            for each in self.sections
        ]
        data = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style></head><body>\n"
            f'<h1>{html.escape(self.title)}</h1><p class="lead">{html.escape(self.lead)}</p><dl>{figures}</dl>\n'
            f"<noscript><p>The pictures and tables of this page are drawn by its own script.</p></noscript>\n"
            f"{''.join(parts)}\n<script>{_bundle()}</script>\n"
            f"<script>const sections = {data};{_SCRIPT}</script></body></html>\n"
        )

    @staticmethod
    def _section(number: int, each: Section) -> str:
        label = html.escape(f"{each.title}. {each.text} All numbers are in the table below.", quote=True)
        picture = f'<figure><div id="picture-{number}" role="img" aria-label="{label}"></div></figure>'
        return (
            f'<section id="{html.escape(each.id, quote=True)}"><h2>{html.escape(each.title)}</h2>'
            f"<p>{html.escape(each.text)}</p>{picture if each.wide else ''}"
            f'<details{"" if each.wide else " open"}><summary>Table</summary><div class="table" id="table-{number}" '
            f'tabindex="0"></div>'
            f'<p><button id="csv-{number}">Save as CSV</button></p></details>'
            f"<details><summary>The command that makes it again</summary>"
            f"<pre>{html.escape(each.command)}</pre></details>"
            f"</section>\n"
        )


def _table(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    return {"names": list(columns), "columns": [[*map(_plain, each)] for each in columns.values()]}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if abs(value) < float("inf") else None
    return value


def _bundle() -> str:
    try:
        convert = import_module("vl_convert")
    except ImportError:
        raise HeddleError("a page needs vl-convert: pip install 'heddle[explore]'") from None
    return convert.javascript_bundle(vl_version=VEGA_LITE).replace("</script", "<\\/script")
