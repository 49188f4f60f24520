"""What the curves of a page are drawn from: few enough numbers, as JSON can hold them."""

from typing import Any

import numpy as np

from collapse_jax.analysis.runs import Run
from collapse_jax.report.axes import (
    Curve,
    colours_of,
    curve_of,
    rare_chains_carry_a_mean,
    wants_logarithm,
)
from collapse_jax.report.page.studies import Study

_NUMBERS = 120_000  # of all curves of a study
_OF_CHAINS = 40_000  # of all its single chains
_CHAINS = 20  # single chains of a curve
_FEWEST, _MOST = 12, 200  # generations of a curve
_LOG_X_FROM = 20


def numbers_of(study: Study, quantiles: tuple[float, float]) -> dict[str, Any]:
    """All that a script needs to draw a study.

    Non-finite numbers are the strings "nan", "inf" and "-inf"; others have seven digits.
    """
    n = sum(len(study.metrics) for cell in study.cells for _ in cell.runs) or 1
    points = int(np.clip(_NUMBERS // (6 * n), _FEWEST, _MOST))
    chains = min(_CHAINS, _OF_CHAINS // (points * n))
    first = study.cells[0].runs
    metrics = []
    for name in study.metrics:
        runs = [run for cell in study.cells for run in cell.runs if name in run.ds]
        attributes = runs[0].ds[name].attrs
        curves = [curve_of(run, "", name, quantiles) for run in runs]
        metrics.append(
            {
                "name": name,
                "label": str(attributes.get("long_name", name)),
                "units": str(attributes.get("units", "1")).replace("^2", "²"),
                "median": rare_chains_carry_a_mean(curves),
                "log": wants_logarithm([curve.line for curve in curves]),
            }
        )
    return {
        "axes": [{"name": name, "values": list(v)} for name, v in study.axes.items()],
        "curves": [
            {"label": run.label, "colour": colour}
            for run, colour in zip(first, colours_of(first), strict=True)
        ],
        "metrics": metrics,
        "logX": max(run.ds.sizes["generation"] for run in first) >= _LOG_X_FROM,
        "cells": [
            [_run(run, study.metrics, quantiles, points, chains) for run in cell.runs]
            for cell in study.cells
        ],
    }


def _run(
    run: Run, names: list[str], quantiles: tuple[float, float], points: int, chains: int
) -> dict[str, Any]:
    shown = kept(run.ds.sizes["generation"], points)
    curves = {
        name: _curve(name, curve_of(run, "", name, quantiles), shown, chains)
        for name in names
        if name in run.ds
    }
    return {
        "generation": run.ds["generation"].values[shown].tolist(),
        "seeds": run.ds["seed"].values[:chains].tolist(),
        "of": curves,
    }


def _curve(name: str, curve: Curve, shown: np.ndarray, chains: int) -> dict[str, Any]:
    parts = "mean", "median", "low", "high"
    found: dict[str, Any] = {part: plain(getattr(curve, part)[shown]) for part in parts}
    if curve.kind:
        found |= {"theory": plain(curve.theory[shown]), "kind": curve.kind}
    if chains:
        values = curve.run.ds[name].transpose("seed", "generation").values
        found["chains"] = [plain(chain[shown]) for chain in values[:chains]]
    return found


def kept(n: int, most: int) -> np.ndarray:
    """Places of the generations that are shown: all, or some of them evenly on either scale.

    Example:
        >>> kept(5, 12).tolist(), len(kept(10_000, 200)) <= 200
        ([0, 1, 2, 3, 4], True)
    """
    if n <= most:
        return np.arange(n)
    spread = [np.linspace(0, n - 1, most // 2), np.geomspace(1, n, most // 2) - 1]
    return np.unique(np.round(np.concatenate(spread)).astype(int))


def plain(values: np.ndarray) -> list[Any]:
    """Numbers of seven digits, others as strings."""
    return [float(f"{x:.7g}") if np.isfinite(x) else str(x) for x in values.tolist()]
