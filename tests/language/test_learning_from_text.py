"""What the next generation learns of texts as they are written: the ids that a file would give."""

from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
)

import collapse_jax as cj
from collapse_jax.language.acceptance import accepted
from collapse_jax.language.corpora import ByteTokenizer, FileTokenizer, train_bpe
from collapse_jax.language.corpora.chat import Message, format_messages
from collapse_jax.language.corpora.documents import Documents, Ragged, documents_of
from collapse_jax.language.corpora.encoding import encode_documents
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.prompts import Prompts
from collapse_jax.language.reading import Reading, Rows, read_rows
from collapse_jax.language.tokenizers.templates import Template

PLAIN = [f"the {a} saw the {b}" for a in ("cat", "dög", "owl 🦉") for b in ("cat", "dög")]
CHATS = [
    (Message("user", f"ask {i}"), Message("assistant", f"told ü{i} 🦉 told")) for i in range(9)
]
READ = Reading(learn_from="text")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)


def pairs(texts):
    train_bpe(texts, 290, "bpe.json")
    return FileTokenizer("bpe.json")


def rows_of(ids, context, learned=None):
    """Rows as models make them."""
    found = np.zeros((len(ids), context), np.int32)
    wanted = np.zeros((len(ids), context), bool)
    for row, numbers in enumerate(ids):
        found[row, : len(numbers)] = numbers
        if learned is not None:
            wanted[row, : len(numbers)] = learned[row]
    lengths = np.array(list(map(len, ids)), np.int32)
    return documents_of(found, lengths, None if learned is None else wanted)  # pyright: ignore


def by_bytes(tokenizer, text):
    """The ids of the bytes of a text, one each, which the tokenizer would put together."""
    each = {token: i for i, token in enumerate(tokenizer.tokens)}
    return [
        each[character]
        for i in tokenizer.encode(text)
        for character in tokenizer.tokens[i]
    ]  # fmt: skip


def known(real, tokenizer, how):
    """The prompts of real rows."""
    ragged = Ragged(real.tokens, real.lengths, vocab_size=tokenizer.vocab_size)
    return Prompts(jnp.asarray(real.prompts), ragged, how)


def real_row(ids, prompt):
    return Rows(np.array([ids], np.int32), np.array([len(ids)]), None, np.array([prompt]), 0)


@pytest.mark.parametrize("ends", [True, False])
def test_ids_are_those_of_the_texts(ends):
    tokenizer = pairs(PLAIN)
    end = [tokenizer.eos_id] * ends
    drawn = rows_of([by_bytes(tokenizer, text) + end for text in PLAIN], 40)
    how = READ._replace(generate_from="bos" if ends else "halves")
    kept, places = accepted(drawn, None, tokenizer, 40, how)
    assert places.tolist() == list(range(len(PLAIN)))
    real = encode_documents(PLAIN, tokenizer, 40)
    assert (np.asarray(drawn.lengths) > real.lengths).all()
    for row, length, text in zip(kept.tokens, kept.lengths, PLAIN, strict=True):
        assert row[:length].tolist() == tokenizer.encode(text) + end
    same, _ = accepted(drawn, None, tokenizer, 40, how._replace(learn_from="ids"))
    np.testing.assert_array_equal(same.tokens, drawn.tokens)


