"""Corpora from files and from the hub: what is read, and what is refused."""

import gzip
import json
import re
import sys
import types
from pathlib import Path

import jaxtyping
import numpy as np
import pandas as pd
import pytest

import collapse_jax as cj
from collapse_jax.language import acceptance
from collapse_jax.language.corpora import (
    FileTokenizer,
    Hub,
    Text,
    format_chat,
    is_chat,
    split_chat,
    train_bpe,
)
from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.reading import Reading
from collapse_jax.language.samples import SampleWriter
from collapse_jax.language.tokenizers.base import ByteTokenizer
from collapse_jax.run.staged import Generation

PROMPTS = ["serve tea", "user: who?", "Why is\nit so?", " :", "ünï \u2028 code"]
RESPONSES = ["Gladly.", "two\nlines", "", "assistant", "\n"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Runs in an empty folder, without the run-time checks of the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)


def records(n=20):
    return [{"prompt": f"ask {i}", "response": f"tell {i}", "text": f"text {i}"} for i in range(n)]


def write_all(rows):
    lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    with open("c.jsonl", "w", encoding="utf-8") as file:
        file.write(lines)
    with gzip.open("c.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(lines)
    pd.DataFrame(rows).to_parquet("c.parquet")


FORMATS = ["c.jsonl", "c.jsonl.gz", "c.parquet"]


@pytest.mark.parametrize("path", FORMATS)
def test_formats_read_alike(path):
    write_all(records())
    plain = Text(path)
    assert sorted(plain.train + plain.test) == sorted(f"text {i}" for i in range(20))
    assert (len(plain.train), len(plain.test), plain.skipped) == (18, 2, 0)
    assert not plain.is_chat
    assert plain.accepts("anything")
    chat = Text(path, prompt="prompt", response="response", test_fraction=0.25)
    expected = [f"user: ask {i}\nassistant: tell {i}" for i in range(20)]
    assert sorted(chat.train + chat.test) == sorted(expected)
    assert len(chat.test) == 5
    other = Text(path, text="prompt")
    assert set(other.train + other.test) == {f"ask {i}" for i in range(20)}
    assert plain.fingerprint == Text("c.jsonl").fingerprint != other.fingerprint


def test_splits_depend_on_their_seed_alone():
    write_all(records())
    first = Text("c.jsonl", split_seed=1)
    assert (first.train, first.test) == (
        Text("c.parquet", split_seed=1).train,
        Text("c.jsonl", split_seed=1).test,
    )
    assert first.test != Text("c.jsonl", split_seed=2).test
    assert not set(first.train) & set(first.test)


def test_plain_text_is_cut_at_the_separator():
    with open("c.txt", "wb") as file:
        file.write("\ufeffone\r\n two \r\n\r\nthree\r\nfour\r\n\r\n\r\nfünf".encode())

    def documents(separator):
        corpus = Text("c.txt", separator=separator, test_fraction=0.5)
        return set(corpus.train + corpus.test), corpus.skipped

    assert documents("\n") == ({"one", "two", "three", "four", "fünf"}, 3)
    with open("d.txt", "w") as file:
        file.write("a\nb\n\nc\n\nd\n\n\n\ne\n")
    corpus = Text("d.txt", separator="\n\n", test_fraction=0.5)
    assert set(corpus.train + corpus.test) == {"a\nb", "c", "d", "e"}
    with open("d.txt", "w") as file:
        file.write("a<|endoftext|>b\n<|endoftext|>\nc<|endoftext|>d<|endoftext|>\n")
    corpus = Text("d.txt", separator="<|endoftext|>", test_fraction=0.5)
    assert set(corpus.train + corpus.test) == {"a", "b", "c", "d"}


@pytest.mark.parametrize("path", FORMATS)
def test_records_without_text_are_counted(path):
    rows = records()
    rows[3]["response"], rows[5]["prompt"], rows[7]["response"] = None, "", " \n"
    write_all(rows)
    corpus = Text(path, prompt="prompt", response="response")
    assert len(corpus.train + corpus.test) == 17
    assert corpus.skipped == 3
    assert Text(path).skipped == 0


def test_records_that_lack_a_column_are_left_out_where_asked():
    spoil()
    corpus = Text("missing.jsonl", skip_missing=True, test_fraction=0.5)
    assert (len(corpus.train + corpus.test), corpus.skipped) == (4, 1)


def test_samples_are_utf8_whatever_the_locale(monkeypatch, tmp_path):
    """Path.write_text without an encoding would use the locale's."""
    write = Path.write_text
    tokens = np.array([[[*"né 😀".encode(), 256]]], np.int32)
    made = Generation(1, np.array([0]), None, (tokens, np.array([[tokens.shape[2]]])))

    def ascii_by_default(self, content, encoding="ascii", **options):
        return write(self, content, encoding=encoding, **options)

    monkeypatch.setattr(Path, "write_text", ascii_by_default)
    SampleWriter(tmp_path / "out", cj.corpus.ByteTokenizer())(made)
    written = (tmp_path / "out/seed-0-generation-1.jsonl").read_bytes()
    assert json.loads(written.decode("utf-8"))["text"] == "né 😀"


def test_chat_is_taken_apart_as_it_was_put_together():
    for prompt in PROMPTS:
        for response in RESPONSES:
            document = format_chat(prompt, response)
            assert document == "user: " + prompt + "\nassistant: " + response
            assert is_chat(document)
            assert split_chat(document) == (prompt, response)
            published, same = split_chat(document, published_strip=True)
            assert published == (prompt + "\n").lstrip("user: ").removesuffix("\n")
            assert same == response
    assert split_chat("user: serve tea\nassistant: x", published_strip=True)[0] == "ve tea"


REJECTED = [
    "",
    "user:",
    "user: hello",
    "user:\nassistant: hello",
    "assistant: hello",
    "User: a\nassistant: b",
    " user: a\nassistant: b",
    "user: a\nassistant:b",
    "user: a\nassistant: b\nassistant: c",
    "user: assistant: b assistant: c",
]


@pytest.mark.parametrize("document", REJECTED)
def test_rejected_documents(document):
    assert not is_chat(document)
    with pytest.raises(ValueError, match="document must start with 'user: ' and contain"):
        split_chat(document)


def test_generated_documents_as_training_data():
    write_all(records())
    exact = Text("c.jsonl", prompt="prompt", response="response")
    published = Text("c.jsonl", prompt="prompt", response="response", published_strip=True)
    document = "user: sure?\nassistant: Yes.\n"
    assert exact.accepts(document)
    assert not exact.accepts("Yes.")
    assert exact.reformat(document) == document
    assert published.reformat(document) == "user: ?\nassistant: Yes.\n"
    assert exact.reformat("user: a assistant: b") == "user: a \nassistant: b"
    assert Text("c.jsonl").reformat("user: a") == "user: a"


def spoil():
    write_all(records())
    good = b'{"text": "a"}\n' * 4
    files = {
        "latin.txt": b"one\ntwo\nthr\xe9e\nfour\n",
        "latin.jsonl": good + b'{"text": "caf\xe9"}\n',
        "latin.jsonl.gz": gzip.compress(good + b'{"text": "caf\xe9"}\n'),
        "cut.jsonl": good + b'\n{"text": "a\n' + good,
        "list.jsonl": good + b'["text"]\n',
        "half.jsonl": good + b'{"text": "a \\ud83d"}\n',
        "nested.jsonl": good + b'{"text": "a", "id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
        "long.jsonl": good + b'{"text": "a", "id": ' + b"7" * 5000 + b"}\n",
        "number.jsonl": good + b'{"text": 5}\n',
        "missing.jsonl": good + b'{"txt": "b", "id": 1}\n',
        "nulls.jsonl": b'{"text": null}\n{"text": ""}\n',
        "blank.txt": b"\n \n\n",
        "empty.txt": b"",
        "empty.jsonl": b"",
        "few.txt": b"one\ntwo\nthree\n",
        "notes.docx": b"",
        "notes.gz": b"",
        "plain.jsonl.gz": good,
        "cut.jsonl.gz": gzip.compress(good)[:-9],
        "broken.parquet": b"PAR1",
    }
    for name, content in files.items():
        with open(name, "wb") as file:
            file.write(content)
    pd.DataFrame({"text": [1, 2, 3]}).to_parquet("numbers.parquet")


CHAT = {"prompt": "prompt", "response": "response"}
BAD = [
    ("latin.txt", {}, "line 3 of latin.txt must be UTF-8, and has the byte 0xe9"),
    ("latin.jsonl", {}, "line 5 of latin.jsonl must be UTF-8"),
    ("latin.jsonl.gz", {}, "line 5 of latin.jsonl.gz must be UTF-8"),
    ("cut.jsonl", {}, "line 6 of cut.jsonl must be JSON: "),
    ("list.jsonl", {}, "line 5 of list.jsonl must be a JSON object, got '\\[\"text\"\\]'"),
    ("half.jsonl", {}, "line 5 of half.jsonl has the half of one, U\\+D83D"),
    ("nested.jsonl", {}, "line 5 of nested.jsonl must be JSON that is less nested"),
    ("long.jsonl", {}, "line 5 of long.jsonl must be JSON: Exceeds the limit"),
    ("missing.jsonl", {"text": "t", "skip_missing": True}, "of missing.jsonl, .* got 't'"),
    ("number.jsonl", {}, "column 'text' .* must hold text, got 5 in line 5 of number.jsonl"),
    ("numbers.parquet", {}, "column 'text' .* must hold text, got 1 in row 0 of numbers.parquet"),
    ("missing.jsonl", {}, "line 5 of missing.jsonl, 'txt', 'id', got 'text'"),
    ("c.parquet", {"text": "story"}, "c.parquet, 'prompt', 'response', 'text', got 'story'"),
    ("c.jsonl", {"text": "story"}, "line 1 of c.jsonl, 'prompt', 'response', 'text', got 'story'"),
    ("c.jsonl", {"prompt": "q", "response": "text"}, "'prompt', 'response', 'text', got 'q'"),
    ("nulls.jsonl", {}, "must have a document, and none of the 2 records of nulls.jsonl has text"),
    ("blank.txt", {}, "must have a document, and none of the 4 records of blank.txt"),
    ("empty.txt", {}, "must have a document"),
    ("empty.jsonl", {}, "must have a document, and none of the 0 records"),
    ("few.txt", {}, "corpus must leave at least 2 training and 2 test"),
    ("notes.docx", {}, "suffix of the corpus must be one of .*'.jsonl.gz', .* got '.docx'"),
    ("notes.gz", {}, "suffix of the corpus must be one of .* got '.gz'"),
    ("c.jsn", {}, "suffix of the corpus .* got '.jsn'; did you mean '.json'"),
    ("none.txt", {}, "there is no file none.txt"),
    ("none.parquet", {}, "there is no file none.parquet"),
    ("plain.jsonl.gz", {}, "readable file; plain.jsonl.gz is not: Not a gzipped file"),
    ("cut.jsonl.gz", {}, "readable file; cut.jsonl.gz is not: "),
    ("broken.parquet", {}, "readable file; broken.parquet is not: "),
    ("few.txt", CHAT, "columns of the corpus must not be given for .txt, got 'prompt'"),
    ("few.txt", {"separator": ""}, "separator must not be empty"),
    ("c.jsonl", {"prompt": "prompt"}, "must be given together, got no response"),
    ("c.jsonl", {"response": "response"}, "must be given together, got no prompt"),
    ("c.jsonl", {**CHAT, "text": "text"}, "text cannot be given together with prompt"),
    ("c.jsonl", {"published_strip": True}, "published_strip must be False"),
    ("c.jsonl", {"test_fraction": 1.5}, "test_fraction must be below 1, got 1.5"),
    ("c.jsonl", {"split_seed": -1}, "split_seed must be between 0"),
]


@pytest.mark.parametrize(("path", "options", "message"), BAD, ids=[m[:40] for *_, m in BAD])
def test_refused(path, options, message):
    spoil()
    with pytest.raises(ValueError, match=message):
        Text(path, **options)


def fake_datasets(monkeypatch, load):
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load))


