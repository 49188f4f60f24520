"""Going on from real prompts: against whole passes and transformers, and as part of a loop."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

import collapse_jax as cj
from collapse_jax.language.corpora import FileTokenizer, train_bpe
from collapse_jax.language.corpora.chat import Message, format_messages
from collapse_jax.language.corpora.documents import Documents, Masked
from collapse_jax.language.corpora.encoding import decode_documents
from collapse_jax.language.model.architecture import Architecture, RopeScaling
from collapse_jax.language.model.decoder import Decoder, stack_layers
from collapse_jax.language.model.loss import document_loss
from collapse_jax.language.model.sampling import Sampling, draw_index, joined, sample
from collapse_jax.language.model.training import Optimizer
from collapse_jax.language.prompts import in_turn
from collapse_jax.language.reading import Reading, read_rows
from collapse_jax.language.samples import SampleWriter
from collapse_jax.language.weights import huggingface
from collapse_jax.loop.batches import first_rows
from collapse_jax.numerics.draws import to_uniform
from collapse_jax.numerics.keys import chain_key
from collapse_jax.numerics.threefry import words

CHECKPOINTS = Path(__file__).parent / "checkpoints"
BOS, EOS, CONTEXT = 4, 2, 40
SIZES = {"vocab_size": 11, "context": CONTEXT, "width": 12, "depth": 2, "heads": 4}
ARCHITECTURES = {
    "plain": Architecture(**SIZES),
    "everything": Architecture(
        **SIZES,
        kv_heads=2,
        head_dim=6,
        mlp_width=20,
        positions="rotary",
        rope_theta=50.0,
        rope_scaling=RopeScaling(4.0, 0.5, 2.0, 16),
        local_rope_theta=9.0,
        norm="rms",
        gated=True,
        attention_cap=2.0,
        windows=(3, None),
        qk_norm=True,
    ),
}
PROMPTS = [[], [5], [6, 7, 8, 9, 10, 0, 1], list(range(5, 11)) * 3, [3] * 6]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def padded(rows, filler=7):
    """Rows with something beyond their ends that must not matter."""
    tokens = np.full((len(rows), max(map(len, rows))), filler, np.int32)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    return Documents(jnp.asarray(tokens), jnp.asarray([len(r) for r in rows], jnp.int32))


@functools.cache
def model(name, scan=False):
    if scan:
        decoder = nnx.eval_shape(lambda: Decoder(ARCHITECTURES[name], rngs=nnx.Rngs(0), scan=True))
        return nnx.split(decoder)[0], stack_layers(model(name)[1])
    graphdef, params = nnx.split(Decoder(ARCHITECTURES[name], rngs=nnx.Rngs(0)))
    draw = np.random.default_rng(3).normal
    return graphdef, jax.tree.map(lambda x: jnp.asarray(draw(0, 0.5, x.shape), x.dtype), params)


def one_by_one(scores_of, prompts, key, length, whole, settings):
    """The same by evaluating every row from its beginning again at each token."""
    uniforms = to_uniform(words(key, (length, 2, len(prompts))))
    rows = [[BOS, *prompt] for prompt in prompts]
    ends = [False] * len(rows)
    for step in range(length):
        tokens = np.zeros((len(rows), whole + 1), np.int32)
        for row, ids in zip(tokens, rows, strict=True):
            row[: len(ids)] = ids
        scores = scores_of(tokens[:, :-1])[np.arange(len(rows)), [len(ids) - 1 for ids in rows]]
        drawn = draw_index(settings.weights(jnp.asarray(scores)), uniforms[step]).tolist()
        for i, ids in enumerate(rows):
            if not ends[i] and len(ids) <= whole:
                ids.append(drawn[i])
                ends[i] = drawn[i] == EOS
    return [ids[len(p) + 1 :] for ids, p in zip(rows, prompts, strict=True)], ends


def check_against_whole_passes(name, scan):
    graphdef, params = model(name, scan)

    @jax.jit
    def scores_of(tokens):
        decoder = nnx.merge(graphdef, params)
        return decoder.logits(decoder.hidden(tokens))

    @jax.jit
    def drawn(key, settings):
        return sample(
            graphdef,
            params,
            key,
            len(PROMPTS),
            20,
            bos_id=BOS,
            eos_id=EOS,
            settings=settings,
            prompts=padded(PROMPTS),
            whole=24,
        )

    key = jax.random.key(1)
    lengths = set()
    for temperature in (0.0, 1.0, 3.0):
        settings = Sampling(temperature)
        expected, ends = one_by_one(scores_of, PROMPTS, key, 20, 24, settings)
        documents, finished = drawn(key, settings)
        rows = zip(*map(np.asarray, documents), strict=True)
        assert [tokens[:length].tolist() for tokens, length in rows] == expected
        assert finished.tolist() == ends
        lengths |= {len(row) for row in expected}
    assert max(lengths) == 20
    assert len(PROMPTS[3]) + 6 == 24
    assert 6 in lengths


def test_what_follows_prompts_is_what_whole_passes_say():
    check_against_whole_passes("everything", scan=False)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "scan"), [("everything", True), ("plain", False)])
def test_what_follows_prompts_in_other_models(name, scan):
    check_against_whole_passes(name, scan)


@pytest.mark.thorough
@pytest.mark.parametrize("family", ["gpt2", "gemma3", "qwen3"])
def test_greedy_generation_is_that_of_transformers(family):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = CHECKPOINTS / family
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    architecture, params = huggingface.load(folder)
    params = jax.tree.map(jnp.asarray, params)
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: Decoder(architecture, rngs=nnx.Rngs(0))))
    prompts = [[5], [6, 7, 8, 9, 10, 0, 1], [3, 4, 5, 6] * 3]
    found, _ = jax.jit(
        lambda: sample(
            graphdef,
            params,
            jax.random.key(0),
            3,
            12,
            bos_id=BOS,
            eos_id=architecture.vocab_size,
            settings=Sampling(0.0),
            prompts=padded(prompts),
        )
    )()
    for row, prompt in zip(np.asarray(found.tokens), prompts, strict=True):
        ids = torch.asarray([[BOS, *prompt]])
        options = {"do_sample": False, "max_new_tokens": 12, "eos_token_id": None}
        mask = torch.ones_like(ids)
        expected = theirs.generate(ids, attention_mask=mask, pad_token_id=0, **options)
        assert row.tolist() == expected[0, len(prompt) + 1 :].tolist()


def test_prompts_and_what_follows_are_joined():
    prompts = padded([[1, 2, 3], []])
    following = padded([[4, 5], [6, 7, 8, 9]], filler=0)
    rows = joined(prompts, following, 6)
    assert rows.tokens.tolist() == [[1, 2, 3, 4, 5, 0], [6, 7, 8, 9, 0, 0]]
    assert rows.lengths.tolist() == [5, 4]
    learned = jnp.asarray([[False, True, False], [False] * 3])
    rows = joined(Masked(*prompts, learned), following, 6)
    assert rows.learned[0, :5].tolist() == [False, True, False, True, True]
    assert rows.learned[1, :4].all()


def test_prompts_come_in_turn():
    """Each once, in another order for each key, and then again."""
    prompts = padded([[i] for i in range(7)])
    draw = jax.jit(
        lambda seed, first: in_turn(prompts, jax.random.key(seed), first + jnp.arange(7)).tokens[
            :, 0
        ]
    )
    order = draw(1, 0).tolist()
    assert sorted(order) == list(range(7)) != order
    assert draw(1, 5).tolist() == order[5:] + order[:5]
    assert draw(1, 14).tolist() == order
    assert draw(2, 0).tolist() != order


GRAMMAR = cj.corpus.Grammar(n_names=3, n_nouns=2, max_sentences=1, chat=True)
QUICK = Optimizer(1e-2, batch_size=8, epochs=2)


def of_grammar(**options):
    options = {"n_samples": 16, "n_test": 8, "sample_batch": 12, "optimizer": QUICK} | options
    return cj.LanguageModel(GRAMMAR, generate_from="prompts", **options)


def run(workflow, task, generations, seeds, **options):
    return cj.simulate(workflow, task, generations, seeds, progress=False, **options)


def prompts_of(task, rows):
    """The tokens before the response, which the grammar's own marks tell."""
    mark = task.tokenizer.words.index("assistant:")
    return [tuple(row[: list(row).index(mark) + 1].tolist()) for row in np.asarray(rows)]


