"""Seeds whose training goes wrong, while the others of their run go on."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.cli.simulation import _with_samples
from collapse_jax.language.model.training import Optimizer, TrainState
from collapse_jax.language.samples import SampleWriter
from collapse_jax.language.saved_models import ModelWriter
from collapse_jax.loop.curation.checks import check_choices
from collapse_jax.run import staged
from collapse_jax.run.monitor import Diverged
from collapse_jax.run.on_host.lost import Lost
from collapse_jax.run.staged import Generation

SEEDS = [0, 1, 2, 3, 4, 5]


class Spoiled(cj.LanguageModel):
    """One whose training goes wrong at times, which the seed and the generation decide."""

    def learn(self, world, data, state, steps):
        state = super().learn(world, data, state, steps)
        wrong = jax.random.bits(data.key, dtype=jnp.uint32) % 7 == 0
        return state._replace(
            params=jax.tree.map(lambda p: jnp.where(wrong, jnp.nan, p), state.params)
        )


def task(cls):
    return cls(
        cj.corpus.Grammar(n_names=2, n_nouns=2),
        16,
        n_test=8,
        sample_batch=16,
        max_attempts=1000,
        optimizer=Optimizer(1e-2, batch_size=8, epochs=4),
    )


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:training must stay finite")
def test_the_other_seeds_go_on_and_it_is_known_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    names = ["test_loss", "train_loss", "acceptance_rate", "distinct_documents", "distinct_1"]
    plain = cj.simulate(cj.Replace(), task(cj.LanguageModel), 3, SEEDS, metrics=names)
    spoiled = task(Spoiled)

    def simulate(**options):
        return cj.simulate(cj.Replace(), spoiled, 3, SEEDS, metrics=names, **options)

    with pytest.warns(UserWarning, match=r"in generation \d that of seed .* seeds go on") as told:
        ds = simulate()
    gone = np.isnan(ds.test_loss.values)
    assert gone.any()
    assert not gone.all(axis=1).all()
    assert not gone.all(axis=0).any()
    assert np.all(gone[:, 1:] >= gone[:, :-1])  # whoever is lost stays lost
    for name in names:
        np.testing.assert_array_equal(np.isnan(ds[name]), gone)
        np.testing.assert_array_equal(ds[name].values[~gone], plain[name].values[~gone])
    said = " ".join(str(warning.message) for warning in told)
    for row, seed in enumerate(SEEDS):
        if gone[row].any():
            assert str(seed) in said
    last = int(np.argmax(gone[:, :].any(axis=0))) + 1  # in which the first one is lost

    def stop(made):
        if made.generation == last + (last < 3):
            raise KeyboardInterrupt

    folder = tmp_path / "run"
    with pytest.warns(UserWarning, match="go on"), pytest.raises(KeyboardInterrupt):
        simulate(checkpoint=folder, checkpoint_seconds=0, observe=stop)
    assert list(folder.glob(".lost-*.json"))
    again = simulate(checkpoint=folder)
    for name in names:
        np.testing.assert_array_equal(again[name], ds[name])


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:training must stay finite")
def test_who_is_lost_alone_in_a_batch_of_a_curated_run_ends_nothing(tmp_path, monkeypatch):
    """Seeds that are shared run alone; of those that are lost, nothing is written."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    spoiled = task(Spoiled)
    loop = cj.Workflow(synthetic=cj.Synthetic(curation=cj.BestOf(len, k=2)))
    writers = [
        ModelWriter(tmp_path / "models", spoiled),
        SampleWriter(tmp_path / "documents", spoiled.tokenizer),
    ]

    def simulate(seeds):
        return cj.simulate(
            *(loop, spoiled, 2, seeds),
            metrics=["test_loss", "distinct_1"],
            observe=lambda made: [write(made) for write in writers],
            share=True,
            checkpoint=tmp_path / "run",
        )

    ds = simulate([0, 1])
    gone = np.isnan(ds.test_loss.values)
    assert gone.tolist() == [[False, False], [True, True]]
    np.testing.assert_array_equal(np.isnan(ds.distinct_1.values), gone)
    assert [*cj.models(tmp_path / "models")] == [0]
    assert {path.name[:7] for path in (tmp_path / "documents").iterdir()} == {"seed-0-"}
    with pytest.raises(Diverged, match=r"no seed of this run did: .* seed 1 in generation 1;"):
        simulate([1])