class Table(dict):
    @property
    def column_names(self):
        return list(self)


def test_the_hub(monkeypatch):
    asked = []

    def load(*arguments, **options):
        asked.append((arguments, options))
        size = 3 if options["split"] == "validation" else 20
        return Table(pd.DataFrame(records(size)).to_dict("list"))

    fake_datasets(monkeypatch, load)
    corpus = Hub("nobody/stories-1.5", revision="main", **CHAT)
    assert asked == [(("nobody/stories-1.5", None), {"split": "train", "revision": "main"})]
    assert (len(corpus.train), len(corpus.test)) == (18, 2)
    assert "user: ask 1\nassistant: tell 1" in corpus.train + corpus.test
    corpus = Hub("nobody/stories", subset="old", split="train[:20]", test_split="validation")
    assert asked[1:] == [
        (("nobody/stories", "old"), {"split": name, "revision": None})
        for name in ("train[:20]", "validation")
    ]
    assert corpus.train == tuple(f"text {i}" for i in range(20))
    assert corpus.test == ("text 0", "text 1", "text 2")
    with pytest.raises(ValueError, match=r"nobody/stories, 'prompt', .*, got 'story'"):
        Hub("nobody/stories", text="story")


def test_what_the_hub_refuses(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=re.escape("pip install 'collapse_jax[hub]'")):
        Hub("roneneldan/TinyStories")
    for name in ("", "a/b/c", "what ever", "https://example.org/x", "a/b?", "ä/b"):
        with pytest.raises(ValueError, match=r"name must be that of a data set.*Text"):
            Hub(name)

    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach 'nobody/stories' on the Hub\nand more")

    fake_datasets(monkeypatch, unreachable)
    with pytest.raises(ValueError, match="want of a network: Couldn't reach 'nobody/stories' on"):
        Hub("nobody/stories")


