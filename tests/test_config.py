"""Configurations are exact: written down and read back, or refused where they would be saved."""

import functools
import json
import math
import sys
from typing import Any

import jaxtyping
import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.records.config import check_exact, describe, rebuild, remake
from collapse_jax.run import compiled


@pytest.fixture(autouse=True)
def _without_run_time_types(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def rising(t):
    return 10 + t


class Tilted(cj.Categorical):
    """Keeps its argument under another name."""

    weight: float

    def __init__(self, tilt=0.0):
        self.weight = tilt
        super().__init__(3, 9)


class Doubled(cj.Categorical):
    """Keeps something else under its argument's name."""

    tilt: float

    def __init__(self, tilt=0.0):
        self.tilt = 2 * tilt
        super().__init__(3, 9)


class Halved(cj.Categorical):
    """Keeps its arguments, and something that does not follow from what it kept."""

    first: float
    second: float
    hidden: float

    def __init__(self, first=0.0, second=0.0):
        self.first, self.hidden, self.second = first, second, 1.0
        super().__init__(3, 9)


class Kept(cj.Categorical):
    """Keeps its arguments, and hands the others on."""

    tilt: Any

    def __init__(self, tilt=0.0, **others):
        self.tilt = tilt
        super().__init__(3, **others)


class Loop(cj.Workflow):
    """A user's class of workflows."""


def simulate(workflow=None, task=None, **options):
    return cj.simulate(
        cj.Replace() if workflow is None else workflow,
        cj.Categorical(3, 9) if task is None else task,
        4,
        2,
        metrics=["entropy"],
        progress=False,
        **options,
    )


LOOPS = [
    cj.Replace(),
    cj.Accumulate(),
    cj.AccumulateSubsample(),
    cj.Workflow(cj.Real(every=True, n=np.array([30, 40, 50, 60]), keep=None)),
    cj.Workflow(cj.Real(every=True, n=range(5, 9)), cj.Synthetic(n=rising)),
    cj.Workflow(synthetic=cj.Synthetic(of=cj.Past(3, equally=True), temperature=0.9, keep=4)),
    cj.Workflow(synthetic=cj.Synthetic(of=cj.Mixed([0.1, 0.2, 0.3, 0.4]))),
    cj.Workflow(cj.Real(keep=None), fit=cj.Fit(20, True, real_weight=0.5)),
    Loop(cj.Real(every=True)),
]


@pytest.mark.parametrize("workflow", LOOPS, ids=range(len(LOOPS)))
def test_workflows_are_read_back(workflow):
    written = json.loads(json.dumps(describe(workflow)))
    again = rebuild(written)
    assert again == workflow
    assert describe(again) == written
    check_exact(written)


def test_workflows_are_written_down_alike_and_in_short():
    assert describe(cj.Workflow()) == {"type": "Replace"}
    assert describe(Loop()) == {"type": "Replace"}
    assert describe(cj.Workflow(cj.Real(keep=None))) == {"type": "Workflow", "real": {"keep": None}}
    written = [json.dumps(describe(workflow)) for workflow in LOOPS]
    assert len(set(written)) == len(LOOPS)
    lists = [
        describe(cj.Workflow(cj.Real(every=True, n=n)))
        for n in ([3, 4], (3, 4), np.array([3, 4]), range(3, 5))
    ]
    assert all(one == lists[0] for one in lists)


def test_a_function_without_a_path_runs_again_but_is_not_saved(tmp_path, monkeypatch):
    workflow = cj.Workflow(cj.Real(every=True, n=lambda t: 10 + t))
    ds = simulate(workflow)
    assert json.loads(ds.attrs["config"])["workflow"]["real"]["n"] == [11, 12, 13, 14]
    assert cj.rerun(ds, progress=False)[1]["entropy"].largest == 0.0
    monkeypatch.setattr(compiled, "start", None)
    for function in (lambda t: 10 + t, functools.partial(rising)):
        with pytest.raises(ValueError, match=r"checkpoint cannot keep .*: real\.n is .* imported"):
            simulate(cj.Workflow(cj.Real(every=True, n=function)), checkpoint=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_function_with_a_path_is_recognised(tmp_path, monkeypatch):
    workflow = cj.Workflow(cj.Real(every=True, n=rising))
    simulate(workflow, checkpoint=tmp_path / "a")
    simulate(workflow, checkpoint=tmp_path / "a")
    written = describe(workflow)
    assert written["real"]["n"]["function"] == f"{__name__}:rising"

    def edited(t):
        return 20 + t

    edited.__module__, edited.__qualname__ = __name__, "rising"
    monkeypatch.setattr(sys.modules[__name__], "rising", edited)
    with pytest.raises(ValueError, match="rising must be the function of the run"):
        rebuild(written)
    with pytest.raises(ValueError, match="checkpoint must be of this run"):
        simulate(cj.Workflow(cj.Real(every=True, n=edited)), checkpoint=tmp_path / "a")
    monkeypatch.delitem(sys.modules, __name__)
    with pytest.raises(ValueError, match=r"rising must be imported first: write `import"):
        rebuild(written)


def test_other_numbers_of_generations_are_not_mistaken(tmp_path):
    simulate(cj.Workflow(cj.Real(keep=1)), checkpoint=tmp_path / "a")
    for other in (cj.Real(keep=None), cj.Real(keep=2)):
        with pytest.raises(ValueError, match="checkpoint must be of this run"):
            simulate(cj.Workflow(other), checkpoint=tmp_path / "a")
    simulate(cj.Workflow(cj.Real(keep=None)), checkpoint=tmp_path / "b")
    with pytest.raises(ValueError, match=r"real\.keep is None there and not given here"):
        simulate(cj.Workflow(fit=cj.Fit(n=5)), checkpoint=tmp_path / "b")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Tilted(0.0), "Tilted does not keep its argument 'tilt'; keep the argument as an"),
        (Doubled(1.0), "Doubled keeps something else than its argument 'tilt'"),
        (Halved(1.0, 2.0), "Halved is not the same when it is made again from the arguments"),
        (Kept(object()), "the argument 'tilt' of Kept is .* which cannot be written down"),
        (Kept({1: 2}), "the argument 'tilt' of Kept is .* which cannot be written down"),
        (Kept(lambda x: x), "the argument 'tilt' of Kept is .* which cannot be written down"),
    ],
)
def test_a_task_that_does_not_keep_its_arguments_is_not_saved(task, message, tmp_path):
    with pytest.raises(ValueError, match=f"checkpoint cannot keep this run apart.*{message}"):
        simulate(task=task, checkpoint=tmp_path / "a")
    assert not (tmp_path / "a").exists()
    ds = simulate(task=task)
    assert ds.attrs["task"] == type(task).__name__
    with pytest.raises(ValueError, match=f"cannot be made again: .*{message}"):
        cj.rerun(ds, progress=False)
    if isinstance(task, Kept):
        with pytest.raises(ValueError, match=f"task must be a function .*{message}"):
            cj.sweep(cj.Replace(), task, {"n_samples": [3]}, 2, 2)


