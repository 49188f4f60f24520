"""Fits whose steps learn from one stream of rows and then from the other."""

from dataclasses import replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import collapse_jax as cj
from collapse_jax.loop.captions import caption
from collapse_jax.loop.settings import changed
from collapse_jax.records.loops import describe_workflow, rebuild_workflow
from collapse_jax.report.plans import words_of

_RNG = np.random.default_rng(0)
_X = {"real": _RNG.normal(size=(12, 2)), "synthetic": _RNG.normal(size=(18, 2)) * [1.0, 2.0]}
_Y = {"real": _X["real"] @ [1.0, -1.0], "synthetic": _X["synthetic"] @ [-2.0, 3.0] + 1.0}
_RATE, _STEPS = 0.05, 30


class Line(cj.AbstractTrained):
    """Two weights by stochastic gradient steps; only which rows a step sees is random."""

    n_samples: int = 12
    steps: int = _STEPS
    batch_size: int = 4
    variables: ClassVar[dict[str, cj.Variable]] = {
        "first": cj.Variable("weight", "1"),
        "second": cj.Variable("weight", "1"),
    }

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optax.sgd(_RATE)

    def parameters(self, key: Any) -> Any:
        return jnp.zeros(2)

    def loss(self, world: Any, model: Any, rows: Any, key: Any) -> Any:
        x, y = rows
        return 0.5 * jnp.mean((x @ model - y) ** 2)

    def real(self, world: Any, key: Any, n: int, **_: Any) -> Any:
        return self._rows("real", n)

    def sample(self, world: Any, model: Any, key: Any, n: int, **_: Any) -> Any:
        return self._rows("synthetic", n)

    def _rows(self, stream: str, n: int) -> Any:
        return tuple(
            jnp.resize(jnp.asarray(part[stream], jnp.float32), (n, *part[stream].shape[1:]))
            for part in (_X, _Y)
        )

    def measure(self, world: Any, model: Any) -> Any:
        return {"first": model[0], "second": model[1]}


def expected(start: Any, parts: list[tuple[str, int]]) -> Any:
    """Mean weights: a gradient step is linear, and its batch is a fair one of the stream's rows.

    After tau steps on one stream these are w_s + (I - rate H)^tau (w_0 - w_s) with the stream's
    second moments H and best weights w_s (arXiv 2308.04553 as a linear model has it).
    """
    for stream, steps in parts:
        streams = ("real", "synthetic") if stream == "all" else (stream,)
        x = np.concatenate([_X[name] for name in streams])
        y = np.concatenate([_Y[name] for name in streams])
        best = np.linalg.lstsq(x, y, rcond=None)[0]
        keep = np.linalg.matrix_power(np.eye(2) - _RATE * x.T @ x / len(x), steps)
        start = best + keep @ (start - best)
    return start


@pytest.mark.parametrize(
    ("phases", "parts"),
    [
        (("synthetic", "real"), [("synthetic", 15), ("real", 15)]),
        (("real", "synthetic"), [("real", 15), ("synthetic", 15)]),
        ((), [("all", 30)]),
        (("all", "all", "real", "synthetic"), [("all", 15), ("real", 8), ("synthetic", 7)]),
    ],
)
def test_mean_weights_are_those_of_gradient_descent(phases: Any, parts: Any) -> None:
    loop = cj.Workflow(cj.Real(keep=None), cj.Synthetic(n=18), cj.Fit(phases=phases))
    ds = cj.simulate(loop, Line(), n_generations=2, seeds=2000, progress=False)
    rows = np.stack([ds["first"], ds["second"]], axis=-1)
    error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    right = np.stack([expected(np.zeros(2), [("real", _STEPS)]), expected(np.zeros(2), parts)])
    assert np.all(np.abs(rows.mean(axis=0) - right) < 5.0 * error + 1e-6)
    others = expected(np.zeros(2), [(stream, _STEPS) for stream, _ in parts[:1]])
    assert len(parts) == 1 or np.any(np.abs(rows.mean(axis=0)[1] - others) > 20.0 * error[1])


def test_both_runners_and_windows_agree() -> None:
    real, synthetic = cj.Real(every=True, keep=2), cj.Synthetic(n=18, keep=3)
    loop = cj.Workflow(real, synthetic, cj.Fit(phases=("synthetic", "real"), warm_start=True))
    runs = [
        cj.simulate(loop, Line(), n_generations=4, seeds=3, runner=runner, progress=False)
        for runner in ("compiled", "staged")
    ]
    np.testing.assert_allclose(runs[0]["first"], runs[1]["first"], rtol=1e-5)
    mean = expected(expected(np.zeros(2), [("real", _STEPS)]), [("synthetic", 15), ("real", 15)])
    assert np.all(np.abs(runs[0]["first"][:, 1] - mean[0]) < 0.5)


def test_words() -> None:
    loop = cj.Workflow(
        cj.Real(keep=None), fit=cj.Fit(phases=["synthetic", "synthetic", "synthetic", "real"])
    )
    assert caption(loop) == "real.keep=None, fit.phases=[3 synthetic, real]"
    assert rebuild_workflow(describe_workflow(loop, None)) == loop
    assert changed(loop, {"fit.phases": "real"}) == replace(loop, fit=cj.Fit(phases=("real",)))
    words = words_of(loop, loop.plan(3, 10))[-1]
    assert words.endswith("learn from generated rows (3/4), then from real rows (1/4).")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cj.Fit(phases=("reel",)), "fit.phases must be one of .* did you mean 'real'"),
        (lambda: cj.Fit(n=3, phases=("real",)), "fit.phases must be .* where rows are drawn"),
        (lambda: cj.Workflow(fit=cj.Fit(phases=("real",))), "no real row is left"),
        (
            lambda: cj.simulate(
                cj.Workflow(cj.Real(keep=None), fit=cj.Fit(phases=("real",))),
                cj.Gaussian(),
                2,
                seeds=2,
            ),
            "fit.phases must be .* Gaussian",
        ),
    ],
)
def test_bad_input(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