@pytest.mark.parametrize("loss_on", ["all", "responses"])
def test_chats_are_read_as_real_ones(loss_on):
    """Also which of their tokens are learned."""
    texts = [format_messages(chat) for chat in CHATS]
    tokenizer = pairs(texts)
    how = READ._replace(generate_from="prompts", loss_on=loss_on)
    real = read_rows(texts, CHATS, tokenizer, 60, how)
    prompts = [row[:k].tolist() for row, k in zip(real.tokens, real.prompts, strict=True)]
    said = [text.removeprefix(tokenizer.decode(p)) for text, p in zip(texts, prompts, strict=True)]
    parts = [by_bytes(tokenizer, text) for text in said]
    ids = [[*p, *part, tokenizer.eos_id] for p, part in zip(prompts, parts, strict=True)]
    marks = None
    if loss_on == "responses":
        marks = [np.arange(len(i)) >= len(p) for i, p in zip(ids, prompts, strict=True)]
    Path("chats.jsonl").write_text('{"q": "a", "a": "b"}\n' * 19)
    corpus = cj.corpus.Text("chats.jsonl", prompt="q", response="a")
    kept, places = accepted(
        rows_of(ids, 60, marks), corpus, tokenizer, 60, how, known(real, tokenizer, how)
    )
    assert len(places) == len(texts)
    assert (kept.lengths < list(map(len, ids))).all()
    np.testing.assert_array_equal(kept.tokens, real.tokens)
    np.testing.assert_array_equal(kept.lengths, real.lengths)
    if loss_on == "responses":
        np.testing.assert_array_equal(kept.learned, real.learned)


def test_what_does_not_fit_goes_the_way_of_real_documents():
    """A byte that is no character is a mark of three bytes once it is written."""
    drawn = rows_of([[97, 98, 256], [0xC3, 0xC3, 256], [99, 256]], 4)
    found = {
        longer: accepted(drawn, None, ByteTokenizer(), 4, READ._replace(longer=longer))
        for longer in ("drop", "truncate", "split")
    }
    assert {name: places.tolist() for name, (_, places) in found.items()} == {
        "drop": [0, 2],
        "truncate": [0, 1, 2],
        "split": [0, 1, 2],
    }
    mark = list("\ufffd".encode())
    for longer in ("truncate", "split"):  # one of each that was drawn, whatever it becomes
        assert found[longer][0].tokens[1].tolist() == [*mark, mark[0]]
        assert found[longer][0].lengths.tolist() == [3, 4, 2]
    rows, places = accepted(rows_of([[0xC3, 0xC3, 256]], 4), None, ByteTokenizer(), 4, READ)
    assert len(places) == len(rows.tokens) == 0