def test_a_class_of_a_function_is_not_saved(tmp_path):
    class Local(cj.Categorical):
        pass

    with pytest.raises(ValueError, match="Local is a class that cannot be imported again"):
        simulate(task=Local(3), checkpoint=tmp_path / "a")


VALUES = [0.5, 3, True, None, "a", (1, 2), [1, 2], {"a": [1, (2,)]}, np.arange(3.0), math.sqrt]


@pytest.mark.parametrize("value", VALUES, ids=map(str, VALUES))
def test_a_task_that_keeps_its_arguments_runs_again(value, tmp_path):
    task = Kept(value, n_samples=7)
    written = json.loads(json.dumps(describe(task)))
    assert written["type"] == f"{__name__}:Kept"
    again = rebuild(written)
    assert type(again) is Kept
    assert type(again.tilt) is type(value)
    np.testing.assert_equal(again.tilt, value)
    assert again.n_samples == 7
    check_exact(written)
    assert remake(task, n_samples=8).tilt is value


def test_arguments_that_others_imply_go_with_these():
    """The probabilities of ten equal outcomes are no setting of their own."""
    assert remake(cj.Categorical(10, 50), n_outcomes=5).probabilities.tolist() == [0.2] * 5
    assert remake(cj.Categorical(10, 50), n_outcomes=5).n_samples == 50
    assert remake(cj.Categorical(2, 50), probabilities=[0.1, 0.2, 0.7]).n_outcomes == 3
    with pytest.raises(ValueError, match="n_outcomes must be 2 as the others imply, got 5"):
        remake(cj.Categorical(probabilities=[0.2, 0.8]), n_outcomes=5)


def test_other_arguments_are_another_run(tmp_path):
    simulate(task=Kept(0.0), checkpoint=tmp_path / "a")
    simulate(task=Kept(0.0), checkpoint=tmp_path / "a")
    for other in (100.0, None, {}, [0.0]):
        with pytest.raises(ValueError, match="checkpoint must be of this run"):
            simulate(task=Kept(other), checkpoint=tmp_path / "a")
    simulate(task=Kept({}), checkpoint=tmp_path / "b")
    with pytest.raises(ValueError, match="checkpoint must be of this run"):
        simulate(task=Kept({"a": {}}), checkpoint=tmp_path / "b")


def test_classes_of_strangers_are_not_imported(monkeypatch):
    ds = simulate(task=Kept(0.5))
    assert cj.rerun(ds, progress=False)[1]["entropy"].largest == 0.0
    monkeypatch.delitem(sys.modules, __name__)
    with pytest.raises(ValueError, match="Kept must be imported first: write `import"):
        cj.rerun(ds, progress=False)


def test_large_arrays_are_told_apart(tmp_path):
    large = np.zeros(20_000)
    simulate(task=Kept(large), checkpoint=tmp_path / "a")
    with pytest.raises(ValueError, match="checkpoint must be of this run"):
        simulate(task=Kept(large + 1.0), checkpoint=tmp_path / "a")
    with pytest.raises(ValueError, match="used a large array, which is not kept"):
        rebuild(describe(Kept(large)))


def test_old_configurations_are_read():
    for name in ("Replace", "Accumulate", "AccumulateSubsample"):
        assert rebuild({"type": name}) == getattr(cj, name)()
    old = {"type": "Categorical", "n_outcomes": 2, "n_samples": 5, "probabilities": [0.5, 0.5]}
    assert describe(rebuild({**old, "data": None})) == {**old, "data": None}