def check_prompts(task, seed, generations):
    """They are those of the first real documents, each as often as another, but for the last."""
    key = chain_key(jnp.uint32(seed))
    index = first_rows(task, key, task.n_samples)
    world = task.world(key, rows=True, index=index)
    own = [tuple(row.tolist()) for row in np.asarray(world.prompts.tokens)]
    assert own == prompts_of(task, task.train.tokens[index])
    for rows in generations:
        assert set(prompts_of(task, rows)) <= set(own)


@pytest.mark.thorough
def test_models_answer_real_prompts(tmp_path):
    """And go on where they were."""
    made, task = [], of_grammar()
    ds = run(cj.Accumulate(), task, 2, [3], observe=made.append)
    check_prompts(task, 3, [generation.documents.tokens[0] for generation in made])
    assert not ds.to_array().isnull().any()
    assert "excess_loss" in ds
    texts = decode_documents(*(np.asarray(x)[0] for x in made[0].documents), task.tokenizer)
    assert all(GRAMMAR.accepts(text) for text in texts)
    run(cj.Accumulate(), task, 1, [3], checkpoint=tmp_path)
    resumed = run(cj.Accumulate(), task, 2, [3], checkpoint=tmp_path)
    for name in ds:
        np.testing.assert_array_equal(ds[name], resumed[name], err_msg=name)


