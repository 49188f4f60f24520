"""Files of documents as people have them: kinds, packing, folders, lists of messages."""

import gzip
import json
import sys
from pathlib import Path

import jaxtyping
import pandas as pd
import pytest

from collapse_jax.language.corpora import Hub, Text
from collapse_jax.language.corpora.chat import format_messages
from collapse_jax.language.corpora.reading.messages import read_messages


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Runs in an empty folder, without the run-time checks of the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)


RECORDS = [{"text": f'tëxt {i}\nand [more], \\ "so"', "id": [i, {"x": None}]} for i in range(20)]
LINES = "\n".join(json.dumps(record, ensure_ascii=False) for record in RECORDS)
KINDS = {
    ".jsonl": LINES,
    ".ndjson": LINES + "\n\n",
    ".json": json.dumps(RECORDS, ensure_ascii=False),
    ".indented.json": " \n" + json.dumps(RECORDS, indent=2) + "\n",
    ".lines.json": LINES,
}


def write(name, content):
    content = content.encode()
    if name.endswith(".gz"):
        content = gzip.compress(content)
    if name.endswith(".zst"):
        zstandard = pytest.importorskip("zstandard")
        half = len(content) // 2
        parts = [zstandard.ZstdCompressor().compress(x) for x in (content[:half], content[half:])]
        content = b"".join(parts)
    Path(name).write_bytes(content)


