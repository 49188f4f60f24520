"""Values that are worked out where somebody asks for them."""

import jax
import jax.numpy as jnp
import pytest

import collapse_jax as cj
from collapse_jax.basics.deferred import Deferred


def never():
    raise AssertionError("nobody asked for this")


def test_only_what_is_asked_for_is_worked_out():
    found = Deferred({"a": 1}, b=never, c=lambda: 3)
    assert (found["a"], found["c"], len(found), [*found]) == (1, 3, 3, ["a", "b", "c"])
    assert "b" in found
    assert "d" not in found
    with pytest.raises(KeyError):
        found["d"]
    with pytest.raises(AssertionError, match="nobody"):
        dict(found)


def test_the_later_of_two_of_a_name_holds_as_in_dictionaries():
    found = Deferred({"a": 1}, b=never)
    assert {**(found | {"b": 2})} == {"a": 1, "b": 2}
    assert {**({"a": 0, "b": never} | found | Deferred({}, b=lambda: 4))} == {"a": 1, "b": 4}
    assert [*({"c": 3} | found)] == ["c", "a", "b"]
    assert {**(Deferred({}) | {"values": 1, "self": 2})} == {"values": 1, "self": 2}


def test_values_may_be_set_and_taken_out_as_in_dictionaries():
    found = Deferred({"a": 1}, b=never, c=never)
    other = found.copy()
    found["b"] = 2
    found.update(d=4)
    del found["c"]
    assert {**found} == {"a": 1, "b": 2, "d": 4}
    assert [*other] == ["a", "b", "c"]


def test_to_jax_it_is_all_of_its_values():
    def f(x):
        return Deferred({"a": x}, b=lambda: 2.0 * x)

    found = jax.jit(jax.vmap(f))(jnp.arange(3.0))
    assert found["b"].tolist() == [0.0, 2.0, 4.0]
    assert {**jax.eval_shape(f, 1.0)}.keys() == {"a", "b"}
    other_order = Deferred({"b": 0.0}, a=lambda: 1.0)
    assert jax.tree.map(jnp.add, f(1.0), other_order)["a"] == 2.0


class Counting(cj.Gaussian):
    """One that says what is traced of its metrics, beside its own."""

    def _nll(self, model):
        traced.append("nll")
        return super()._nll(model)

    def measure(self, world, model):
        return super().measure(world, model) | {"trace_ratio": jnp.zeros(())}


traced = []


@pytest.mark.parametrize("runner", [None, "staged"])
def test_metrics_that_nobody_asks_for_are_not_even_traced(runner):
    traced.clear()
    options = {"runner": runner, "progress": False}
    cj.simulate(cj.Replace(), Counting(2, 9), 2, 2, metrics=["log_det_ratio"], **options)
    assert traced == []
    ds = cj.simulate(cj.Replace(), Counting(2, 9), 2, 2, metrics=["nll", "trace_ratio"], **options)
    assert traced
    ours = cj.simulate(cj.Replace(), cj.Gaussian(2, 9), 2, 2, metrics=["nll"], **options)
    assert ds.nll.values.tolist() == ours.nll.values.tolist()
    assert not ds.trace_ratio.values.any()