@pytest.mark.thorough
@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "workflow",
    [cj.Replace(), cj.AccumulateSubsample(), cj.Workflow(cj.Real(every=True), cj.Synthetic())],
)
def test_every_workflow_answers_real_prompts(workflow):
    made, task = [], of_grammar(max_attempts=100)
    run(workflow, task, 2, [3, 5], observe=made.append)
    check_prompts(task, 5, [generation.documents.tokens[1] for generation in made])


def texts_file(n=24):
    lines = [f"{a} {b} {a}" for a in ("one", "two", "three", "four") for b in "abcdefgh"]
    Path("c.txt").write_text("\n".join(lines[:n]))
    return cj.corpus.Text("c.txt", test_fraction=0.2)


TINY = Architecture(vocab_size=257, context=32, width=8, depth=1, heads=2)


def of_text(how, **options):
    options = {"model": TINY, "context": 16, "sample_batch": 7, "optimizer": QUICK} | options
    return cj.LanguageModel(texts_file(), generate_from=how, **options)


def sampled(task, n):
    """Rows of two draws in a row, and the prompts of the chain."""
    params = task.initialise(jax.random.key(0))
    key = jax.random.key(1)
    world = task.world(key, rows=True, index=jnp.arange(task.n_samples))
    places = jnp.arange(n)
    draw = jax.jit(lambda part: task.sample_part(world, params, key, part, part * n + places, None))
    return jax.tree.map(np.asarray, (draw(0), draw(1), world.prompts))


