"""Pins: the same numbers, bit by bit, and programs no costlier, than those in pins.json.

A change that is meant to alter them is followed by `python tests/make_pins.py`.
"""

import json
import os
import sys
import warnings
from functools import partial
from typing import Any

import jax
import make_pins
import numpy as np
import pytest
from make_pins import CASES, COST_TASKS, COST_WORKFLOWS, TASKS, WORKFLOWS, Values

from collapse_jax.numerics import keys
from collapse_jax.numerics.keys import Role

PINS = json.loads(make_pins.FILE.read_text())
REWRITE = "if that is meant, run python tests/make_pins.py"

# Other processors, backends and versions of XLA add in another order and fuse other products.
# Without fused products (SSE4.2, optimisation level 3) the seven cases tried differ by up to 6e-6,
# relative to the greatest value of a variable, since some are differences of near numbers.
ROUNDING = 1e-4


def same_backend() -> bool:
    """Whether numbers are rounded as they were when the pins were made."""
    return make_pins.provenance() == PINS["provenance"]


def test_pins_are_not_loosened_by_flags_alone(monkeypatch):
    """They were, unseen, when the same flags of these tests were written in another order."""
    here, there = make_pins.provenance(), PINS["provenance"]
    elsewhere = any(here.get(name) != there[name] for name in there if name != "xla_flags")
    assert elsewhere or same_backend()
    monkeypatch.setenv("XLA_FLAGS", " ".join(reversed(os.environ["XLA_FLAGS"].split())))
    assert make_pins.provenance() == here


def mismatches(found: Values, golden: Values, exact: bool) -> list[str]:
    """Names of the variables that differ, or that only one of the two has."""

    def agree(a: np.ndarray, b: np.ndarray) -> bool:
        if exact or a.shape != b.shape:
            return a.shape == b.shape and a.tobytes() == b.tobytes()
        scale = np.max(np.abs(b), initial=0.0, where=np.isfinite(b))
        return np.allclose(a, b, rtol=0.0, atol=ROUNDING * scale, equal_nan=True)

    both = found.keys() & golden.keys()
    differ = [name for name in both if not agree(found[name], golden[name])]
    return sorted([*differ, *(found.keys() ^ golden.keys())])


def _marked(task: str, workflow: str) -> Any:
    """One loop of each task is enough for every day, now this one and now that."""
    own = [*WORKFLOWS][[*TASKS].index(task) % len(WORKFLOWS)] if task in TASKS else "Replace"
    return pytest.param(task, workflow, marks=[pytest.mark.thorough] if workflow != own else [])


@pytest.mark.parametrize(("task", "workflow"), [_marked(*case) for case in CASES])
def test_values_are_pinned(task, workflow):
    exact = same_backend()
    found = make_pins.values(task, workflow)
    golden = make_pins.pinned_values(PINS, task, workflow)
    wrong = mismatches(found, golden, exact)
    how = "exactly" if exact else f"up to {ROUNDING}, as {make_pins.provenance()} rounds otherwise"
    shown = {name: (found.get(name), golden.get(name)) for name in wrong}
    assert not wrong, f"compared {how}; found and pinned: {shown}; {REWRITE}"


def test_every_pin_is_compared():
    variables = {key.rpartition(" | ")[0] for key in PINS["values"]}
    assert variables == {f"{task} | {workflow}" for task, workflow in CASES}
    costs = {f"{task} | {workflow}" for task in COST_TASKS for workflow in COST_WORKFLOWS}
    assert set(PINS["costs"]) == costs


def test_comparison_sees_one_bit_and_allows_rounding():
    golden = {"a": np.array([[1.0, -0.3, np.nan, np.inf]], np.float32), "b": np.ones((1, 2))}
    rounded = {**golden, "a": np.nextafter(golden["a"], np.float32(np.inf))}
    assert mismatches(golden, golden, True) == mismatches(rounded, golden, False) == []
    assert mismatches(rounded, golden, True) == ["a"]
    assert mismatches({**golden, "a": golden["a"] * 1.001}, golden, False) == ["a"]
    assert mismatches({"a": golden["a"], "c": golden["b"]}, golden, False) == ["b", "c"]
    assert mismatches({**golden, "b": np.ones((1, 3))}, golden, False) == ["b"]
    strange = np.array([[0.1, -0.0, np.nan, -np.inf, 1e-45, 3e38]], np.float32)
    assert make_pins.decode(make_pins.encode(strange)).tobytes() == strange.tobytes()


