"""Long work that a file asks for does not begin by itself."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.cli import consent
from collapse_jax.cli.options import values
from collapse_jax.cli.study import forecasts, runs
from collapse_jax.language.model.training import Optimizer
from collapse_jax.run import compiled
from collapse_jax.run.before import prepared
from collapse_jax.run.before.prepared import prepare

STUDY = """
runs:
- {name: a, workflow: replace, task: {name: categorical, n_outcomes: 3, n_samples: 9},
   n_generations: %d, seeds: %d, metrics: [entropy]}
"""
SWEEP = """
workflows: [replace, accumulate]
task: {name: categorical, n_outcomes: 3}
over: {n_samples: [9, 12]}
n_generations: %d
seeds: %d
metrics: [entropy]
out: x.nc
"""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def never(*_, **__):
    raise AssertionError("something was run")


@pytest.fixture(scope="module")
def ds():
    return cj.simulate(
        cj.Replace(), cj.Categorical(3, 9), 1, 2, metrics=["entropy"], progress=False
    )


def files_of(n_generations, seeds, ds):
    """The command for a study, a sweep, and one generation of a dataset."""
    Path("study.yaml").write_text(STUDY % (n_generations, seeds))
    Path("sweep.yaml").write_text(SWEEP % (n_generations, seeds))
    config = {**json.loads(ds.attrs["config"]), "n_generations": n_generations}
    ds = ds.assign_coords(generation=[n_generations]).assign_attrs(config=json.dumps(config))
    ds.to_netcdf("run.nc", engine="h5netcdf")
    return "run study.yaml", "sweep sweep.yaml", "rerun run.nc"


def test_files_of_many_generations_are_asked_for(command, ds, monkeypatch):
    """Nothing has been run, compiled or written where nobody agrees."""
    commands = files_of(2**26, 1, ds)
    with monkeypatch.context() as patch:
        patch.setattr(forecasts, "measure", never)
        patch.setattr(prepared, "prepare", never)
        patch.setattr(runs, "prepare", never)
        for words in commands:
            code, _, said = command(words)
            assert code == 2
            wrong = "n_generations must be at most 10,000,000 without --yes, got 67,108,864"
            assert wrong in said
            assert len(said.splitlines()) <= 2
    assert not Path("x.nc").exists()
    assert not Path("study").exists()
    monkeypatch.setattr(values, "MOST_GENERATIONS", 2)
    monkeypatch.setattr(compiled, "start", never)
    for words in files_of(3, 1, ds):  # they begin where someone does
        with pytest.raises(AssertionError, match="something was run"):
            command(f"{words} --yes")


@pytest.mark.parametrize(("answer", "begins"), [("y\n", True), ("n\n", False), ("", False)])
def test_terminals_are_asked(answer, begins, monkeypatch):
    cell = prepare(cj.Replace(), cj.Categorical(3, 9), 20, 2)
    monkeypatch.setattr(consent, "reason_to_ask", lambda _: "this takes long")
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    if begins:
        consent.ask_before_long([[cell]], yes=False)
    else:
        with pytest.raises(ValueError, match="this takes long; --yes runs it, and nothing"):
            consent.ask_before_long([[cell]], yes=False)
    assert "Run it? [y/N]" in shown.getvalue()


def test_an_hour_by_measured_costs_is_asked_for(monkeypatch):
    """All cells are as dear as the mean of the first and the last of their loop."""
    cells = [
        prepare(cj.Replace(), cj.Categorical(3, n), 10**4, 10**4, metrics=["entropy"])
        for n in (9, 12, 15)
    ]
    costs = dict(zip(cells, [(1.0, 1.0), never, (2.0, 2.0)], strict=True))
    monkeypatch.setattr(forecasts, "measure", costs.get)
    batches = [forecasts.batches(cell) for cell in cells]
    whole = 3.0 + sum(batches) * 1e4 * 1.5
    assert forecasts.seconds_of(cells) == pytest.approx(whole)
    assert not consent.reason_to_ask([cells])  # as there is clearly not much to do
    monkeypatch.setattr(consent, "_CLEARLY_SHORT", 0.0)
    for limit, asked in ((0.99 * whole, True), (1.01 * whole, False)):
        monkeypatch.setattr(consent, "LONGEST", limit)
        assert bool(consent.reason_to_ask([cells])) == asked
    monkeypatch.setattr(consent, "LONGEST", 3600.0)
    with pytest.raises(ValueError, match=r"this takes about [\d.]+ h, more than 60 min"):
        consent.ask_before_long([cells], yes=False)
    consent.ask_before_long([cells], yes=True)


def test_steps_of_training_are_counted(monkeypatch):
    """Those of language models grow with what has accumulated; there is no estimate of a time."""
    monkeypatch.setattr(forecasts, "measure", never)
    task = cj.Flow("moons", n_samples=50, n_test=20, steps=7)
    cell = prepare(cj.Replace(), task, 5, 3)
    steps = 7 * 5 * forecasts.batches(cell)
    monkeypatch.setattr(consent, "MOST_STEPS", steps - 1)
    assert f"{steps} steps of training" in consent.reason_to_ask([[cell]])
    monkeypatch.setattr(consent, "MOST_STEPS", steps)
    assert not consent.reason_to_ask([[cell]])
    rows = np.arange(1, 6) * 8
    model = cj.LanguageModel(
        cj.corpus.Grammar(), n_samples=8, n_test=4, optimizer=Optimizer(batch_size=4, epochs=2)
    )
    cell = prepare(cj.Accumulate(), model, 5, 1)
    assert consent._steps(cell) == 2 * sum(rows // 4)
