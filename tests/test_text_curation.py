"""Curation on the host: the operators of rows, with rules in Python, against exact laws."""

import os
import signal
from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import numpy as np
import pytest
import xarray as xr
from statistics_helpers import assert_mean

import collapse_jax as cj
from collapse_jax.loop.curation.operators import AbstractOperator
from collapse_jax.records.midway import Midway
from collapse_jax.run import programs
from collapse_jax.run.monitor import TooFewRows
from collapse_jax.tasks.base import Acceptance
from collapse_jax.theory import curation as theory

P = np.array([0.4, 0.3, 0.2, 0.1])
WORDS = ["", "a", "bb", "ccc"]


class Written(cj.Categorical):
    """Outcomes that are judged as words, on the host; word 0 is never acceptable."""

    words: Any = (*WORDS,)
    runner: ClassVar[Any] = "staged"
    takes_temperature: ClassVar[bool] = False

    def __init__(self, n_samples=100):
        super().__init__(probabilities=P, n_samples=n_samples)

    keeps_rows: ClassVar[Any] = True

    def additive(self, grows):
        return False

    def laws(self, plan):
        return super().laws(plan)._replace(real=False, synthetic=False)

    def each(self, function, world, rows):
        return np.array([function(self.words[i]) for i in np.asarray(rows).tolist()], np.float32)

    @property
    def acceptance(self):
        def accept(rows):
            places = np.flatnonzero(rows)
            return rows[places], places

        return Acceptance(accept, 64, 20, "words", "Write more")


def length(word):
    """A reward, which is no function of JAX."""
    return 0.5 * len(word)


def is_long(word):
    return len(word) > 1


def is_odd(word):
    return len(word) % 2 == 1


def never(word):
    return word == "dddd"


calls: list[str] = []


def sometimes_wrong(word):
    """A reward that is wrong only once a run has begun, after 64 tries."""
    calls.append(word)
    return np.inf if len(calls) > 100 else 1.0


def wrong(word):
    return np.nan if word == "bb" else 1.0


def run(curation, generations=2, seeds: Any = 20, n=400, **options):
    loop = cj.Workflow(cj.Real(), cj.Synthetic(curation=curation))
    made = []
    task = Written(n)
    ds = cj.simulate(loop, task, generations, seeds, progress=False, observe=made.append, **options)
    rows = [np.asarray(generation.rows)[: len(ds.seed)] for generation in made]
    return ds, [np.stack([(r == i).mean(axis=1) for i in range(4)], axis=1) for r in rows]


def candidates(shares):
    """The law of the acceptable words of models of these frequencies."""
    p = shares * (np.arange(4) > 0)
    return p / p.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("k", [3, pytest.param(1, marks=pytest.mark.thorough)])
def test_the_best_of_k_texts_follow_the_exact_law(k):
    """Word by word: what is taken of model 2, whose frequencies are known, and how many it took."""
    ds, shares = run(cj.BestOf(length, k))
    rewards = [length(word) for word in WORDS]
    law = np.array([theory.best_of(p, rewards, k) for p in candidates(shares[0])])
    assert_mean(shares[1] - law, np.zeros(4))
    assert_mean(ds.mean_reward.values[:, 1] - law @ rewards, 0.0)
    assert_mean(ds.acceptance_rate.values[:, 0], 0.6 / k, rounding=0.02)
    # Model 2 has no word 0, since none was taken before.
    np.testing.assert_allclose(ds.acceptance_rate.values[:, 1], 1 / k, rtol=1e-6)


def turning(word, *, generation):
    return (1.2 - 0.8 * generation) * len(word)


def test_rewards_of_texts_drift():
    ds, shares = run(cj.BestOf(turning, 3))
    rewards = np.array([turning(word, generation=2) for word in WORDS])
    law = np.array([theory.best_of(p, rewards, 3) for p in candidates(shares[0])])
    assert_mean(shares[1] - law, np.zeros(4))
    assert_mean(ds.mean_reward.values[:, 1] - law @ rewards, 0.0)


