"""Tokenizers, their training, and documents as rows of tokens."""

import json
import re
import shutil
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

import collapse_jax as cj
from collapse_jax.cli.program import main
from collapse_jax.language.corpora import (
    ByteTokenizer,
    FileTokenizer,
    WordTokenizer,
    check_vocabulary,
    decode_documents,
    encode_documents,
    train_bpe,
)

CHECKPOINTS = Path(__file__).parent / "checkpoints"
TEXTS = [
    "",
    "plain",
    "a</s><|endoftext|><eos>b",
    "user: a\nassistant: b",
    "ünï \u2028 \U0001f600",
    " two  spaces ",
    "\x00\n\n",
]
CORPUS = cj.corpus.Grammar(chat=True).sample(200)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Runs in an empty folder, without the run-time checks of the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)


def small_file(path="tokenizer.json", special=("<unk>", "<bos>", "<eos>"), **options):
    """A tokenizer.json of bytes and special tokens, which adds BOS and pads if it is let."""
    vocabulary = {token: i for i, token in enumerate(special)}
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[byte] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    first = special[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, 0)]
    )
    tokenizer.enable_padding(pad_id=0, pad_token=first, length=50)
    tokenizer.enable_truncation(5)
    tokenizer.save(path)
    return tokenizer


def test_every_text_comes_back():
    train_bpe(CORPUS, 300, "bpe.json")
    small_file()
    for tokenizer in (ByteTokenizer(), FileTokenizer("bpe.json"), FileTokenizer("tokenizer.json")):
        for text in TEXTS:
            ids = tokenizer.encode(text)
            assert tokenizer.decode(ids) == text
            assert all(0 <= i < tokenizer.vocab_size for i in ids)
            assert not {tokenizer.eos_id, tokenizer.bos_id} & set(ids)
        assert tokenizer.encode_all(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
        assert max(tokenizer.eos_id, tokenizer.bos_id) < tokenizer.vocab_size


def test_bytes_that_are_no_text():
    assert ByteTokenizer().encode("é\n") == list("é\n".encode()) == [0xC3, 0xA9, 0x0A]
    assert ByteTokenizer().decode([0x61, 0xC3, 0x62, 256]) == "a\ufffdb"


def test_words():
    tokenizer = WordTokenizer(("<eos>", "\n", "user:", "a", "b"))
    assert tokenizer.encode("user: a\nb") == [2, 3, 1, 4]
    assert (tokenizer.vocab_size, tokenizer.eos_id, tokenizer.bos_id) == (5, 0, 0)
    for ids in ([1, 1, 3, 1], [4, 1, 1], [1], [], [2, 2, 1, 2]):
        assert tokenizer.encode(tokenizer.decode(ids)) == ids
    with pytest.raises(ValueError, match=r"words of the text must be one of .*, got 'used:'; did"):
        tokenizer.encode("used: a")
    with pytest.raises(ValueError, match="got '<eos>'"):
        tokenizer.encode("a <eos>")


def test_a_file_is_read_as_its_library_reads_it():
    reference = small_file()
    reference.no_padding()
    reference.no_truncation()
    tokenizer = FileTokenizer("tokenizer.json")
    text = "a longer text than five tokens"
    assert tokenizer.encode(text) == reference.encode(text, add_special_tokens=False).ids
    assert len(tokenizer.encode(text)) == len(text)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.vocab_size) == (1, 2, 259)
    assert tokenizer.decode([1, *tokenizer.encode("ab"), 2]) == "ab"
    assert tokenizer.encode_all([text, "a"]) == [tokenizer.encode(text), tokenizer.encode("a")]