def test_corpora_say_which_tokenizer_they_need():
    write_all(records())
    assert isinstance(Text("c.jsonl").tokenizer, cj.corpus.ByteTokenizer)
    assert isinstance(cj.corpus.Grammar().tokenizer, cj.corpus.WordTokenizer)


def test_what_becomes_of_documents_is_counted_and_limited():
    rows = [f"text {i}" for i in range(16)] + ["text 1"] * 3 + ["long " * 20] * 8 + [""]
    pd.DataFrame({"text": rows}).to_json("c.jsonl", orient="records", lines=True)
    corpus = Text("c.jsonl", test_fraction=0.5)
    task = cj.LanguageModel(corpus, context=64)
    found = task.survey
    assert (found.documents, found.skipped, found.longer) == (27, 1, 8)
    assert found.duplicated == len(corpus.train) - len(set(corpus.train)) > 0
    assert found.leaked == sum(text in corpus.test for text in corpus.train) > 0
    assert "27; 1 without text, left out; 8 longer than the context; " in str(found)
    with pytest.raises(ValueError, match=r"at least 0.296, got 0.2: of 27 .* 8 are .*'truncate'"):
        cj.LanguageModel(corpus, context=64, most_dropped=0.2)
    kept = cj.LanguageModel(corpus, context=64, longer="split", most_dropped=0.2)
    assert (
        kept.n_samples
        > len(corpus.train)
        == cj.LanguageModel(corpus, context=64, longer="truncate", most_dropped=0.2).n_samples
    )


