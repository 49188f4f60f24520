"""What long work says of itself where no bar can show."""

import numpy as np
from language.test_language_model import small

import collapse_jax as cj
from collapse_jax.basics import progress
from collapse_jax.language.corpora.encoding import encode_documents
from collapse_jax.language.tokenizers.base import ByteTokenizer


def test_lines_are_a_minute_apart_and_short_work_has_none(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    say = progress.lines("work")
    for second in range(0, 200, 7):
        now[0] = 1000.0 + second
        say(f"second {second}")
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["work: second 63", "work: second 126", "work: second 189"]
    assert printed.out == ""


def test_encoding_and_reading_say_how_far_they_are(monkeypatch, capsys, tmp_path):
    encode_documents(["a"] * 2001, ByteTokenizer(), context=4)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    encode_documents(["a"] * 2001, ByteTokenizer(), context=4)
    printed = capsys.readouterr().err.splitlines()
    assert printed[-1] == "tokens: 2,000 of 2,001 documents are encoded"
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "one"}\n{"text": "two"}\n{"text": "three"}\n{"text": "four"}\n')
    cj.corpus.Text(file, test_fraction=0.5)
    assert f"corpus: 2 records of {file} are read" in capsys.readouterr().err


def test_training_and_sampling_say_how_far_they_are_without_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    task = small()
    found = cj.simulate(cj.Replace(), task, 1, 1)
    printed = capsys.readouterr().err
    assert "LanguageModel Replace: generation 1: step 0 of" in printed
    assert f"LanguageModel Replace: generation 1: 0 of {task.n_samples} documents\n" in printed
    again = cj.simulate(cj.Replace(), task, 1, 1, progress=False)
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(found.test_loss, again.test_loss)
