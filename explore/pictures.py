"""Pictures of the page as Vega-Lite specs: plain values, for a desk and for a narrow screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DATA = {"name": "table"}
WIDE, NARROW = 760, 300  # pixels of a picture
FRONT, OTHER, AUDITED = "#e45756", "#9db4cc", "#54a24b"
Spec = dict[str, Any]


def front(x: str, y: str, parameters: Sequence[str], tips: Sequence[str], width: int) -> Spec:
    """Points by two objectives, and how many have which value of each parameter. What is brushed in the one, or clicked
    in the others, is what all of them show."""
    wide = width > NARROW
    picks = [f"pick_{number}" for number in range(len(parameters))]
    chosen = {"and": [{"param": "brush"}, *({"param": each} for each in picks)]}
    scatter = {
        "width": width - 60, "height": 380 if wide else 260,
        "params": [{"name": "brush", "select": "interval"}],
        "mark": {"type": "point", "filled": True, "size": 46},
        "encoding": {
            "x": _log(x), "y": _log(y),
            "color": {"field": "place", "type": "nominal", "scale": {
                "domain": ["front", "others", "audited"], "range": [FRONT, OTHER, AUDITED]},
                "legend": {"orient": "top", "title": None}},
            "opacity": {"condition": {"test": {"and": [{"param": each} for each in picks]}, "value": 0.95},
                        "value": 0.08} if picks else {"value": 0.95},
            "order": {"field": "rank", "type": "quantitative"},
            "tooltip": [{"field": each, "title": each.replace("_", " ")} for each in tips],
        },
    }  # fmt: skip
    bars = [_counts(name, picks[number], chosen, 150 if wide else 105) for number, name in enumerate(parameters)]
    below = {"concat": bars, "columns": 4 if wide else 2, "spacing": 18}
    return _spec({"vconcat": [scatter, below] if bars else [scatter], "spacing": 24})


def _counts(name: str, pick: str, chosen: dict, width: int) -> Spec:
    axis = {"x": {"field": name, "type": "ordinal", "title": name.replace("_", " "), "axis": {"labelAngle": 0,
                  "labelOverlap": True}},
            "y": {"aggregate": "count", "title": None, "axis": {"tickCount": 3}}}  # fmt: skip
    return {
        "width": width, "height": 80,
        "layer": [
            {"params": [{"name": pick, "select": {"type": "point", "encodings": ["x"]}}],
             "mark": {"type": "bar", "color": OTHER, "opacity": 0.5, "cursor": "pointer"}, "encoding": axis},
            {"transform": [{"filter": chosen}], "mark": {"type": "bar", "color": FRONT}, "encoding": axis},
        ],
    }  # fmt: skip


def bars(
    value: str, category: str, width: int, colour: str = "", title: str = "", low: str = "", high: str = ""
) -> Spec:  # fmt: skip
    """A bar for each category, the longest first; with `colour` in parts; with `low` and `high` a line for the band."""
    y = {"field": category, "type": "nominal", "sort": "-x", "title": None, "axis": {"labelLimit": 150}}
    x: dict[str, Any] = {"field": value, "type": "quantitative", "title": title or value.replace("_", " "),
                         "axis": {"format": "~s", "labelOverlap": True}}  # fmt: skip
    bar: dict[str, Any] = {"mark": {"type": "bar", "tooltip": True}, "encoding": {"y": y, "x": x}}
    if colour:
        bar["encoding"]["color"] = {"field": colour, "type": "nominal", "title": None, "legend": {
            "orient": "bottom", "columns": 4 if width > NARROW else 2}, "sort": None, "scale": {"scheme": "tableau20"}}
    else:
        bar["mark"]["color"] = "#4c78a8"
    layers = [bar]
    if low:
        layers.append({"mark": {"type": "rule", "strokeWidth": 2},
                       "encoding": {"y": y, "x": {"field": low, "type": "quantitative"}, "x2": {"field": high}}})
    return _spec({"width": width - 170 if width > NARROW else width - 110, "layer": layers})


def heat(x: str, y: str, value: str, width: int, title: str) -> Spec:
    """A rectangle for each pair, the darker the more."""
    return _spec({
        "width": width - 110 if width > NARROW else width - 70, "height": 190,
        "mark": {"type": "rect", "tooltip": True},
        "encoding": {
            "x": {"field": x, "type": "ordinal", "title": title, "axis": {"labels": False, "ticks": False}},
            "y": {"field": y, "type": "nominal", "title": None, "sort": None},
            "color": {"field": value, "type": "quantitative", "title": value, "scale": {"scheme": "blues",
                      "domain": [0, 1]}, "legend": {"format": ".0%", "orient": "top"}},
        },
    })  # fmt: skip


def roofline(roofs: Sequence[dict[str, float]], width: int) -> Spec:
    """Operators under two roofs, both axes logarithmic."""
    x, y = "macs_per_byte", "macs_per_cycle"
    return _spec({
        "width": width - 60, "height": 320 if width > NARROW else 240,
        "layer": [
            {"data": {"values": list(roofs)}, "mark": {"type": "line", "color": OTHER, "strokeWidth": 2.5},
             "encoding": {"x": _log(x), "y": _log(y)}},
            {"mark": {"type": "point", "filled": True, "tooltip": True},
             "encoding": {"x": _log(x), "y": _log(y),
                          "size": {"field": "share", "type": "quantitative", "legend": None,
                                   "scale": {"range": [30, 420]}},
                          "color": {"condition": {"test": "datum.operator === 'whole run'", "value": FRONT},
                                    "value": "#4c78a8"},
                          "tooltip": [{"field": each} for each in ("operator", "share", x, y)]}},
        ],
    })  # fmt: skip


def _log(name: str) -> dict[str, Any]:
    return {"field": name, "type": "quantitative", "title": name.replace("_", " "),
            "scale": {"type": "log", "nice": False, "padding": 12},
            "axis": {"format": "~s", "tickCount": 6, "labelOverlap": True}}  # fmt: skip


def _spec(content: Spec) -> Spec:
    return {"data": DATA, **content}