def test_special_tokens_are_found(tmp_path):
    special = ("<pad>", "<s>", "</s>", "<|endoftext|>", "<stop>", "<go>")
    small_file(special=special)

    def found(path="tokenizer.json", **options):
        tokenizer = FileTokenizer(path, **options)
        return special[tokenizer.bos_id], special[tokenizer.eos_id]

    assert found() == ("<s>", "</s>")
    assert found(eos="<stop>", bos="<go>") == ("<go>", "<stop>")
    config = {"eos_token": "<stop>", "bos_token": {"content": "<go>"}, "pad_token": "<pad>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert found() == found(tmp_path) == ("<go>", "<stop>")
    assert found(eos="</s>") == ("<go>", "</s>")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": None}))
    assert found() == ("<s>", "</s>")
    with pytest.raises(ValueError, match=r"eos must be a token of .*none of '<end>'.*'<stop>'"):
        found(eos="<end>")
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json must be JSON"):
        found()


def test_special_tokens_are_those_that_transformers_would_take(tmp_path):
    """Of old versions special_tokens_map.json decides; ids of the model serve where none does."""
    special = ("<a>", "<b>", "<c>", "<d>", "</s>", "<s>")
    small_file(special=special)

    def found(**files):
        for name in ("tokenizer_config", "special_tokens_map", "generation_config", "config"):
            content = json.dumps(files[name]) if name in files else "{}"
            (tmp_path / f"{name}.json").write_text(content)
        return special[FileTokenizer(tmp_path).eos_id]

    ids = {"generation_config": {"eos_token_id": [2, 0]}, "config": {"eos_token_id": 3}}
    assert found() == "</s>"
    assert found(config=ids["config"]) == "<d>"
    assert found(**ids) == "<c>"
    assert found(tokenizer_config={"eos_token": None}, **ids) == "<c>"
    named = {"special_tokens_map": {"eos_token": {"content": "<a>"}}, **ids}
    assert found(**named) == "<a>"
    assert found(tokenizer_config={"eos_token": "<b>"}, **named) == "<a>"
    new = {"eos_token": "<b>", "added_tokens_decoder": {}}
    assert found(tokenizer_config=new, **named) == "<b>"
    assert found(config={"eos_token_id": 10_000}) == "</s>"


def gpt2_files(folder, **config):
    """The two files of a tokenizer that was trained, without its tokenizer.json."""
    train_bpe(CORPUS, 300, "whole.json")
    with open("whole.json", encoding="utf-8") as file:
        model = json.load(file)["model"]
    folder.mkdir(exist_ok=True)
    merges = "".join(f"{' '.join(pair)}\n" for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", encoding="utf-8")
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_the_old_files_of_gpt2_are_converted(tmp_path):
    folder = gpt2_files(tmp_path / "old", tokenizer_class="GPT2Tokenizer")
    old, new = FileTokenizer(folder), FileTokenizer("whole.json")
    for text in (*TEXTS, *CORPUS[:20]):
        assert old.encode(text) == new.encode(text)
        assert old.decode(old.encode(text)) == text
    assert (old.bos_id, old.eos_id, old.vocab_size) == (new.bos_id, new.eos_id, new.vocab_size)
    assert old.tokens == new.tokens


def test_other_tokenizers_are_refused_and_never_become_bytes(tmp_path):
    """A checkpoint learns texts in its own tokens, or says that it has none."""
    corpus = tmp_path / "c.txt"
    corpus.write_text("\n".join(CORPUS).replace("user", "USER"))
    checkpoint = CHECKPOINTS / "gpt2"

    def model(**files):
        folder = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(checkpoint, folder)
        for name, content in files.items():
            (folder / name.replace("_json", ".json").replace("_model", ".model")).write_text(
                content
            )
        return lambda: cj.LanguageModel(cj.corpus.Text(corpus), checkpoint=folder)

    refused(r"tokenizer must be given: there is none in .*ByteTokenizer\(\)", model())
    refused(r"has tokenizer.model. Load it by AutoTokenizer", model(tokenizer_model="x"))
    refused(r"has vocab.json. Load it by AutoTokenizer", model(vocab_json="{}"))
    folder = gpt2_files(tmp_path / "qwen", tokenizer_class="Qwen2Tokenizer")
    refused(r"has vocab.json, merges.txt of a Qwen2Tokenizer", lambda: FileTokenizer(folder))


def test_a_file_tokenizer_is_described_and_made_again(tmp_path, monkeypatch):
    small_file()
    tokenizer = FileTokenizer("tokenizer.json", eos="<bos>")
    written = json.loads(json.dumps(cj.config.describe(tokenizer)))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cj.config.rebuild(written).eos_id == tokenizer.eos_id == 1
    small_file("../tokenizer.json", special=("<unk>", "<bos>", "<end>"))
    refused("FileTokenizer must be that of the run, and", lambda: cj.config.rebuild(written))


def test_ids_without_a_token_are_known():
    small_file()
    tokenizer = FileTokenizer("tokenizer.json")
    assert tokenizer.possible(259) is None
    np.testing.assert_array_equal(tokenizer.possible(300), np.arange(300) < 259)
    with open("tokenizer.json", encoding="utf-8") as file:
        written = json.load(file)
    written["model"]["vocab"]["a"] = 270  # with a hole before it
    with open("hole.json", "w", encoding="utf-8") as file:
        json.dump(written, file)
    known = FileTokenizer("hole.json").possible(271)
    assert known.sum() == 259
    assert known[270]
    assert not known[259:270].any()
    assert ByteTokenizer().possible(257) is None
    np.testing.assert_array_equal(ByteTokenizer().possible(260), np.arange(260) < 257)


def test_gpt2_has_one_token_for_both_ends():
    small_file(special=("<|endoftext|>",))
    tokenizer = FileTokenizer("tokenizer.json")
    assert tokenizer.bos_id == tokenizer.eos_id == 0


def test_files_that_are_no_tokenizers(tmp_path):
    (tmp_path / "broken.json").write_text('{"model": 3}')
    with pytest.raises(ValueError, match=r"must be a tokenizer\.json; .*/broken\.json is not: "):
        FileTokenizer("broken.json")
    with pytest.raises(ValueError, match=r"there is no file .*tokenizer\.json"):
        FileTokenizer(tmp_path)
    small_file(special=("<unk>",))
    with pytest.raises(ValueError, match=r"eos must be a token .* special tokens are .*'<unk>'"):
        FileTokenizer("tokenizer.json")


def test_training():
    assert train_bpe(CORPUS, 320, "first.json") == 320
    assert train_bpe(iter(CORPUS), 320, "second.json") == 320
    with open("first.json") as first, open("second.json") as second:
        assert first.read() == second.read()
    tokenizer = FileTokenizer("first.json")
    assert (tokenizer.vocab_size, tokenizer.eos_id, tokenizer.bos_id) == (320, 0, 0)
    n_bytes = sum(len(ByteTokenizer().encode(text)) for text in CORPUS)
    assert sum(map(len, tokenizer.encode_all(CORPUS))) < 0.5 * n_bytes
    assert train_bpe(["ab ab"], 5000, "small.json") < 270
    for size, message in ((256, "between 257 and"), (300.5, "must be a whole number")):
        with pytest.raises(
            (ValueError, TypeError), match=f"vocab_size must be.*{message}|{message}"
        ):
            train_bpe(CORPUS, size, "third.json")
    with pytest.raises(ValueError, match=r"suffix of out must be one of '\.json'"):
        train_bpe(CORPUS, 300, "third.txt")


def test_rows_of_tokens():
    documents = ["abc", "", "abcde", "abcd", "é"]
    encoded = encode_documents(documents, ByteTokenizer(), context=5)
    assert encoded.tokens.tolist() == [
        [97, 98, 99, 256, 0],
        [256, 0, 0, 0, 0],
        [97, 98, 99, 100, 256],
        [195, 169, 256, 0, 0],
    ]
    assert encoded.lengths.tolist() == [4, 1, 5, 3]
    assert encoded.longer == 1
    assert encoded.tokens.dtype == encoded.lengths.dtype == np.int32
    texts = decode_documents(encoded.tokens, encoded.lengths, ByteTokenizer())
    assert texts == ["abc", "", "abcd", "é"]
    first = encode_documents(documents, ByteTokenizer(), context=5, n_documents=2)
    assert (first.lengths.tolist(), first.longer) == ([4, 1], 1)
    many = encode_documents(["a"] * 2500, ByteTokenizer(), context=2)
    assert many.tokens.shape == (2500, 2)


def test_what_does_not_fit_is_dropped_cut_or_split():
    documents, tokenizer = ["abcdefg", "abc", "abcd"], ByteTokenizer()

    def rows(longer):
        found = encode_documents(documents, tokenizer, context=4, longer=longer)
        assert found.longer == 2
        return [row[:n].tolist() for row, n in zip(found.tokens, found.lengths, strict=True)]

    whole, first, end = [97, 98, 99, 256], [97, 98, 99, 100], [256]
    assert rows("drop") == [whole]
    assert rows("truncate") == [first, whole, first]
    assert rows("split") == [first, [101, 102, 103, 256], whole, first, end]
    refused("longer must be one of .*'truncate'", lambda: rows("cut"))


def test_a_row_that_was_cut_by_sampling_is_decoded_whole():
    tokens = np.array([[97, 98, 99], [97, 256, 5], [9, 9, 9]])
    assert decode_documents(tokens, np.array([3, 2, 0]), ByteTokenizer()) == ["abc", "a", ""]


def test_documents_of_the_grammar_fit_its_context():
    grammar = cj.corpus.Grammar()
    texts = grammar.sample(300)
    encoded = encode_documents(texts, grammar.tokenizer, grammar.max_length, n_documents=300)
    assert encoded.longer == 0
    assert np.isfinite(grammar.log_probabilities(*encoded[:2])).all()
    assert decode_documents(*encoded[:2], grammar.tokenizer) == texts


def refused(message, call):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_refused():
    documents, tokenizer = ["abc", "abcdef"], ByteTokenizer()
    refused(
        r"1 or more documents that fit into the context of 3 tokens, got 0 \(2 of 2 are longer",
        lambda: encode_documents(documents, tokenizer, 3),
    )
    refused(
        r"2 documents that fit into the context of 4 tokens, got 1 \(1 of 2 are longer and were",
        lambda: encode_documents(documents, tokenizer, 4, n_documents=2),
    )
    refused("got 0", lambda: encode_documents([], tokenizer, 4))
    refused("context must be between 1", lambda: encode_documents(documents, tokenizer, 0))
    refused("n_documents must be", lambda: encode_documents(documents, tokenizer, 9, 0))
    refused(
        "at most the 256 tokens of the model's embedding, got a vocabulary of 257",
        lambda: check_vocabulary(tokenizer, 256),
    )
    check_vocabulary(tokenizer, 257)


def test_command_line(tmp_path, capsys):
    (tmp_path / "c.txt").write_text("\n".join(text.replace("\n", " ") for text in CORPUS))
    (tmp_path / "d.txt").write_text("\n\n".join(CORPUS))
    command = ["tokenizer", "train", "--corpus"]
    assert main([*command, "c.txt", "--vocab-size", "290", "--test-fraction", "0.5"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "Tokenizer of 290 tokens from 100 documents: tokenizer.json\n"
    assert main([*command, "d.txt", "--separator", r"\n\n", "--vocab-size", "290"]) == 0
    assert "from 180 documents" in capsys.readouterr().out
    assert FileTokenizer("tokenizer.json").vocab_size == 290


BAD = [
    (["tokenizer"], "train must follow tokenizer, got ''"),
    (["tokenizer", "trian"], "train must follow tokenizer, got 'trian'"),
    (["tokenizer", "train"], "--corpus must be given"),
    (["tokenizer", "train", "--corpus", "none.txt"], "there is no file none.txt"),
    (["tokenizer", "train", "--corpus", "c.docx"], "suffix of the corpus must be one of"),
    (["tokenizer", "train", "--corpus", "hub:a/b/c"], "name must be that of a data set"),
    (["tokenizer", "train", "--corpus", "none.txt", "--vocab-size", "9"], "vocab_size must be"),
    (["tokenizer", "train", "--corpus", "none.txt", "--out", "a.txt"], "suffix of out must be"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[m for _, m in BAD])
def test_bad_input_is_one_line(arguments, message, capsys, tmp_path):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert re.fullmatch(f"collapse-jax: .*{message}.*\n", shown.err)
    assert shown.out == ""
    assert not list(tmp_path.iterdir())