def _replace_everywhere(patch: pytest.MonkeyPatch, name: str, other: Any) -> None:
    """Replace a function of the module of keyed randomness wherever it has been imported."""
    original = getattr(keys, name)
    for module in list(sys.modules.values()):
        if module.__name__.startswith("collapse_jax") and vars(module).get(name) is original:
            patch.setattr(module, name, other)


def _other_stride(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(keys, "_ROLES_PER_GENERATION", keys._ROLES_PER_GENERATION + 1)


def _swapped_roles(first: Role, second: Role, patch: pytest.MonkeyPatch) -> None:
    swapped, stream = {first: second, second: first}, keys.stream
    _replace_everywhere(
        patch, "stream", lambda key, t, role: stream(key, t, swapped.get(role, role))
    )


def _other_seeds(patch: pytest.MonkeyPatch) -> None:
    chain_key = keys.chain_key
    _replace_everywhere(patch, "chain_key", lambda seed: chain_key(seed ^ 1))


def _swap(first: Role, second: Role, *marks: Any) -> Any:
    change = partial(_swapped_roles, first, second)
    return pytest.param(change, id=f"{first.name}-{second.name}", marks=marks)


CHANGES = [
    pytest.param(_other_seeds, id="seed"),
    _swap(Role.WORLD, Role.REAL),
    _swap(Role.SAMPLE, Role.SELECT),
]
KINDS = ["Gaussian d=1", "LinearRegression fixed", "Categorical labels", "KernelDensity scott"]


@pytest.fixture
def patch():
    """Changes to the source, with no program that was compiled before them, or with them after."""
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    jax.clear_caches()


def _assert_seen(task: str) -> None:
    golden = make_pins.pinned_values(PINS, task, "Replace")
    found = make_pins.values(task, "Replace")
    assert mismatches(found, golden, exact=True)
    assert mismatches(found, golden, exact=False)


@pytest.mark.parametrize("task", KINDS)
def test_pins_see_another_stride(task, patch):
    _other_stride(patch)
    _assert_seen(task)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "task", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.thorough) for kind in KINDS[1:])]
)
def test_pins_see_other_random_numbers(task, change, patch):
    change(patch)
    _assert_seen(task)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_other_stride, id="stride"),
        _swap(Role.INITIALISE, Role.FIT, pytest.mark.thorough),
    ],
)
def test_pins_see_other_random_numbers_of_language_models(change, patch):
    change(patch)
    _assert_seen("LanguageModel")


# Of the figures. XLA of another version fuses otherwise.
DEARER, CHEAPER, OTHER_VERSION = 0.02, 0.1, 0.25


def dearer(found: dict[str, int], pinned: dict[str, int], allowance: float) -> list[str]:
    """The figures that are above the pinned ones by more than this share."""
    return [name for name in pinned if found[name] > (1.0 + allowance) * pinned[name]]


@pytest.mark.filterwarnings("default:costs fell")
@pytest.mark.parametrize("workflow", COST_WORKFLOWS)
@pytest.mark.parametrize("task", COST_TASKS)
def test_costs_are_pinned(task, workflow):
    found, pinned = make_pins.costs(task, workflow), PINS["costs"][f"{task} | {workflow}"]
    same_version = make_pins.provenance()["jaxlib"] == PINS["provenance"]["jaxlib"]
    more = dearer(found, pinned, DEARER if same_version else OTHER_VERSION)
    assert not more, f"{more} rose: found {found}, pinned {pinned}; {REWRITE}"
    less = [name for name in pinned if found[name] < (1.0 - CHEAPER) * pinned[name]]
    if less:
        warnings.warn(
            f"costs fell, {less}: found {found}, pinned {pinned}; {REWRITE}", stacklevel=1
        )
