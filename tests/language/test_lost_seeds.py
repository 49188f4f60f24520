"""Seeds whose training goes wrong, while the others of their run go on."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.language.model.training import Optimizer, TrainState
from collapse_jax.records.midway import Midway
from collapse_jax.run import staged
from collapse_jax.run.monitor import Diverged
from collapse_jax.run.on_host.lost import Lost

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
    assert (folder / ".lost.json").exists()
    again = simulate(checkpoint=folder)
    for name in names:
        np.testing.assert_array_equal(again[name], ds[name])


def test_single_seeds_are_noted_and_none_is_left_out_where_all_go_wrong(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    lost = Lost()
    chains = SimpleNamespace(task=task(cj.LanguageModel), seeds=np.array([7, 4, 9, 9]))

    def check(t, nats):
        params = {"a": np.ones((4, 3), np.float32)}
        state = TrainState(params, None, None, jnp.asarray(nats), jnp.ones(4))
        staged._check_finite(chains, state, t, 0, 32, lost=lost)

    with pytest.warns(UserWarning, match="generation 2 that of seed 4 did not.*other 2 of these"):
        check(2, [1.0, np.nan, 1.0, 1.0])
    assert lost.generations == {4: 2}
    check(2, [1.0, np.nan, 1.0, 1.0])  # said once
    check(3, [1.0, np.nan, 1.0, 1.0])
    with pytest.raises(Diverged, match=r"generation 3 that of seed 7, 9 did not.*may help$"):
        check(3, [np.nan, 1.0, np.nan, np.nan])


def test_what_is_lost_is_read_again_and_damage_is_noticed(tmp_path):
    midway, lost = Midway(tmp_path, 0.0), Lost()
    lost.note([3, 5], 2, midway)
    lost.note([4], 6, midway)
    again = Lost()
    again.read(midway)
    assert again.generations == {3: 2, 5: 2, 4: 6}
    np.testing.assert_array_equal(again.at(np.array([3, 4, 9]), 5), [True, False, False])
    np.testing.assert_array_equal(again.at(np.array([3, 4, 9]), 1), [False, False, False])
    path = tmp_path / ".lost.json"
    path.write_text(path.read_text().replace("6", "7", 1))
    with pytest.raises(ValueError, match=r"checkpoint has a damaged .*\.lost\.json"):
        Lost().read(midway)
