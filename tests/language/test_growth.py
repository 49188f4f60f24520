"""How much longer tokenizers make texts is known before one is given any."""

import base64
import json
import unicodedata

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from collapse_jax.language.tokenizers import files, growth
from collapse_jax.language.tokenizers.files import FileTokenizer
from collapse_jax.language.tokenizers.growth import check_growth

SPACE = "\u2581"


def replace(pattern, content):
    kind = "Regex" if pattern.startswith("r") else "String"
    return {"type": "Replace", "pattern": {kind: pattern.lstrip("r")}, "content": content}


def table(longest):
    """What SentencePiece packs: the size of an index, the index, and texts that end in zeros."""
    texts = f"ab\0{longest}\0c\0".encode()
    packed = base64.b64encode((4).to_bytes(4, "little") + bytes(4) + texts).decode()
    return {"type": "Precompiled", "precompiled_charsmap": packed}


def sequence(name, *parts):
    return {"type": "Sequence", name: list(parts)}


DOUBLED, LEVEL = replace("a", "aa"), {"type": "ByteLevel", "add_prefix_space": False}
ONCE = {"Sequence": {"id": "A", "type_id": 0}}
BLOWN = {
    "doublings": {"normalizer": sequence("normalizers", *[DOUBLED] * 40)},
    "within each other": {
        "normalizer": sequence("normalizers", DOUBLED, sequence("normalizers", *[DOUBLED] * 40))
    },
    "nothing": {"normalizer": replace("r(?=a)", "b" * 2000)},
    "a begin": {"normalizer": {"type": "Prepend", "prepend": "b" * 2000}},
    "begins": {
        "normalizer": sequence("normalizers", *[{"type": "Prepend", "prepend": SPACE}] * 20)
    },
    "a table": {"normalizer": table("b" * 2001)},
    "letters": {"normalizer": sequence("normalizers", *[{"type": "NFKD"}] * 3)},
    "bytes of bytes": {"pre_tokenizer": sequence("pretokenizers", *[LEVEL] * 12)},
    "both": {"normalizer": replace("a", "b" * 500), "pre_tokenizer": LEVEL},
    "often": {"post_processor": {"type": "TemplateProcessing", "single": [ONCE] * 3000}},
    "affixes": {"model": {"type": "BPE", "end_of_word_suffix": "b" * 2000}},
    "back": {"decoder": sequence("decoders", replace("a", "b" * 50), replace("b", "c" * 50))},
}


@pytest.mark.parametrize("name", BLOWN)
def test_what_blows_texts_up_is_refused(name):
    part = next(iter(BLOWN[name]))
    part = "pre_tokenizer|normalizer" if name == "both" else part
    with pytest.raises(ValueError, match=rf"its ({part}) makes texts up to .* times as long, all"):
        check_growth(BLOWN[name])


def test_parts_that_nobody_knows_are_refused():
    for part in ("normalizer", "pre_tokenizer", "model", "post_processor", "decoder"):
        with pytest.raises(ValueError, match=f"its {part} has a part 'Growing', of which is not"):
            check_growth({part: {"type": "Growing"}})