def kind(word):
    return [len(word) == i for i in range(4)]


def test_detectors_of_texts_are_trained():
    """Long words are liked; a detector then prefers those that the model has become short of."""
    shares = run((cj.BestOf(length, 3), cj.BestOf(cj.Detector(kind), 3)), 1, 3, 1000)[1]
    p = candidates(P[None])[0]
    liked = theory.best_of(p, [length(word) for word in WORDS], 3)
    odds = np.log(P / np.where(liked > 0, liked, 1.0))
    law = theory.best_of(liked, odds, 3)
    np.testing.assert_allclose(shares[0].mean(axis=0), law, atol=0.04)
    assert np.abs(law - liked).max() > 0.06
    with pytest.raises(ValueError, match="must be a Detector with features="):
        run(cj.BestOf(cj.Detector(), 3), 1, 1, 10)


def test_rules_come_before_rewards():
    """Rejection, and then the best of two, against conditional probabilities."""
    ds, shares = run((cj.Accept(is_odd), cj.BestOf(length, 2)), seeds=10)
    odd = candidates(shares[0]) * [0, 1, 0, 1]
    total = odd.sum(axis=1)
    rewards = [length(word) for word in WORDS]
    law = np.array([theory.best_of(p / p.sum(), rewards, 2) for p in odd])
    assert_mean(shares[1] - law, np.zeros(4))
    assert_mean(ds.acceptance_rate.values[:, 1] / (total / 2), 1.0, rounding=0.02)


@pytest.mark.thorough
def test_scores_take_what_they_say():
    shares = run(cj.Filter(length, 0.25), seeds=20)[1]
    best = candidates(np.tile(P, (20, 1)))
    assert np.all(shares[0][:, 3] > 0.4)  # the longest words are a sixth, and all of them taken
    np.testing.assert_allclose(shares[0][:, 3].mean(), best[0, 3] * 4, rtol=0.05)
    shares = run(cj.Threshold(length, 1.0), seeds=20)[1]
    assert np.all(shares[0][:, :2] == 0.0)
    assert_mean(shares[0][:, 3], best[0, 3] / best[0, 2:].sum(), rounding=0.02)


@pytest.mark.thorough
def test_a_chain_is_a_matter_of_its_seed_and_can_be_made_again():
    curation = (cj.Accept(is_long), cj.BestOf(length, 2))
    together = run(curation, 3, [3, 5, 8], 50)[0]
    alone = run(curation, 3, [5], 50)[0]
    for name in alone:
        np.testing.assert_allclose(alone[name], together.sel(seed=[5])[name], rtol=1e-6)


@pytest.mark.thorough
def test_ctrl_c_among_candidates_saves_them(tmp_path, monkeypatch):
    run_stage, drawn = programs.run, []

    def interrupting(stage, *arguments):
        drawn.extend([stage] * (stage is programs.SAMPLE))
        if "checkpoint" in options and stage is programs.SAMPLE and len(drawn) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return run_stage(stage, *arguments)

    options: dict[str, Any] = {}
    monkeypatch.setattr(programs, "run", interrupting)
    whole, n_drawn = run(cj.BestOf(length, 4), 2, [3, 5])[0], len(drawn)
    drawn.clear()
    options |= {"checkpoint": tmp_path / "chains", "checkpoint_seconds": 0.0}
    with pytest.raises(KeyboardInterrupt):
        run(cj.BestOf(length, 4), 2, [3, 5], **options)
    assert [path.name for path in tmp_path.glob("chains/midway-*/*")] == ["documents"]
    assert len(drawn) == 5  # of which one is that of the shapes
    resumed = run(cj.BestOf(length, 4), 2, [3, 5], **options)[0]
    xr.testing.assert_allclose(resumed, whole, rtol=1e-6)
    assert len(drawn) == n_drawn + 1  # none is drawn again, but that of the shapes
    with pytest.raises(ValueError, match="is of another"):
        run(cj.BestOf(is_long, 4), 2, [3, 5], **options)


class Killed(BaseException):
    """What nobody catches, as little as they would a kill."""