@pytest.mark.parametrize("packed", ["", ".gz", ".zst", ".GZ"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_read_alike(kind, packed):
    write("plain.jsonl", LINES)
    name = f"c{kind}{packed}"
    write(name.lower(), KINDS[kind])
    Path(name.lower()).rename(name)
    corpus = Text(name)
    assert corpus.fingerprint == Text("plain.jsonl").fingerprint
    assert set(corpus.train + corpus.test) == {record["text"] for record in RECORDS}
    assert corpus.train_chats == ()


ARRAY = '[\n{"text": "a"},\n{"text": "b"}'
BROKEN = [
    (ARRAY, "line 3 of c.json must be JSON: the array does not end"),
    (ARRAY + "\n\n", "line 5 of c.json must be JSON: the array does not end"),
    (ARRAY + ",\n]", "line 4 of c.json must be JSON: Expecting value"),
    (ARRAY + '\n{"text": "c"}]', "line 4 of c.json must be JSON: expecting ',' or '\\]'"),
    (ARRAY + "]\n\nmore", "line 5 of c.json must be JSON: data after the array"),
    (ARRAY + ",\n5]", "line 4 of c.json must be a JSON object, got '5'"),
    (ARRAY + ',\n{"text": "c}]', "line 4 of c.json must be JSON: Unterminated"),
    (ARRAY + ',\n{"text":\n\n "c" 5}]', "line 6 of c.json must be JSON: Expecting ','"),
    (ARRAY + ',\n{"txt": "c"}]', "among those of line 4 of c.json, 'txt', got 'text'"),
    (ARRAY + ',\n{"text": 5}]', "must hold text, got 5 in line 4 of c.json"),
    (ARRAY + ',\n{"text": "a\\ud83d"}]', "line 4 of c.json has the half of one, U\\+D83D"),
    (ARRAY + ',\n{"text": ' + "[" * 100_000, "line 4 of c.json must be JSON that is less nested"),
    (ARRAY + ',\n{"text": ' + "7" * 5000 + "}]", "line 4 of c.json must be JSON: Exceeds"),
    ("[]", "none of the 0 records of c.json"),
    ("[", "line 1 of c.json must be JSON: the array does not end"),
    ('{"data": [\n{"text": "a"}]}', "line 1 of c.json must be JSON"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN, ids=[m[:50] for _, m in BROKEN])
def test_what_is_wrong_with_an_array_has_its_line(content, message):
    write("c.json", content)
    with pytest.raises(ValueError, match=message):
        Text("c.json")


def test_packed_files_that_cannot_be_unpacked(monkeypatch):
    write("c.jsonl.zst", LINES)
    whole = Path("c.jsonl.zst").read_bytes()
    Path("cut.jsonl.zst").write_bytes(whole[:-9])
    Path("plain.jsonl.zst").write_bytes(LINES.encode())
    for name in ("cut.jsonl.zst", "plain.jsonl.zst"):
        with pytest.raises(ValueError, match=f"readable file; {name} is not: "):
            Text(name)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(
        ValueError, match=r"c.jsonl.zst is not: .*pip install 'collapse_jax\[text\]"
    ):
        Text("c.jsonl.zst")


def test_folders_and_patterns():
    for name in ("data/b/2.jsonl.gz", "data/1.json", "data/.cache/3.jsonl", "data/README.md"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        write(name, "\n".join(json.dumps({"text": f"{name} {i}"}) for i in range(12)))
    folder = Text("data")
    assert {text.split()[0] for text in folder.train + folder.test} == {
        "data/1.json",
        "data/b/2.jsonl.gz",
    }
    assert len(folder.train + folder.test) == 24
    assert Text("data/**/[12].json*").fingerprint == folder.fingerprint
    assert len(set(Text("data/b/*").train)) == 10
    write("data/b/4.jsonl", '{"text": "a"}\n{"txt": "b"}')
    with pytest.raises(ValueError, match=r"among those of line 2 of data/b/4\.jsonl, 'txt'"):
        Text("data")
    corpus = Text("data", skip_missing=True)
    assert (len(corpus.train + corpus.test), corpus.skipped) == (25, 1)
    with pytest.raises(ValueError, match=r"there is none of the pattern data/\*\.txt; files end"):
        Text("data/*.txt")
    Path("d.txt").mkdir()
    with pytest.raises(ValueError, match=r"there is none in the folder d\.txt"):
        Text("d.txt")
    write("data/5.txt", "one")
    with pytest.raises(ValueError, match=r"must not be given for \.txt, got 'text'"):
        Text("data", text="text")


def chat(*turns):
    return [{"role": role, "content": content} for role, content in turns]


def single(i):
    return chat(("user", f"ask {i}"), ("assistant", f"tell {i}"))


def test_messages_of_one_prompt_are_the_published_format(monkeypatch):
    rows = [{"messages": single(i), "q": f"ask {i}", "a": f"tell {i}"} for i in range(20)]
    write("c.jsonl", "\n".join(map(json.dumps, rows)))
    pd.DataFrame(rows).to_parquet("c.parquet")
    parts = [
        [m | {"content": [{"type": "text", "text": m["content"]}]} for m in single(i)]
        for i in range(20)
    ]
    other = {"user": "human", "assistant": "gpt"}
    shared = [
        [{"from": other[m["role"]], "value": m["content"]} for m in single(i)] for i in range(20)
    ]
    write(
        "d.json",
        json.dumps(
            [{"messages": a, "conversations": b} for a, b in zip(parts, shared, strict=True)]
        ),
    )
    columns = Text("c.jsonl", prompt="q", response="a")
    for corpus in (
        Text("c.jsonl", messages="messages"),
        Text("c.parquet", messages="messages"),
        Text("d.json", messages="messages"),
        Text("d.json", messages="conversations"),
    ):
        assert corpus.is_chat
        assert corpus.fingerprint == columns.fingerprint
        assert corpus.train_chats == columns.train_chats
        assert corpus.accepts("user: a\nassistant: b")
        assert not corpus.accepts("user: a\nassistant: b\nassistant: c")
        assert corpus.reformat("user: a assistant: b") == "user: a assistant: b"
    assert format_messages(columns.train_chats[0]) == columns.train[0]


def test_longer_chats():
    long = chat(
        ("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c"),
        ("assistant", "d"), ("user", "left off"),
    )  # fmt: skip
    rows = [{"messages": m} for m in [long, *map(single, range(19))]]
    write("c.jsonl", "\n".join(map(json.dumps, rows)))
    corpus = Text("c.jsonl", messages="messages")
    text = "system: Be brief.\nuser: a\nassistant: b\nuser: c\nassistant: d"
    assert text in corpus.train + corpus.test
    assert corpus.accepts(text)
    assert corpus.accepts("user: a\nassistant: b")
    assert not corpus.accepts(text + "\nuser: e\nassistant: f")
    assert not corpus.accepts("assistant: a")
    assert not corpus.accepts("user: a")


WITHOUT = [
    None,
    [],
    chat(("user", "a")),
    chat(("assistant", "a")),
    chat(("user", "a"), ("assistant", " \n")),
    chat(("user", None), ("assistant", "a")),
    [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": []}],
]


@pytest.mark.parametrize("messages", WITHOUT)
def test_chats_without_a_response_are_counted(messages):
    write("c.jsonl", "\n".join(json.dumps({"m": m}) for m in [messages, *map(single, range(19))]))
    corpus = Text("c.jsonl", messages="m")
    assert (len(corpus.train + corpus.test), corpus.skipped) == (19, 1)


MALFORMED = [
    ("a", "must be lists of objects with 'role' and 'content', got 'a' in line 1"),
    ({"role": "user"}, "must be lists of objects"),
    (["a"], "must be lists of objects .*got \"\\['a'\\]\" in line 1"),
    ([{"content": "a"}], "must have 'role' and 'content', got one with 'content' in line 1"),
    ([{}], "got one with nothing"),
    (chat(("robot", "a")), "must be one of 'system', .*, got 'robot' in line 1"),
    ([{"role": 5, "content": "a"}], "must be one of .* got 5"),
    (chat(("user", 5)), "the content of a message must be text, got '5'"),
    (chat(("user", [])), "the content of a message must be text"),
    (chat(("user", [{"type": "image_url"}])), "must be text, got .*image_url.* in line 1"),
    (chat(("user", ["a"])), "must be text"),
]


@pytest.mark.parametrize(("messages", "message"), MALFORMED)
def test_malformed_messages_are_refused(messages, message):
    with pytest.raises(ValueError, match=message):
        read_messages(messages, "line 1")


def test_half_characters_in_messages_are_refused():
    write("c.jsonl", json.dumps({"m": chat(("user", "a"), ("assistant", "b\ud83d"))}))
    with pytest.raises(ValueError, match=r"line 1 of c\.jsonl has the half of one"):
        Text("c.jsonl", messages="m")
    for other in ({"text": "m"}, {"prompt": "m", "response": "m"}):
        with pytest.raises(ValueError, match="messages cannot be given together with"):
            Text("c.jsonl", messages="m", **other)
        with pytest.raises(ValueError, match="messages cannot be given together with"):
            Hub("a/b", messages="m", **other)
