"""Language models through `simulate`: stages, workflows, acceptance, checkpoints, the grid."""

import inspect
import io
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
import rich.console
import xarray as xr

import collapse_jax as cj
from collapse_jax.cli.options import language as options
from collapse_jax.language.corpora.encoding import decode_documents
from collapse_jax.language.model.architecture import preset
from collapse_jax.language.model.loss import evaluate
from collapse_jax.language.model.sampling import Sampling
from collapse_jax.language.model.training import Optimizer, TrainState
from collapse_jax.language.samples import SampleWriter
from collapse_jax.numerics.keys import Role, chain_key, stream
from collapse_jax.records.config import run_arguments
from collapse_jax.report.tables import summary
from collapse_jax.run import compiled, programs, staged
from collapse_jax.run.before.prepared import prepare
from collapse_jax.run.monitor import Diverged, TooFewRows

CHECKPOINT = Path(__file__).parent / "checkpoints" / "gpt2"
QUICK = Optimizer(1e-2, batch_size=8, epochs=2)
SMALL = cj.corpus.Grammar(n_names=2, n_nouns=2)
WORKFLOWS = [cj.Replace(), cj.Accumulate(), cj.AccumulateSubsample()]


def small(**options):
    options = {"n_samples": 16, "n_test": 8, "sample_batch": 16, "optimizer": QUICK} | options
    return cj.LanguageModel(options.pop("corpus", SMALL), **options)


def run(workflow, task, generations, seeds, **options):
    return cj.simulate(workflow, task, generations, seeds, progress=False, **options)


@pytest.fixture(scope="module")
def observed():
    """Three generations of each workflow, and what each has made."""
    found = {}
    for workflow in WORKFLOWS:
        made = []
        ds = run(workflow, small(), 3, [4, 2], observe=made.append)
        found[ds.attrs["workflow"]] = ds, made
    return found


@pytest.mark.thorough
def test_every_variable_is_there(observed):
    for name, (ds, made) in observed.items():
        usual = {*small().variables} - {*small().on_request}
        assert set(ds) == {"n_train", "real_fraction", *usual}
        assert not ds.to_array().isnull().any()
        sizes = {"Replace": [16, 16, 16], "Accumulate": [16, 32, 48]}.get(name, [16] * 3)
        np.testing.assert_array_equal(ds.n_train, [sizes, sizes])
        assert [m.generation for m in made] == [1, 2, 3]
    shares = observed["Accumulate"][0].real_fraction
    np.testing.assert_allclose(shares, np.tile([1, 1 / 2, 1 / 3], (2, 1)), rtol=1e-6)


@pytest.mark.thorough
def test_a_detector_of_given_skill_draws_documents():
    growing = cj.Real(keep=None), cj.Synthetic(keep=None)
    fits = (cj.Fit("batch", with_replacement=True, skill=skill) for skill in (0.0, 1.0))
    mixed, real = (run(cj.Workflow(*growing, fit), small(), 3, [4, 2]) for fit in fits)
    np.testing.assert_array_equal(real.real_fraction, 1.0)
    assert np.all(mixed.real_fraction[:, 2] < 0.8)
    np.testing.assert_array_equal(real.test_loss[:, 0], mixed.test_loss[:, 0])


@pytest.mark.thorough
def test_workflows_share_the_first_generation_and_its_documents(observed):
    replace, accumulate = observed["Replace"], observed["Accumulate"]
    for name in replace[0]:
        np.testing.assert_allclose(replace[0][name][:, 0], accumulate[0][name][:, 0], rtol=1e-5)
    np.testing.assert_array_equal(replace[1][0].documents.tokens, accumulate[1][0].documents.tokens)
    assert not np.allclose(replace[0].test_loss[:, 2], accumulate[0].test_loss[:, 2], rtol=1e-5)


@pytest.mark.thorough
def test_a_chain_is_a_matter_of_its_seed(observed):
    """Fewer generations, other company and one device more or less give the same chain."""
    alone = run(cj.Replace(), small(), 2, [2], devices=jax.devices()[:1])
    beside = observed["Replace"][0].sel(seed=[2], generation=[1, 2])
    for name in alone:
        np.testing.assert_allclose(alone[name], beside[name], rtol=1e-4, err_msg=name)