@pytest.mark.parametrize("kill", [True, pytest.param(False, marks=pytest.mark.thorough)])
def test_candidates_beyond_those_planned_are_drawn_anew(kill, tmp_path, monkeypatch):
    """A kill among them loses time only, and Ctrl-C waits until the generation is done."""
    run_stage, drawn = programs.run, []

    def interrupting(stage, *arguments):
        drawn.extend([stage] * (stage is programs.SAMPLE))
        if stage is programs.SAMPLE and len(drawn) == stop:
            (saved,) = tmp_path.glob("chains/midway-*/documents/1-*")
            assert 8 < int(saved.name.removeprefix("1-")) < stop - 2
            if kill:
                raise Killed
            os.kill(os.getpid(), signal.SIGINT)
        return run_stage(stage, *arguments)

    stop = 0
    options: dict[str, Any] = {"seeds": [3, 5], "n": 200}
    curation = (cj.Accept(is_odd), cj.BestOf(length, 2))
    monkeypatch.setattr(programs, "run", interrupting)
    monkeypatch.setattr(Midway, "due", lambda self: True)
    whole, rows = run(curation, 2, **options)
    n_drawn, stop = len(drawn), 15
    drawn.clear()
    options |= {"checkpoint": tmp_path / "chains", "checkpoint_seconds": 0.0}
    with pytest.raises(Killed if kill else KeyboardInterrupt):
        run(curation, 2, **options)
    lost, stop = len(drawn), 0
    resumed, again = run(curation, 2, **options)
    xr.testing.assert_equal(resumed, whole)
    np.testing.assert_array_equal(again[-1], rows[-1])
    assert len(drawn) - lost < n_drawn  # those that were planned are there
    assert (len(drawn) > n_drawn + 1) == kill


class Answered(Written):
    """Answers to prompts: a row is the number of its prompt and an outcome."""

    refused: Any = eqx.field(static=True, default=0)
    """Outcomes below this one are not acceptable."""

    def __init__(self, n_samples, refused):
        super().__init__(n_samples)
        self.refused = refused

    @property
    def acceptance(self):
        def accept(rows):
            places = np.flatnonzero(rows % 4 >= self.refused)
            return rows[places], places

        return Acceptance(accept, 64, 20, "words", "Write more", self.n_samples)

    def sample_part(self, world, model, key, part, places, temperature):
        own = jax.random.fold_in(key, part)
        words = self.sample(world, model, own, len(places), temperature=None)
        return places % self.n_samples * 4 + words

    def each(self, function, world, rows):
        rows = np.asarray(rows).tolist()
        return np.array([function(f"{i // 4} {i % 4}") for i in rows], np.float32)


judged: list[str] = []


def greatest(text):
    """A reward that takes the largest outcome, and remembers which texts it was asked for."""
    judged.append(text)
    return 50.0 * int(text.split()[1])


def is_even(text):
    return int(text.split()[1]) % 2 == 0