def test_halves_of_real_documents_are_gone_on_with():
    task = of_text("halves")
    n = task.n_samples
    half = -(-n // 2)
    first, second, prompts = sampled(task, half)
    lengths = np.concatenate([first.lengths, second.lengths])
    rows = np.concatenate([first.tokens, second.tokens])
    real = {
        tuple(row[: length // 2].tolist())
        for row, length in zip(*map(np.asarray, task.train), strict=True)
    }
    starts = [next(k for k in range(16, 0, -1) if tuple(row[:k].tolist()) in real) for row in rows]
    assert sorted(starts[:n]) == sorted(prompts.lengths.tolist())
    assert len({tuple(row[:k].tolist()) for row, k in zip(rows[:n], starts, strict=False)}) == n
    assert (lengths > starts).all()
    ended = rows[np.arange(len(rows)), lengths - 1] == 256
    assert (ended | (lengths == 16)).all()
    accepted, places = task.acceptable(first)
    assert len(places) == half
    np.testing.assert_array_equal(accepted.tokens, first.tokens)


def test_blocks_are_followed_by_as_many_tokens():
    """The next generation learns from what follows alone, as large as what it replaces."""
    task = of_text("blocks", sampling=Sampling(0.0))
    first, _, prompts = sampled(task, 5)
    real = [row[:n].tolist() for row, n in zip(prompts.tokens, prompts.lengths, strict=True)]
    texts = {bytes(row).decode() for row in real}
    assert texts == set(task.corpus.train)
    chosen = in_turn(Documents(*prompts), jax.random.key(1), jnp.arange(5))
    graphdef, params = task.graphdef, task.initialise(jax.random.key(0))

    @jax.jit
    def scores_of(tokens):
        decoder = nnx.merge(graphdef, params)
        return decoder.logits(decoder.hidden(tokens))

    rows = [r[:n].tolist() for r, n in zip(*map(np.asarray, chosen), strict=True)]
    for row, prompt, length in zip(first.tokens, rows, first.lengths, strict=True):
        ids = [256, *prompt, *row[:length].tolist()]
        scores = scores_of(np.array([ids + [0] * (33 - len(ids))], np.int32)[:, :32])[0]
        expected = np.argmax(scores[len(prompt) : len(ids) - 1], axis=-1)
        assert row[:length].tolist() == expected.tolist()
        assert length == 16 or row[length - 1] == 256


def test_a_preset_has_room_for_a_block_and_what_follows_it():
    task = of_text("blocks", model=None, context=48)
    assert (task.context, task.architecture.context) == (48, 96)


def chats_file(n=12):
    rows = [
        {"messages": [
            {"role": "user", "content": "a" * (i % 5 + 1)}, {"role": "assistant", "content": "b"},
            {"role": "user", "content": f"c{i}"}, {"role": "assistant", "content": "défg"},
        ]}
        for i in range(n)
    ]  # fmt: skip
    Path("c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return cj.corpus.Text("c.jsonl", messages="messages")


def of_chats(**options):
    model = Architecture(vocab_size=257, context=96, width=8, depth=1, heads=2)
    options = {"model": model, "optimizer": QUICK, "loss_on": "responses"} | options
    return cj.LanguageModel(chats_file(), **options)


def test_responses_alone_are_learned():
    task = of_chats(context=64)
    assert task.generate_from == "prompts"
    for row, length, learned, prompt, text in zip(
        *map(np.asarray, task.train),
        np.asarray(task.prompts.lengths),
        task.corpus.train,
        strict=True,
    ):
        ids = row[:length]
        assert bytes(ids[:-1].tolist()).decode() == text
        assert ids[-1] == 256
        assert bytes(ids[:prompt].tolist()).decode() == text.removesuffix("défg")
        assert bytes(ids[learned[:length]][:-1].tolist()).decode() == "bdéfg"
        assert learned[length - 1]
        assert not learned[length:].any()
    params = task.initialise(jax.random.key(0))
    decoder = nnx.merge(task.graphdef, params)
    tokens, _, learned = map(np.asarray, task.train)
    inputs = jnp.pad(jnp.asarray(tokens[:, :-1]), [(0, 0), (1, 0)], constant_values=256)
    scores = jax.nn.log_softmax(decoder.logits(decoder.hidden(inputs)), axis=-1)
    own = np.take_along_axis(np.asarray(scores), tokens[..., None], axis=2)[..., 0]
    loss = document_loss(task.graphdef, params, task.train, bos_id=256)
    np.testing.assert_allclose(loss.nats, -own[learned].sum(), rtol=1e-5)
    assert loss.tokens == learned.sum() == 7 * len(tokens)
    parts = document_loss(task.graphdef, params, task.train, bos_id=256, chunk=10)
    np.testing.assert_allclose(loss.nats, parts.nats, rtol=1e-5)
    first, _, _ = sampled(task, 3)
    for row, learned, length in zip(first.tokens, first.learned, first.lengths, strict=True):
        prompt = bytes(row[: list(row).index(ord("c")) + 15].tolist())
        assert learned[length - 1]
        assert prompt.startswith(b"user: a")
        assert learned.sum() - (64 - length) > 2


def test_a_token_that_is_partly_prompt_is_of_the_response():
    """As the space before a word is: or the model would be asked from half of a token."""
    chats = [(Message("user", f"ask {i}"), Message("assistant", f"told {i}")) for i in range(20)]
    texts = [format_messages(chat) for chat in chats]
    train_bpe(texts, 300, "bpe.json")
    tokenizer = FileTokenizer("bpe.json")
    assert len(tokenizer.encode(" told")) == 1
    rows = read_rows(texts, chats, tokenizer, 40, Reading(None, "responses", "prompts"))
    for i, (row, learned, prompt) in enumerate(
        zip(rows.tokens, rows.learned, rows.prompts, strict=True)
    ):
        assert tokenizer.decode(row[:prompt].tolist()) == f"user: ask {i}\nassistant:"
        assert tokenizer.decode(row[learned].tolist()) == f" told {i}"


def test_long_chats_are_cut_within_their_responses():
    whole = of_chats(context=64)
    lengths = np.asarray(whole.train.lengths)
    context = int(lengths.max()) - 2
    dropped = of_chats(context=context, most_dropped=1.0)
    assert len(dropped.train.lengths) == (lengths <= context).sum()
    cut = of_chats(context=context, longer="truncate")
    assert len(cut.train.lengths) == len(lengths)
    assert cut.survey.longer == dropped.survey.longer > 0
    prompts = np.asarray(whole.prompts.lengths)
    context = int(np.asarray(whole.prompts.lengths).max()) - 1
    cut = of_chats(context=context, longer="truncate")
    assert len(cut.train.lengths) == (prompts < context).sum()


REFUSED = [
    ({"loss_on": "response"}, "loss_on must be one of .* got 'response'; did you mean 'responses'"),
    ({"generate_from": "prompt"}, "generate_from must be one of .*; did you mean 'prompts'"),
    ({"generate_from": "bos"}, "generate_from must be 'prompts' where .* got 'bos'"),
    ({"generate_from": "halves"}, "generate_from must be 'prompts' where .* got 'halves'"),
    ({"loss_on": "all", "generate_from": "blocks", "context": 48}, "must be 'bos' or 'prompts'"),
    ({"loss_on": "all", "generate_from": "blocks", "context": 64}, "context must be at most 48"),
    ({"longer": "split"}, "longer must be 'drop' or 'truncate' where chats"),
    ({"template": "own"}, "template must not be given without a tokenizer from files"),
    ({"context": 3}, "context of 3 tokens, and none of"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_refused(options, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        of_chats(**options)


def test_what_is_for_chats_is_refused_elsewhere():
    for name, value in {"loss_on": "responses", "generate_from": "prompts"}.items():
        with pytest.raises(ValueError, match=f"{name}='{value}' is for chats, and the documents"):
            cj.LanguageModel(texts_file(), **{name: value})
    with pytest.raises(ValueError, match="special must be False with a ByteTokenizer"):
        SampleWriter("samples", cj.corpus.ByteTokenizer(), special=True)
    with pytest.raises(ValueError, match="loss_on must be 'all' for a grammar"):
        cj.LanguageModel(GRAMMAR, loss_on="responses")
    rows = [{"q": "a", "a": "b"}] * 19
    Path("d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = cj.corpus.Text("d.jsonl", prompt="q", response="a", published_strip=True)
    with pytest.raises(ValueError, match="published_strip must be False where prompts"):
        cj.LanguageModel(corpus, generate_from="prompts")


def test_runs_remember_how_documents_are_read():
    task = of_chats(context=64)
    again = cj.config.rebuild(cj.config.describe(task))
    assert (again.loss_on, again.generate_from) == ("responses", "prompts")
    np.testing.assert_array_equal(again.train.learned, task.train.learned)