@pytest.mark.thorough
def test_metrics_are_those_of_the_models_and_documents(observed):
    ds, made = observed["Replace"]
    task = small()
    for generation in made:
        for chain, seed in enumerate(generation.seeds[:2]):
            here = ds.sel(seed=seed, generation=generation.generation)
            params = jax.tree.map(lambda p, chain=chain: p[chain], generation.params)
            world = task.world(
                stream(chain_key(jnp.uint32(seed)), 0, Role.WORLD), rows=True, index=None
            )
            loss = evaluate(task.graphdef, params, world.test, bos_id=0)
            np.testing.assert_allclose(here.test_loss, loss, rtol=1e-5)
            tokens = np.asarray(generation.documents.tokens[chain])
            lengths = np.asarray(generation.documents.lengths[chain])
            texts = decode_documents(tokens, lengths, task.tokenizer)
            malformed = np.mean([not SMALL.is_well_formed(text) for text in texts])
            np.testing.assert_allclose(here.malformed, malformed)
            assert here.distinct_documents == len(set(texts))
            real = decode_documents(*map(np.asarray, world.test), task.tokenizer)
            floor = -sum(map(SMALL.log_probability, real)) / np.sum(world.test.lengths)
            np.testing.assert_allclose(here.excess_loss, here.test_loss - floor, rtol=1e-4)


@pytest.mark.thorough
def test_the_second_generation_learns_from_the_first_ones_documents(observed):
    """Two losses of one model: its training documents against documents of nobody."""
    made = observed["Replace"][1]
    task = small()
    params = jax.tree.map(lambda p: p[0], made[1].params)
    own = jax.tree.map(lambda x: x[0], made[0].documents)
    shuffled = own._replace(tokens=own.tokens[:, ::-1])
    losses = [evaluate(task.graphdef, params, rows, bos_id=0) for rows in (own, shuffled)]
    assert losses[0] < losses[1]


@pytest.mark.thorough
def test_the_table_says_how_training_and_sampling_went(observed):
    ds = observed["Replace"][0]
    console = rich.console.Console(width=100, file=io.StringIO())
    console.print(summary(ds, theory=False))
    lines = console.file.getvalue().splitlines()
    for name in ("train_loss", "acceptance_rate", "distinct_documents"):
        line = next(line for line in lines if line.strip().startswith(name))
        shown = float(line.split()[1])  # the mean over seeds in the first generation
        np.testing.assert_allclose(shown, ds[name].mean("seed")[0], rtol=0.01)


def test_every_option_of_optimizer_and_sampling_is_on_the_command_line():
    names = {setting.name for setting in options.settings()}
    for cls in (Optimizer, Sampling):
        assert set(inspect.signature(cls).parameters) <= names
    task = options.make_task({"clip": 3.0, "schedule": "constant", "b2": 0.5, "top_p": 0.9})
    assert (task.optimizer.clip, task.optimizer.schedule, task.optimizer.b2) == (
        3.0,
        "constant",
        0.5,
    )
    assert (task.optimizer.epochs, task.optimizer.learning_rate) == (6, 1e-2)
    assert (task.sampling.top_p, task.sampling.temperature) == (0.9, 1.0)
    with pytest.raises(ValueError, match="bos must be given with a model or a tokenizer"):
        options.make_task({"bos": "<s>"})