def test_single_seeds_are_noted_whoever_runs_beside_them(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    lost = Lost()
    chains = SimpleNamespace(task=task(cj.LanguageModel), seeds=np.array([7, 4, 9, 9]))

    def check(t, nats):
        params = {"a": np.ones((4, 3), np.float32)}
        state = TrainState(params, None, None, jnp.asarray(nats), jnp.ones(4))
        staged._check_finite(chains, state, t, 0, 32, lost=lost)

    with pytest.warns(UserWarning, match="generation 2 that of seed 4 did not.*other seeds go on"):
        check(2, [1.0, np.nan, 1.0, 1.0])
    assert lost.generations == {4: 2}
    check(2, [1.0, np.nan, 1.0, 1.0])  # said once
    check(3, [1.0, np.nan, 1.0, 1.0])
    lost.check(chains.seeds, 4, 3, together=False)
    with pytest.warns(UserWarning, match=r"generation 3 that of seed 7, 9 did not"):
        check(3, [np.nan, 1.0, np.nan, np.nan])
    lost.check(chains.seeds, 4, 2, together=False)
    with pytest.raises(Diverged, match="seed 7 in generation 3, 4 in generation 2, 9 in gen"):
        lost.check(chains.seeds, 4, 3, together=False)


def test_a_batch_of_which_nobody_is_left_has_no_metrics_of_texts(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    chains = SimpleNamespace(task=task(cj.LanguageModel), names=("distinct_1",))
    found = staged._of_texts(chains, ("documents",), np.array([True, True]))
    np.testing.assert_array_equal(found["distinct_1"], [np.nan, np.nan])


def test_a_curation_is_not_blamed_for_a_lost_seed():
    rate, reward = np.array([[0.5, 0.5], [0.5, np.nan]]), np.array([[1.0, 1.0], [1.0, np.nan]])
    metrics, about = {"acceptance_rate": rate, "mean_reward": reward}, (np.array([3, 4]), 2)
    check_choices(metrics, *about, (cj.BestOf(len, k=2),))
    rate[1, 1] = 0.5
    with pytest.raises(ValueError, match="among the rows of model 2 of the chain of seed 4"):
        check_choices(metrics, *about, (cj.BestOf(len, k=2),))


def test_observers_are_told_who_is_lost():
    seeds = np.array([5, 3, 3])
    assert Generation(1, seeds, None, None).left.tolist() == [0, 1, 2]
    lost = np.array([True, False, False])
    assert Generation(1, seeds, None, None, None, lost).left.tolist() == [1, 2]


def test_what_is_lost_is_read_again_and_damage_is_noticed(tmp_path):
    Lost(tmp_path).note([3, 5], 2)
    Lost(tmp_path).note([4], 6)  # another process, which knows nothing of the first
    again = Lost(tmp_path)
    again.read()
    assert again.generations == {3: 2, 5: 2, 4: 6}
    np.testing.assert_array_equal(again.at(np.array([3, 4, 9]), 5), [True, False, False])
    np.testing.assert_array_equal(again.at(np.array([3, 4, 9]), 1), [False, False, False])
    path = tmp_path / ".lost-4.json"
    path.write_text(path.read_text().replace("6", "7", 1))
    with pytest.raises(ValueError, match=r"checkpoint has a damaged .*\.lost-4\.json"):
        Lost(tmp_path).read()


def test_a_run_without_the_documents_of_all_generations_is_written_all_the_same(tmp_path):
    ds = cj.simulate(cj.Replace(), cj.Gaussian(), 2, 1, progress=False)
    with pytest.warns(UserWarning, match="no samples: folder must hold .* lacks"):
        assert _with_samples(ds, {"samples": str(tmp_path)}) is ds


TOGETHER = """
import sys
sys.path.insert(0, sys.argv[1])
import collapse_jax as cj
from tests.language.test_lost_seeds import Spoiled, task  # as they are called here
from collapse_jax.machines import hosts
from collapse_jax.run.monitor import Diverged
address, process, folder = sys.argv[2:]
hosts.connect(address, 2, int(process))
call = cj.Replace(), task(Spoiled)
ds = cj.simulate(*call, 2, [0, 1], metrics=["test_loss"], checkpoint=folder, progress=False)
print("told:", ds.test_loss.values.tolist())
try:
    cj.simulate(*call, 1, [1, 5], metrics=["test_loss"], progress=False)
except Diverged as error:
    print("told:", error)
"""


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:training must stay finite")
def test_several_processes_know_of_the_seeds_that_each_has_lost(tmp_path, monkeypatch):
    """Also where one of them has lost all of its own; and the run goes on in one process."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        TOGETHER,
        str(Path(__file__).parents[2]),
        address,
    ]
    both = [
        subprocess.Popen(
            [*command, str(process), tmp_path / "run"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in (0, 1)
    ]
    told = [process.communicate(timeout=1000) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    said = [[s[6:] for s in out.splitlines() if s.startswith("told: ")] for out, _ in told]
    found, ends = zip(*said, strict=True)
    assert found[0] == found[1]
    assert [path.name for path in (tmp_path / "run").glob(".lost-*")] == [".lost-1.json"]
    for seed, end in zip((1, 5), ends, strict=True):  # each says what it knows of its own
        assert f"that of no seed of this run did: it went wrong for seed {seed} in gen" in end

    def simulate(**options):
        call = cj.Replace(), task(Spoiled), 3, [0, 1]
        return cj.simulate(*call, metrics=["test_loss"], **options).test_loss.values

    alone = simulate()
    assert np.isnan(alone).tolist() == [[False] * 3, [True] * 3]
    pair = np.array(json.loads(found[0].replace("nan", "NaN")), np.float32)
    np.testing.assert_allclose(pair, alone[:, :2], rtol=1e-5)
    again = simulate(checkpoint=tmp_path / "run")
    np.testing.assert_array_equal(again[:, :2], pair)
    np.testing.assert_allclose(again, alone, rtol=1e-5)