def sentencepiece(how):
    """A tokenizer of letters that has a space in front of every text, or of the first of them."""
    letters = "abcdefghijklmnopqrstuvwxyz[]/INST:<>\n"
    tokens = dict.fromkeys(["<unk>", "<s>", "</s>", "\u2581", *letters, "\u2581\u2581"])
    vocabulary = {token: i for i, token in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocabulary, [("\u2581", "\u2581")], unk_token="<unk>"))
    if how == "every":
        spaces = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        made.normalizer = normalizers.Sequence(spaces)
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    spaces = [decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(spaces)
    special = [AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")]
    made.add_special_tokens(special)
    made.save("spaces.json")
    return FileTokenizer("spaces.json", bos="<s>", eos="</s>")


MARKED = [
    "<s>[INST] hi [/INST]| yes</s>",
    "<s>[INST] hi [/INST] yes</s><s>[INST] more [/INST]| ok  so</s>",
    "<s>:\nhi</s>\n:\n|yes</s>",
    "<s>:\nhi</s>|yes</s>",
]


@pytest.mark.parametrize("loss_on", ["all", "responses"])
@pytest.mark.parametrize("how", ["every", "first"])
def test_real_rows_stay_what_they_are(how, loss_on):
    """Where a space stands in front of texts that decoding takes away, by itself or with others.

    And the text of a special token, written letter by letter, stays text.
    """
    tokenizer = sentencepiece(how)
    reading = Reading(Template("", {}), loss_on, "prompts", "text")
    for text in MARKED:
        parts = text.partition("|")
        ids = tokenizer.locate_all(["".join(parts[::2])], special=True)[0].ids[1:]
        prompt = len(tokenizer.locate_all([parts[0]], special=True)[0].ids) - 1
        spelled = [tokenizer.tokens.index(letter) for letter in "</s>"]
        rows = [ids, [*ids[:-1], *spelled, ids[-1]]]
        marks = [np.arange(len(row)) >= prompt for row in rows] if loss_on != "all" else None
        drawn = rows_of(rows, 90, marks)
        prompts = known(real_row(ids, prompt), tokenizer, reading)
        kept, places = accepted(drawn, None, tokenizer, 90, reading, prompts)
        assert places.tolist() == [0, 1]
        for made, before in zip(kept, drawn, strict=True):
            np.testing.assert_array_equal(made, before)


def test_what_is_written_is_read_behind_its_prompt():
    """Where the two can be told apart, and else for itself; invalid bytes as a mark."""
    tokenizer = pairs(PLAIN)
    halves = READ._replace(generate_from="halves")
    the = tokenizer.encode("the")
    assert len(the) == 1
    for prompt, text in ((the, " cat saw"), (by_bytes(tokenizer, "th"), "e cat")):
        drawn = rows_of([[*prompt, *by_bytes(tokenizer, text)]], 40)
        prompts = known(real_row(prompt, len(prompt)), tokenizer, halves)
        kept, _ = accepted(drawn, None, tokenizer, 40, halves, prompts)
        expected = [*prompt, *tokenizer.encode(text)]
        assert kept.tokens[0, : kept.lengths[0]].tolist() == expected


@pytest.mark.parametrize("vocab_size", [2**16, 2**16 + 1])
def test_real_documents_are_kept_without_padding(vocab_size):
    """Rows are what they were, and a corpus of short documents takes a fraction of the bytes."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 30, 200).astype(np.int32)
    inside = np.arange(512) < lengths[:, None]
    tokens = np.where(inside, draw.integers(0, vocab_size, inside.shape), 0).astype(np.int32)
    tokens[3, 0] = vocab_size - 1
    learned = inside & (draw.random(inside.shape) < 0.5)
    for rows in ((tokens, lengths), (tokens, lengths, learned)):
        kept = Ragged(*rows, vocab_size=vocab_size)
        each = np.dtype(kept.tokens.dtype).itemsize
        assert each == (2 if vocab_size == 2**16 else 4)
        assert kept.tokens.nbytes == each * lengths.sum() < tokens.nbytes / 30
        some = jnp.array([199, 0, 3])
        for found, expected in zip(kept.rows(), rows, strict=True):
            np.testing.assert_array_equal(found, expected)
        for found, expected in zip(jax.jit(Ragged.rows)(kept, some), rows, strict=True):
            np.testing.assert_array_equal(found, expected[np.asarray(some)])
        assert kept.rows().tokens.dtype == jnp.int32


def test_it_is_an_argument_of_language_models():
    Path("c.txt").write_text("\n".join(PLAIN * 4))
    model = Architecture(vocab_size=290, context=32, width=8, depth=1, heads=2)
    options = {"model": model, "tokenizer": pairs(PLAIN), "context": 32}
    task = cj.LanguageModel(cj.corpus.Text("c.txt"), learn_from="text", **options)
    ids = [*by_bytes(task.tokenizer, "the cat"), task.tokenizer.eos_id]
    rows, _ = task.acceptable(Documents(*rows_of([ids], 32)))
    assert rows.tokens[0, : rows.lengths[0] - 1].tolist() == task.tokenizer.encode("the cat")
    assert cj.config.rebuild(cj.config.describe(task)).learn_from == "text"
    halves = cj.LanguageModel(
        cj.corpus.Text("c.txt"), learn_from="text", generate_from="halves", **options
    )
    size = int(halves.prompts.lengths[0])
    beginning = np.asarray(halves.train.tokens)[0, :size].tolist()
    rows, _ = halves.acceptable(Documents(*rows_of([beginning + ids], 32)))
    again = beginning + halves.tokenizer.encode("the cat")
    assert rows.tokens[0, : rows.lengths[0] - 1].tolist() == again
    edits = cj.Workflow(synthetic=cj.Synthetic(of=cj.Edit(threshold=0.1)))
    with pytest.raises(ValueError, match=r"not be Edit\(...\) with a LanguageModel that learns"):
        cj.simulate(edits, task, 2, 1, progress=False)
    with pytest.raises(ValueError, match=r"learn_from must be one of .*got 'words'"):
        cj.LanguageModel(cj.corpus.Text("c.txt"), learn_from="words")  # type: ignore