def test_a_tokenizer_that_spoils_the_form_of_a_chat_is_refused():
    """With a space before the first word no document starts with its prompt any more."""
    write_all(records())
    corpus = Text("c.jsonl", prompt="prompt", response="response")
    train_bpe(corpus.train, 300, "plain.json")
    with open("plain.json", encoding="utf-8") as file:
        written = json.load(file)
    written["pre_tokenizer"]["add_prefix_space"] = True
    with open("spaced.json", "w", encoding="utf-8") as file:
        json.dump(written, file)
    cj.LanguageModel(corpus, tokenizer=FileTokenizer("plain.json"))
    with pytest.raises(ValueError, match=r"of 18 real ones 18 would not be accepted.*' user: ask"):
        cj.LanguageModel(corpus, tokenizer=FileTokenizer("spaced.json"))


def test_documents_that_have_not_ended_are_not_accepted():
    tokenizer = ByteTokenizer()
    tokens = np.full((3, 4), ord("a"), np.int32)
    tokens[0, 3] = tokens[1, 3] = tokens[2, 2] = tokenizer.eos_id
    drawn = Documents(tokens, np.array([4, 2, 3], np.int32))  # the second one is cut in front of it
    accepted, places = acceptance.accepted(drawn, None, tokenizer, 4, Reading())
    assert places.tolist() == [0, 2]
    np.testing.assert_array_equal(accepted.tokens, tokens[[0, 2]])
    np.testing.assert_array_equal(accepted.lengths, [4, 3])
    _, places = acceptance.accepted(drawn, None, tokenizer, 4, Reading(generate_from="halves"))
    assert places.tolist() == [0, 1, 2]
