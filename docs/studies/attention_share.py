"""What share of GPT-2's latency attention has, and data movement in it.

    python docs/studies/attention_share.py

writes attention-share.csv and attention-share.svg beside this file. On GPUs attention takes above half of GPT-2's
latency, and 73 % of that is data movement (SpAtten, HPCA 2021, figure 2). Here every cycle of a run lies on its
critical path: a cycle is of attention (its projections too) if the operator that holds it is, and of data movement if
LOAD, STORE, KV or the fetch holds it.
"""

import csv
from pathlib import Path

import heddle
from heddle.models.shapes import find

HERE = Path(__file__).parent
MOVING = ("load", "store", "kv", "fetch")
RUNS = {"prompt, 32 of 1,024 tokens": (32, 992), "next token at 1,024": (1, 1023)}
MACHINES = ("base", "edge")


def shares(machine: str, tokens: int, position: int) -> dict[str, float]:
    """Of one run: by attention or not, by data movement or not."""
    shape = find("gpt2-small")
    program = heddle.compile_decoder(
        shape.build(), machine, heddle.CachePlan(1024), tokens=tokens, context=1024, head=tokens == 1
    )
    result = heddle.simulate(program.at(position), values=False)
    found = {f"{what}, {how}": 0 for what in ("attention", "other") for how in ("moving data", "computing")}
    for operator, unit, cycles in heddle.Profile(result).path_by_operator():
        what = "attention" if "attention" in operator else "other"
        found[f"{what}, {'moving data' if unit in MOVING else 'computing'}"] += cycles
    return {name: cycles / result.cycles for name, cycles in found.items()}


def main() -> None:
    """Run them all, write the table and the picture."""
    import vl_convert

    rows = []
    for machine in MACHINES:
        for name, (tokens, position) in RUNS.items():
            found = shares(machine, tokens, position)
            run = f"{machine}: {name}"
            rows += [{"run": run, "part": part, "share": round(each, 4)} for part, each in found.items()]
            attention = found["attention, moving data"] + found["attention, computing"]
            print(f"{machine}, {name}: attention {attention:.1%} of the cycles, data movement "
                  f"{found['attention, moving data'] / attention:.1%} of attention")  # fmt: skip
    with (HERE / "attention-share.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["run", "part", "share"])
        writer.writeheader()
        writer.writerows(rows)
    spec = {
        "width": 520, "data": {"values": rows}, "mark": "bar", "title": "GPT-2 small: who holds the critical path",
        "encoding": {
            "y": {"field": "run", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 260}},
            "x": {"field": "share", "type": "quantitative", "axis": {"format": "%"}, "title": "share of the cycles"},
            "color": {"field": "part", "type": "nominal", "title": None, "sort": None,
                      "scale": {"range": ["#e45756", "#f2a7a0", "#4c78a8", "#a5c3e0"]}},
        },
    }  # fmt: skip
    (HERE / "attention-share.svg").write_text(vl_convert.vegalite_to_svg(spec, vl_version="v6_4"))


if __name__ == "__main__":
    main()
