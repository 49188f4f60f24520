"""The curves of a study before a script draws them: switches, sliders, and a place for each."""

from typing import Any

from collapse_jax.report.page.markup import Markup, join, tag

_SHOWN = 6  # metrics at first


def curves_of(number: int, numbers: dict[str, Any]) -> Markup:
    """Switches and panels of a study; `numbers` is what `numbers_of` returned."""
    curves = [
        _switch("curve", i, curve["label"], True) for i, curve in enumerate(numbers["curves"])
    ]
    metrics = [
        _switch("metric", i, metric["name"], i < _SHOWN)
        for i, metric in enumerate(numbers["metrics"])
    ]
    every = [c for cell in numbers["cells"] for run in cell for c in run["of"].values()]
    has_theory = any("theory" in curve for curve in every)
    has_chains = any("chains" in curve for curve in every)
    views = [
        _switch("view", "band", "10 to 90 % of chains", True),
        *([_switch("view", "theory", "theory (broken)", True)] if has_theory else []),
        *([_switch("view", "chains", "single chains", False)] if has_chains else []),
        _switch("view", "logX", "logarithmic generations", numbers["logX"]),
        _choice("Values", "scale", ("automatic", "linear", "logarithmic")),
        _choice("Lines", "centre", ("automatic", "mean", "median")),
    ]
    sliders = [_slider(i, axis) for i, axis in enumerate(numbers["axes"])]
    groups = [_group("Curves", curves), _group("Metrics", metrics), _group("Show", views)]
    if sliders:
        groups.insert(0, _group("Settings", sliders))
    panels = [_panel(number, i, metric, i < _SHOWN) for i, metric in enumerate(numbers["metrics"])]
    note = tag("noscript", tag("p", "Curves need JavaScript; all that follows does not."))
    return join(note, tag("form", *groups, class_="controls"), tag("div", *panels, class_="panels"))


def _group(name: str, parts: list[Markup]) -> Markup:
    return tag("fieldset", tag("legend", name), *parts)


def _switch(kind: str, value: Any, label: str, on: bool) -> Markup:
    box = tag("input", type="checkbox", data_kind=kind, value=value, checked=on, autocomplete="off")
    swatch = tag("span", class_="swatch", aria_hidden="true") if kind == "curve" else ""
    return tag("label", box, swatch, tag("span", label))


def _choice(label: str, kind: str, names: tuple[str, ...]) -> Markup:
    options = [tag("option", name) for name in names]
    return tag("label", f"{label} ", tag("select", *options, data_kind=kind, autocomplete="off"))


def _slider(number: int, axis: dict[str, Any]) -> Markup:
    first = str(axis["values"][0])
    bar = tag(
        "input",
        type="range",
        min=0,
        max=len(axis["values"]) - 1,
        step=1,
        value=0,
        data_kind="axis",
        data_axis=number,
        aria_valuetext=first,
        autocomplete="off",
    )
    return tag("label", f"{axis['name']} = ", tag("output", first), bar)


def _panel(study: int, number: int, metric: dict[str, Any], shown: bool) -> Markup:
    units = "" if metric["units"] == "1" else f" [{metric['units']}]"
    values = tag("details", tag("summary", "Values"), tag("div", class_="values"))
    caption = tag("figcaption", tag("strong", metric["name"]), f" {metric['label']}{units}")
    plot = tag("div", class_="plot", id=f"plot-{study}-{number}")
    return tag("figure", caption, plot, values, data_metric=number, hidden=not shown)