PUBLISHED = {
    "albert": {
        "normalizer": sequence(
            "normalizers",
            *(replace("``", '"'), replace("''", '"'), {"type": "NFKD"}, {"type": "StripAccents"}),
            *({"type": "Lowercase"}, table("b" * 18), replace("r {2,}", " ")),
        ),
        "pre_tokenizer": sequence(
            "pretokenizers", {"type": "WhitespaceSplit"}, {"type": "Metaspace"}
        ),
        "model": {"unk_id": 1, "vocab": []},
        "decoder": {"type": "Metaspace"},
    },
    "bert": {
        "normalizer": {"type": "BertNormalizer"},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "continuing_subword_prefix": "##"},
        "post_processor": {"type": "TemplateProcessing", "single": [{}, ONCE, {}]},
        "decoder": {"type": "WordPiece"},
    },
    "clip": {
        "normalizer": sequence(
            "normalizers", {"type": "NFC"}, replace(r"r\s+", " "), {"type": "Lowercase"}
        ),
        "pre_tokenizer": sequence("pretokenizers", {"type": "Split"}, LEVEL),
        "model": {"type": "BPE", "end_of_word_suffix": "</w>", "continuing_subword_prefix": ""},
        "post_processor": {"type": "RobertaProcessing"},
        "decoder": LEVEL,
    },
    "llama 2": {
        "normalizer": sequence(
            "normalizers", {"type": "Prepend", "prepend": SPACE}, replace(" ", SPACE)
        ),
        "pre_tokenizer": None,
        "model": {"type": "BPE", "byte_fallback": True, "continuing_subword_prefix": None},
        "post_processor": {"type": "TemplateProcessing", "single": [{}, ONCE]},
        "decoder": sequence(
            "decoders",
            *(replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip"}),
        ),
    },
    "llama 3": {
        "normalizer": None,
        "pre_tokenizer": sequence("pretokenizers", {"type": "Split"}, LEVEL),
        "post_processor": sequence("processors", LEVEL, {"type": "TemplateProcessing"}),
        "model": {"type": "BPE"},
    },
}
"""Parts of well-known tokenizers, as they are described."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_tokenizers_like_those_that_are_published_pass(name):
    check_growth(PUBLISHED[name])


def test_bounds_are_those_of_the_library():
    """Of all characters that become several, and of texts without spaces."""
    letters = [chr(i) for i in range(1, 0x110000) if not 0xD800 <= i < 0xE000]
    several = [c for c in letters if unicodedata.decomposition(c) or len(c.lower()) > 1]
    several += ["\u4e00", "\u00e9", "\U0001f600", "a"]
    for name, bound in growth._KNOWN["normalizer"].items():
        if name != "Sequence":
            made = getattr(normalizers, name)()
            assert max(len(made.normalize_str(c)) for c in several) <= bound, name
    tight = max(len(normalizers.NFKD().normalize_str(c)) for c in several)
    assert tight == growth._KNOWN["normalizer"]["NFKD"]
    level = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    spaced = {"ByteLevel": level, "Metaspace": pre_tokenizers.Metaspace()}
    for name, made in spaced.items():
        lengths = [sum(len(word) for word, _ in made.pre_tokenize_str(c)) for c in several]
        assert 1 < max(lengths) <= growth._KNOWN["pre_tokenizer"][name]
    for made in (decoders.WordPiece(), decoders.BPEDecoder(suffix=""), decoders.CTC()):
        bound = growth._KNOWN["decoder"][type(made).__name__]
        assert len(made.decode(["a", "b", "c"])) <= 3 * bound


def test_expressions_that_find_something_are_told_apart():
    """The library puts a text of two in all places of a text that does not have them."""
    for expression in (
        " ",
        r"\s+",
        "[ab]{2,}",
        "x{3}",
        r"\d",
        "x*",
        r"\b",
        "(?=.)",
        "x{0,2}",
        "x?",
    ):
        one = growth._ONE_AT_LEAST.fullmatch(expression) is not None
        made = normalizers.Replace(Regex(expression), "yy").normalize_str("\u00e9\u00e9")
        assert one == (made == "\u00e9\u00e9"), expression
        bound = growth._growth("normalizer", replace(f"r{expression}", "yy"))
        assert len(made) <= 2 * bound


def test_files_are_looked_at_before_they_are_read(tmp_path, monkeypatch):
    made = Tokenizer(models.BPE({"a": 0, "</s>": 1}, []))
    made.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    assert FileTokenizer(path).encode("aa") == [0, 0]
    written = json.loads(path.read_text())
    for change, message in (
        (BLOWN["bytes of bytes"], "its pre_tokenizer makes texts up to"),
        ({"post_processor": {**written["post_processor"], "single": [ONCE] * 3000}}, "3e[+]03"),
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "chunk size"),  # a panic
        ({"pre_tokenizer": {"type": "Growing"}}, "has a part 'Growing'"),
    ):
        path.write_text(json.dumps({**written, **change}))
        with pytest.raises(ValueError, match=rf"must be a tokenizer\.json; .* is not: .*{message}"):
            FileTokenizer(path)
    monkeypatch.setattr(files, "_LARGEST", 100)
    with pytest.raises(ValueError, match=r"it has .* bytes, and at most 100 are allowed"):
        FileTokenizer(path)


def test_padding_and_truncation_of_a_file_play_no_part(tmp_path):
    """A file that fills up all texts to five million tokens would take gigabytes for one letter."""
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=10**12)
    tokenizer.enable_truncation(1)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert FileTokenizer(tmp_path).encode("a a") == [0, 0]
