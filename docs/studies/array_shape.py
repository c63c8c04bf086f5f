"""Which shape of an array suits BERT, and which a decode step of Llama.

    python docs/studies/array_shape.py [FOLDER] [WORKERS]

runs array-shape.toml (rows in FOLDER, which goes on where it was) and writes array-shape.csv and array-shape.svg beside
this file. All points have 256 or 1,024 PEs, as many bits in each memory, and a port of 8 bytes.
"""

import sys
import tempfile
from pathlib import Path

import heddle

HERE = Path(__file__).parent


def main() -> None:
    """Run it, write the table and the picture."""
    import vl_convert

    folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    table = heddle.sweep(HERE / "array-shape.toml", folder, workers=workers)
    table = table[(table.workload != "all") & (table.status == "ok")]
    sides = list(zip(table["rows"], table["columns"], strict=True))
    table = table.assign(shape=[f"{r} × {c}" for r, c in sides], pes=[f"{r * c:,} PEs" for r, c in sides])
    columns = ["pes", "shape", "workload", "cycles", "mac_utilisation", "port_bytes", "energy_j", "area_ge"]
    table = table.sort_values(["pes", "rows"], ascending=[False, True])[columns]
    table = table.astype({"cycles": int, "port_bytes": int, "area_ge": int})
    table.to_csv(HERE / "array-shape.csv", index=False, float_format="%.5g")
    print(table.to_string(index=False))
    rows = [{"machine": f"{row['pes']}: {row['shape']}", **row} for row in table.to_dict("records")]
    y = {"field": "machine", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 220}}
    spec = {
        "data": {"values": rows}, "title": "Rows × columns: cycles of a run",
        "hconcat": [
            {"width": 260, "title": name, "mark": "bar",
             "transform": [{"filter": {"field": "workload", "equal": name}}],
             "encoding": {"y": y, "x": {"field": "cycles", "type": "quantitative", "axis": {"format": "~s"}},
                          "color": {"field": "mac_utilisation", "type": "quantitative", "title": "MAC utilisation",
                                    "legend": {"format": ".0%"}, "scale": {"scheme": "blues", "domain": [0, 1]}}}}
            for name in ("bert-base", "llama-decode")
        ],
    }  # fmt: skip
    (HERE / "array-shape.svg").write_text(vl_convert.vegalite_to_svg(spec, vl_version="v6_4"))


if __name__ == "__main__":
    main()