@pytest.mark.parametrize(
    ("before", "k", "refused", "n"),
    [
        ((), 4, 1, 30),
        *(
            pytest.param(*case, marks=pytest.mark.thorough)
            for case in (
                ((), 4, 0, 30),
                ((), 4, 0, 60),
                ((), 3, 0, 7),
                ((cj.Accept(is_even),), 3, 0, 30),
                ((cj.Filter(greatest, 0.5),), 2, 0, 30),
                ((cj.BestOf(greatest, 2),), 3, 1, 30),
            )
        ),
    ],
)
def test_the_best_is_that_of_answers_to_one_prompt(before, k, refused, n):
    """Each row is the best of the k that were judged together, and prompts are answered equally."""
    made: list[Any] = []
    loop = cj.Workflow(cj.Real(), cj.Synthetic(n=n, curation=(*before, cj.BestOf(greatest, k))))
    judged.clear()
    task, show = Answered(30, refused), made.append
    ds = cj.simulate(loop, task, 1, [5], progress=False, observe=show, metrics=["acceptance_rate"])
    rows = np.asarray(made[0].rows[0])[:n]
    texts = [text.split() for text in judged[-n * (k + 1) : -n]]  # then those that are kept
    groups = np.array(texts, int).reshape(n, k, 2)
    assert (groups[..., 0] == groups[:, :1, 0]).all()
    np.testing.assert_array_equal(rows, 4 * groups[:, 0, 0] + groups[..., 1].max(axis=1))
    counts = np.bincount(rows // 4, minlength=30)
    assert counts.sum() == n
    if before or refused:  # some prompts have fewer answers that are acceptable
        assert (counts > 0).sum() > 20
        assert ds.acceptance_rate < 1 / k
    else:
        assert counts.max() - counts.min() <= 1
        assert ds.acceptance_rate == pytest.approx(1 / k)


@pytest.mark.parametrize("answers", [False, True])
def test_each_candidate_is_looked_at_once(answers):
    """A rule takes what a plain loop takes of the words that a run without one has in a row."""
    made = []
    task, rule = (Answered(130, 0), is_even) if answers else (Written(100), is_odd)
    for synthetic in (cj.Synthetic(n=400), cj.Synthetic(n=100, curation=cj.Accept(rule))):
        loop = cj.Workflow(cj.Real(), synthetic)
        cj.simulate(loop, task, 1, [3], observe=made.append, progress=False)
    stream, taken = (np.asarray(generation.rows[0]) for generation in made)
    np.testing.assert_array_equal(taken[:100], stream[stream % 2 == (0 if answers else 1)][:100])


def outcome(text):
    """A feature, which remembers the texts too."""
    judged.append(text)
    return [int(text.split()[1])]


def test_detectors_learn_from_an_answer_to_each_prompt():
    """And what they judge are then answers to one prompt each, of which none is wasted."""
    judged.clear()
    loop = cj.Workflow(cj.Real(), cj.Synthetic(curation=cj.BestOf(cj.Detector(outcome), 4)))
    options: dict[str, Any] = {"progress": False, "metrics": ["acceptance_rate"]}
    ds = cj.simulate(loop, Answered(30, 0), 1, [5], **options)
    prompts = [int(text.split()[0]) for text in judged[-30 * (1 + 4 + 1) : -30]]
    assert prompts == [*range(30), *np.repeat(range(30), 4)]
    assert ds.acceptance_rate == pytest.approx(1 / 4)


@dataclass(frozen=True)
class Every(AbstractOperator):
    """Every second candidate: an operator of the user's, of candidates alone."""

    def curate(self, draw, judge, key, n):
        made = draw(key, 2 * n)
        return made._replace(rows=made.rows[::2])

    def value(self, judge, rows):
        return judge.of(length, rows)


@pytest.mark.thorough
def test_operators_of_the_user_serve_texts_too():
    ds, shares = run(Every(), 1, 10, 100)
    assert_mean(shares[0], candidates(P[None])[0])
    assert np.all(ds.acceptance_rate < 0.5)


def test_curations_that_take_next_to_nothing_are_given_up():
    with pytest.raises(TooFewRows, match=r"take one in 20 of the words.*Accept took fewer.*seed 0"):
        run(cj.Accept(never), 1, 1, 30)
    with pytest.raises(ValueError, match=r"BestOf found others"):
        run(cj.BestOf(sometimes_wrong), 1, 1, 100, metrics=["entropy"])


@pytest.mark.parametrize(
    ("curation", "message"),
    [
        (cj.BestOf(lambda word: "good"), "BestOf.reward must return a finite number.*'good'"),
        (cj.BestOf(lambda word: word.nothing), "BestOf.reward must be a function of a text, and f"),
        (cj.Accept(wrong), "Accept.rule must return a finite number, or True.*nan for 'bb'"),
        (cj.Verify(1.0, 0.0), "no Verify"),
        (cj.Nearest(0.5), "no Nearest.*whose rows are no points"),
    ],
)
def test_refused(curation, message):
    with pytest.raises(ValueError, match=message):
        run(curation, 1, 1, 10)