@pytest.mark.thorough
def test_runs_can_be_made_again(observed, tmp_path):
    ds = observed["AccumulateSubsample"][0]
    ds.to_netcdf(tmp_path / "run.nc", engine="h5netcdf")
    arguments = run_arguments(xr.load_dataset(tmp_path / "run.nc", engine="h5netcdf"))
    assert json.loads(ds.attrs["config"])["task"]["corpus"]["n_nouns"] == 2
    again = cj.simulate(**arguments, progress=False)
    xr.testing.assert_allclose(ds, again, rtol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("start", ["base", "previous"])
def test_a_run_goes_on_where_it_stopped(start, tmp_path):
    """One generation, and then two in the same folder, are two from the beginning."""
    task = small(start=start)
    run(cj.Accumulate(), task, 1, [2], checkpoint=tmp_path / "chains")
    resumed = run(cj.Accumulate(), task, 2, [2], checkpoint=tmp_path / "chains")
    whole = run(cj.Accumulate(), task, 2, [2])
    xr.testing.assert_allclose(resumed, whole, rtol=1e-5)


@pytest.mark.thorough
def test_ctrl_c_within_a_generation_saves_it(tmp_path, monkeypatch):
    run_stage, fits = programs.run, []

    def interrupting(stage, *arguments):
        fits.extend([stage] * (stage is programs.LEARN))
        if stage is programs.LEARN and len(fits) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return run_stage(stage, *arguments)

    monkeypatch.setattr(programs, "run", interrupting)
    task, folder = small(), tmp_path / "chains"
    with pytest.raises(KeyboardInterrupt):
        run(cj.Replace(), task, 3, [2], checkpoint=folder, checkpoint_seconds=0.0)
    assert [path.name for path in folder.glob("midway-*/*")] == ["training"]
    resumed = run(cj.Replace(), task, 3, [2], checkpoint=folder)
    assert len(fits) == 3  # one for each generation: none is trained again
    xr.testing.assert_equal(resumed, run(cj.Replace(), task, 3, [2]))


@pytest.mark.thorough
def test_samples_are_written_for_people(observed, tmp_path):
    made = observed["Replace"][1][1]
    SampleWriter(tmp_path / "out", small().tokenizer)(made)
    file = tmp_path / "out" / "seed-4-generation-2.jsonl"
    texts = [json.loads(line)["text"] for line in file.read_text().splitlines()]
    tokens, lengths = (np.asarray(x)[0] for x in made.documents)
    assert texts == decode_documents(tokens, lengths, small().tokenizer)


@pytest.mark.thorough
def test_documents_of_a_chat_are_accepted_by_their_form():
    corpus = cj.corpus.Grammar(n_names=2, n_nouns=2, max_sentences=1, chat=True)
    optimizer = Optimizer(3e-2, batch_size=8, epochs=12)
    task = small(corpus=corpus, n_samples=32, optimizer=optimizer, max_attempts=200)
    made = []
    ds = run(cj.Replace(), task, 2, 1, observe=made.append)
    assert np.all(ds.acceptance_rate > 0.0)
    assert np.any(ds.acceptance_rate < 1.0)
    for generation in made:
        tokens, lengths = (np.asarray(x)[0] for x in generation.documents)
        assert len(tokens) == 32
        assert all(
            corpus.accepts(text) for text in decode_documents(tokens, lengths, task.tokenizer)
        )


def short(text):
    return len(text.split()) < 10


def brevity(text):
    return -len(text.split())


@pytest.mark.thorough
def test_curations_of_texts_take_what_a_plain_loop_takes_of_the_same_documents():
    """Those of model 1, which a run without a curation draws in the same order."""
    task, made = small(), []
    run(cj.Workflow(synthetic=cj.Synthetic(n=96)), task, 1, [4, 2], observe=made.append)

    def texts(generation, chain):
        return decode_documents(
            *(np.asarray(x)[chain] for x in generation.documents), task.tokenizer
        )

    for curation in (cj.Filter(brevity, 1 / 3), (cj.Accept(short), Every())):
        chosen = []
        loop = cj.Workflow(cj.Real(), cj.Synthetic(n=16, curation=curation))
        ds = run(loop, task, 1, [4, 2], observe=chosen.append)
        for chain in (0, 1):
            candidates = texts(made[0], chain)
            if isinstance(curation, cj.Filter):
                least = sorted(map(brevity, candidates[:48]))[-16]
                above = [text for text in candidates[:48] if brevity(text) >= least]
                equal = 16 - sum(brevity(text) > least for text in above)
                expected = []
                for text in above:
                    equal -= brevity(text) == least
                    if brevity(text) > least or equal >= 0:
                        expected.append(text)
            else:
                expected = [text for text in candidates if short(text)][::2]
            assert texts(chosen[0], chain) == expected[:16]
        assert np.all(ds.acceptance_rate < 1.0)
        assert list(ds.mean_reward.dims) == ["seed", "generation"]


@dataclass(frozen=True)
class Every(cj.AbstractOperator):
    """Every second candidate."""

    def curate(self, draw, judge, key, n):
        made = draw(key, 2 * n)
        return made._replace(rows=jax.tree.map(lambda x: x[::2], made.rows))

    def value(self, judge, rows):
        return judge.of(brevity, rows)


def test_training_that_is_not_finite_names_seed_generation_and_step(monkeypatch):
    """Losses, and parameters, which the last step alone may have spoiled."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    task, seeds = small(), np.array([7, 4, 9, 9])
    chains = SimpleNamespace(task=task, seeds=seeds)
    whole = {"a": np.ones((4, 3), np.float32), "b": np.ones((4, 2, 2), np.float32)}

    def check(params, nats):
        state = TrainState(params, None, None, jnp.asarray(nats), jnp.ones(4))
        staged._check_finite(chains, state, 3, 32, 64)

    check(whole, [1.0, 2.0, 3.0, 3.0])
    with pytest.raises(
        Diverged, match=r"generation 3 that of seed 4 did not, between .* 33 and 64"
    ):
        check(whole, [1.0, np.nan, 3.0, 3.0])
    spoiled = whole | {"b": whole["b"].copy()}
    spoiled["b"][2:, 1, 0] = np.inf
    with pytest.raises(Diverged, match=r"that of seed 9 did not.*The other 2 of these seeds did"):
        check(spoiled, [1.0, 2.0, 3.0, 3.0])


@pytest.mark.thorough
def test_a_run_that_diverges_stops(tmp_path):
    wild = Optimizer(1e30, schedule="constant", warmup=0.0, batch_size=8, clip=None)
    told = pytest.warns(UserWarning, match=r"1 that of seed 0, 1 did not, between steps 1 ")
    with told, pytest.raises(Diverged, match=r"no seed .* seed 0 in generation 1, 1 in gen"):
        run(cj.Replace(), small(optimizer=wild), 2, 2)


@pytest.mark.thorough
def test_a_model_none_of_whose_documents_is_acceptable_is_given_up_early():
    """After forty times as many draws as are allowed for one, and not for all."""

    class Nothing(cj.corpus.Grammar):
        def accepts(self, document):
            return False

    corpus = Nothing(n_names=2, n_nouns=2, chat=True)
    still = Optimizer(1e-3, batch_size=100)
    options = {"n_samples": 100, "sample_batch": 64, "max_attempts": 3}
    task = small(corpus=corpus, optimizer=still, **options)
    with pytest.raises(TooFewRows, match=r"made 0 in 128 draws"):
        run(cj.Replace(), task, 1, 1)


@pytest.mark.thorough
def test_padding_of_the_vocabulary_is_never_sampled():
    """A model with twice as many scores as tokens, before it has learned which are none."""
    words = SMALL.tokenizer.vocab_size
    still = Optimizer(1e-9, batch_size=16)
    made = []
    shape = preset("tiny", vocab_size=2 * words, depth=1)
    task = small(model=shape, optimizer=still, max_attempts=400)
    run(cj.Replace(), task, 1, 1, observe=made.append)
    tokens, lengths = (np.asarray(x)[0] for x in made[0].documents)
    drawn = np.concatenate([row[:n] for row, n in zip(tokens, lengths, strict=True)])
    assert len(set(drawn)) > words / 2
    assert drawn.max() < words


@pytest.mark.thorough
def test_a_model_that_never_ends_is_given_up():
    corpus = cj.corpus.Grammar(n_names=2, n_nouns=2, chat=True)
    task = small(corpus=corpus, optimizer=Optimizer(1e-6, batch_size=8), max_attempts=2)
    with pytest.raises(TooFewRows, match=r"16 acceptable documents are needed.*max_attempts"):
        run(cj.Replace(), task, 1, 1)


@pytest.mark.thorough
def test_fine_tuning_starts_from_the_checkpoint_and_warm_starts_from_the_last_model():
    """With next to no learning rate every model is the checkpoint; with some, models move on."""
    still = Optimizer(1e-12, batch_size=8)
    options = {"checkpoint": CHECKPOINT, "max_attempts": 200, "sampling": Sampling(0.9, top_k=40)}
    task = small(optimizer=still, **options)
    assert task.mode == "finetune"
    ds = run(cj.Replace(), task, 2, 2)
    world = task.world(stream(chain_key(jnp.uint32(1)), 0, Role.WORLD), rows=True, index=None)
    base = jax.device_put(task.base.params)
    loss = evaluate(task.graphdef, base, world.test, bos_id=0)
    np.testing.assert_allclose(ds.test_loss.sel(seed=1), loss, rtol=1e-5)

    moving = Optimizer(1e-2, schedule="constant", warmup=0.0, batch_size=8)
    losses = {
        start: run(
            cj.Accumulate(), small(optimizer=moving, start=start, **options), 2, 2
        ).test_loss.values
        for start in ("base", "previous")
    }
    np.testing.assert_allclose(losses["base"][:, 0], losses["previous"][:, 0], rtol=1e-5)
    assert np.all(losses["previous"][:, 1] < losses["base"][:, 1])


def in_words(text):
    return "good"


def test_what_a_checkpoint_writes_may_be_curated():
    """Functions are tried before its weights are read."""
    task = cj.LanguageModel(SMALL, n_samples=8, n_test=4, checkpoint=CHECKPOINT)
    loop = cj.Workflow(synthetic=cj.Synthetic(curation=cj.BestOf(in_words)))
    with pytest.raises(ValueError, match=r"BestOf.reward must return a finite number.*'good'"):
        prepare(loop, task, 1, 1)


def test_checkpoints_in_and_out(tmp_path):
    task = cj.LanguageModel.from_pretrained(CHECKPOINT)
    tokens = np.load(CHECKPOINT / "tokens.npy")
    expected = np.load(CHECKPOINT / "logits.npy")
    np.testing.assert_allclose(task.logits(tokens), expected, atol=2e-5)
    task.save_pretrained(tmp_path / "saved")
    again = cj.LanguageModel.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(again.logits(tokens), task.logits(tokens))
    with pytest.raises(ValueError, match="corpus must be given"):
        run(cj.Replace(), task, 1, 1)


@pytest.mark.thorough
def test_a_text_file_as_corpus(tmp_path):
    words = ["one", "two", "three", "four", "five"]
    lines = [f"{a} {b}" for a in words for b in words]
    (tmp_path / "corpus.txt").write_text("\n".join([*lines, "x" * 600]))
    corpus = cj.corpus.Text(tmp_path / "corpus.txt", test_fraction=0.2, split_seed=1)
    task = small(corpus=corpus, n_samples=8, n_test=None, context=16, max_attempts=500)
    assert task.survey.longer == 1
    assert "malformed" not in task.variables
    ds = run(cj.Accumulate(), task, 2, 1, metrics=("test_loss", "n_train"))
    np.testing.assert_array_equal(ds.n_train, [[8, 16]])
    again = cj.config.rebuild(json.loads(ds.attrs["config"])["task"])
    np.testing.assert_array_equal(again.train.tokens, task.train.tokens)


@pytest.mark.thorough
def test_grid_of_real_and_synthetic():
    task = small(n_samples=32)
    ds = cj.real_synthetic_grid(task, [0, 8, 32], [0, 16], seeds=3, progress=False)
    assert ds.test_loss.dims == ("seed", "n_real", "n_synthetic")
    assert np.isnan(ds.test_loss.sel(n_real=0, n_synthetic=0)).all()
    assert int(ds.test_loss.isnull().sum()) == 3
    # More steps on more real documents, of so few.
    means = ds.test_loss.sel(n_synthetic=0).mean("seed")
    assert means.sel(n_real=32) < means.sel(n_real=8)
    # The cell with all real documents and no others is a training on these, in their order.
    for bad in ({"n_real": [64]}, {"n_real": []}, {"n_synthetic": [1, 1]}, {"n_real": [-1]}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            cj.real_synthetic_grid(task, **bad)


def test_settings_that_are_numbers_are_not_compiled_in():
    traced = [
        eqx.filter(compiled.traceable(small(optimizer=Optimizer(rate))), eqx.is_array, inverse=True)
        for rate in (1e-3, 1e-2)
    ]
    assert eqx.tree_equal(*traced)


BAD = [
    (lambda: cj.LanguageModel("text"), TypeError, "corpus must be one of"),
    (lambda: cj.LanguageModel(optimizer="adam"), TypeError, "optimizer must be an Optimizer"),
    (
        lambda: cj.LanguageModel(checkpoint=CHECKPOINT, model=preset("tiny")),
        ValueError,
        "model must not be given with a checkpoint",
    ),
    (
        lambda: cj.real_synthetic_grid(small(), n_real=[0], n_synthetic=[0]),
        ValueError,
        "must not both be zero",
    ),
    (lambda: cj.LanguageModel(n_samples=0), ValueError, "n_samples must be between 1 and"),
    (lambda: cj.LanguageModel(mode="finetun"), ValueError, "did you mean 'finetune'"),
    (lambda: cj.LanguageModel(mode="finetune"), ValueError, "checkpoint must be given"),
    (lambda: cj.LanguageModel(start="last"), ValueError, "start must be one of 'base', 'previous'"),
    (lambda: cj.LanguageModel(model="tinny"), ValueError, "did you mean 'tiny'"),
    (lambda: cj.LanguageModel(context=5), ValueError, "context must be at least the 28 tokens"),
    (lambda: cj.LanguageModel(dtype="float16"), ValueError, "dtype must be one of 'float32'"),
    (lambda: cj.LanguageModel(checkpoint="./nowhere"), ValueError, "nowhere"),
    (
        lambda: cj.LanguageModel(checkpoint=CHECKPOINT, corpus=cj.corpus.Grammar()),
        ValueError,
        "vocabulary",
    ),
    (lambda: cj.LanguageModel().logits(np.zeros((1, 2), int)), ValueError, "checkpoint must be"),
    (
        lambda: cj.LanguageModel(checkpoint=CHECKPOINT).logits(np.full((1, 2), 99)),
        ValueError,
        "token_ids must be between 0 and 60",
    ),
    (
        lambda: cj.rollout(cj.Replace(), small(), 2, jax.random.key(0)),
        ValueError,
        "accepted by a rule in Python",
    ),
    (
        lambda: run(cj.Replace(), small(), 2, 2, runner="compiled"),
        ValueError,
        "accepted by a rule in Python",
    ),
    (
        lambda: run(cj.Replace(), cj.Gaussian(), 2, 2, observe=print, runner="compiled"),
        ValueError,
        "runner must be 'staged' with observe",
    ),
    (
        lambda: run(cj.Replace(), cj.Gaussian(), 2, 2, runner="stage"),
        ValueError,
        "did you mean 'staged'",
    ),
    (
        lambda: run(cj.Workflow(cj.Real(every=True), fit=cj.Fit(real_weight=0.5)), small(), 2, 2),
        ValueError,
        "fit.real_weight must be None with a LanguageModel",
    ),
    (
        lambda: run(cj.Workflow(fit=cj.Fit(warm_start=True)), cj.Gaussian(), 2, 2),
        ValueError,
        "fit.warm_start must be False with a Gaussian",
    ),
    (
        lambda: run(cj.Replace(), small(), 2, 2, memory_limit=1000),
        ValueError,
        "memory_limit of 1,000 bytes",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD, ids=[message for *_, message in BAD])
def test_refused(call, kind, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(kind, match=message):
        call()
