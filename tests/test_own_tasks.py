"""What methods of a task of one's own must return, and how a slip is told."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jaxtyping
import pytest

import collapse_jax as cj
from collapse_jax.run import compiled


class Laplace(cj.AbstractTask):
    """Laplace rows around zero."""

    n_samples: int = 9
    variables: ClassVar[Any] = {"squared_error": cj.Variable("of the scale", "1")}

    def real(self, world, key, n, **_):
        return jax.random.laplace(key, (n,))

    def fit(self, world, data):
        return jnp.sum(data.weight * jnp.abs(data.rows)) / jnp.sum(data.weight)

    def sample(self, world, model, key, n, **_):
        return model * jax.random.laplace(key, (n,))

    def measure(self, world, model):
        return {"squared_error": (model - 1.0) ** 2}


def returning(value):
    return lambda self, *_, **__: value


MISTAKES = {
    "real of a Slip must return the n = 9 rows .* got float32.7.": {"real": returning(jnp.ones(7))},
    "sample of a Slip must return the n = 9 rows .* got float32.7, 9": {
        "sample": returning(jnp.ones((7, 9)))
    },
    r"real of a Slip .* got float32\[\]": {"real": returning(jnp.ones(()))},
    r"real of a Slip .* got \(\)": {"real": returning(())},
    r"like those of real, float32\[n\], got float32\[n, 1\]": {
        "sample": returning(jnp.ones((9, 1)))
    },
    r"got int32\[n\]": {"sample": returning(jnp.ones(9, jnp.int32))},
    r"got \(float32\[n\],\)": {"sample": returning((jnp.ones(9),))},
    "each of its variables, and 'squared_error' is missing": {
        "measure": returning({"squared": jnp.ones(())})
    },
    "must be numbers, and 'squared_error' has the shape .3": {
        "measure": returning({"squared_error": jnp.ones(3)})
    },
    "variables of a Slip must say .* got .'squared_error': 'of the": {
        "variables": {"squared_error": "of the scale"}
    },
    "variables of a Slip must say .* got .'squared_error'.": {"variables": ["squared_error"]},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_slips_are_told_by_name(message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    slip = type("Slip", (Laplace,), MISTAKES[message])
    with pytest.raises((ValueError, TypeError), match=message):
        cj.simulate(cj.Accumulate(), slip(), 3, 2, progress=False)


WHEREVER = [message for message in MISTAKES if "n = 9 rows" in message or message[0] in "em"]


@pytest.mark.parametrize("message", WHEREVER)
@pytest.mark.parametrize("where", ["staged", "ecosystem"])
def test_slips_are_told_wherever_chains_run(message, where, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    slip = type("Slip", (Laplace,), MISTAKES[message])
    both = cj.Ecosystem(cj.Replace(), mixing=[[0.5, 0.5], [0.5, 0.5]])
    loop, runner = (cj.Replace(), "staged") if where == "staged" else (both, None)
    with pytest.raises(ValueError, match=message):
        cj.simulate(loop, slip(), 3, 2, runner=runner, progress=False)


def test_nothing_is_run_with_a_slip(monkeypatch):
    def never(*_):
        raise AssertionError("something was run")

    monkeypatch.setattr(compiled, "start", never)
    slip = type("Slip", (Laplace,), {"variables": None})
    with pytest.raises(TypeError, match="variables of a Slip must say"):
        cj.simulate(cj.Replace(), slip(), 3, 2, progress=False)
