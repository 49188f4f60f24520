"""Chat templates: against transformers, attacks, and tasks that learn chats in their form."""

import json
import sys
from pathlib import Path

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

import collapse_jax as cj
from collapse_jax.language.acceptance import accepted
from collapse_jax.language.corpora.chat import Message
from collapse_jax.language.corpora.documents import Masked, Ragged
from collapse_jax.language.corpora.surveys import check_dropped, survey
from collapse_jax.language.model.architecture import Architecture
from collapse_jax.language.prompts import Prompts
from collapse_jax.language.reading import Reading, read_rows
from collapse_jax.language.samples import SampleWriter
from collapse_jax.language.tokenizers import templates
from collapse_jax.language.tokenizers.files import FileTokenizer
from collapse_jax.language.tokenizers.templates import Template, find_template
from collapse_jax.run.staged import Generation

# In the manner of the families' own, with the same tokens.
CHATML = """\
{%- if messages[0].role != 'system' %}
    {{- '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
LLAMA3 = """\
{{- bos_token }}
{%- set ns = namespace(n=0) %}
{%- for message in messages %}
    {%- set ns.n = ns.n + 1 %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message["content"] + eos_token }}
    {%- endif %}
{%- endfor %}
"""
GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{{ raise_exception('System role not supported') }}{% endif %}
{% for message in messages %}
{% if message['role'] == 'assistant' %}{% set role = 'model' %}
{% else %}{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}
"""
MARKED = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}
    {%- else %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
TEMPLATES = {
    "chatml": (CHATML, "<|endoftext|>", "<|im_end|>"),
    "marked": (MARKED, "<|endoftext|>", "<|im_end|>"),
    "llama3": (LLAMA3, "<|begin_of_text|>", "<|eot_id|>"),
    "mistral": (MISTRAL, "<s>", "</s>"),
    "gemma": (GEMMA, "<bos>", "<eos>"),
}
SPECIAL = (
    *("<s>", "</s>", "<bos>", "<eos>", "<|begin_of_text|>", "<|endoftext|>"),
    *("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]"),
)
CHAT = (Message("user", "Tea?"), Message("assistant", "Gladly. Ünï \U0001f600"))
LONG = (*CHAT, Message("user", " and \n cake "), Message("assistant", "user: no,\n\nthank you"))
WITH_SYSTEM = (Message("system", "Be brief."), *LONG)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)


def checkpoint(name, folder="model", inside="file"):
    """The files of a tokenizer of bytes, some pairs and special tokens, with this template."""
    template, bos, eos = TEMPLATES[name]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("a", "n"), ("Ġ", "an"), ("Ċ", "Ċ"), ("e", "a"), ("l", "a"), ("la", "d"), ("Ġ", "n")]
    vocabulary = {t: i for i, t in enumerate([*letters, *(a + b for a, b in merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    words = pre_tokenizers.Split(Regex(r"\s*[\r\n]+|\s?[\p{L}\p{N}]+|\s+|\S"), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    Path(folder).mkdir(exist_ok=True)
    tokenizer.save(f"{folder}/tokenizer.json")
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos}
    if inside == "file":
        Path(folder, "chat_template.jinja").write_text(template)
    else:
        config["chat_template"] = template
        if inside == "list":
            config["chat_template"] = [
                {"name": "tools", "template": "{{ no }}"},
                {"name": "default", "template": template},
            ]
    Path(folder, "tokenizer_config.json").write_text(json.dumps(config))
    return FileTokenizer(folder)


def rows_of(name, chats, context=400, loss_on="responses"):
    tokenizer = checkpoint(name)
    how = Reading(find_template(tokenizer.folder, "own"), loss_on, "prompts")
    return tokenizer, read_rows([], chats, tokenizer, context, how)


def expected_rows(theirs, chats):
    """The ids that transformers makes, those of responses among them, and of the last prompt.

    Without BOS, up to the token that ends a response, or with such a token at the end.
    """
    for chat in chats:
        messages = [message._asdict() for message in chat]
        ids = theirs.apply_chat_template(messages)["input_ids"]
        marks = [False] * len(ids)
        for i, message in enumerate(messages):
            if message["role"] == "assistant":
                asked = theirs.apply_chat_template(messages[:i], add_generation_prompt=True)
                answered = theirs.apply_chat_template(messages[: i + 1])["input_ids"]
                prompt = len(asked["input_ids"])
                for k in range(prompt, len(answered)):
                    marks[k] = theirs.eos_token_id not in ids[prompt:k]
        last = max(i for i, mark in enumerate(marks) if mark)
        ids, marks = ids[: last + 1], marks[: last + 1]
        if ids[-1] != theirs.eos_token_id:
            ids, marks = [*ids, theirs.eos_token_id], [*marks, True]
        first = int(ids[0] == theirs.bos_token_id)
        yield ids[first:], marks[first:], prompt - first


@pytest.mark.parametrize("name", TEMPLATES)
def test_rows_are_those_of_transformers(name):
    transformers = pytest.importorskip("transformers")
    chats = [CHAT, LONG] + ([] if name == "gemma" else [WITH_SYSTEM])
    tokenizer, rows = rows_of(name, chats)
    theirs = transformers.AutoTokenizer.from_pretrained("model")
    assert (theirs.bos_token_id, theirs.eos_token_id) == (tokenizer.bos_id, tokenizer.eos_id)
    for i, (ids, learned, prompt) in enumerate(expected_rows(theirs, chats)):
        assert rows.tokens[i, : rows.lengths[i]].tolist() == ids
        assert rows.learned[i, : rows.lengths[i]].tolist() == learned
        assert rows.prompts[i] == prompt
        assert not rows.learned[i, rows.lengths[i] :].any()
        if name == "marked":
            messages = [message._asdict() for message in chats[i]]
            options = {"return_dict": True, "return_assistant_tokens_mask": True}
            masks = theirs.apply_chat_template(messages, **options)["assistant_masks"]
            assert learned == [bool(mark) for mark in masks][: len(learned)]


@pytest.mark.parametrize("name", TEMPLATES)
def test_responses_and_special_tokens_are_where_they_should_be(name):
    """Without transformers: what is learned reads as the responses, and markup is single ids."""
    chats = [CHAT, LONG]
    tokenizer, rows = rows_of(name, chats)
    written = {"mistral": "{} ", "llama3": "{}", "gemma": "{}\n"}.get(name, "{}")
    for chat, row, length, learned, prompt in zip(
        chats, rows.tokens, rows.lengths, rows.learned, rows.prompts, strict=True
    ):
        ids = row[:length].tolist()
        assert ids[-1] == tokenizer.eos_id
        assert tokenizer.bos_id not in ids
        said = [content for role, content in chat if role == "assistant"]
        text = tokenizer.decode(row[:length][learned[:length]].tolist())
        assert text.replace(" ", "") == "".join(map(written.format, said)).replace(" ", "")
        assert tokenizer.decode(ids[prompt:]).strip() == said[-1]
        assert learned[prompt:length].all()
        assert not any(text in tokenizer.decode(ids) for text in ("im_start", "header", "INST"))
    everything = rows_of(name, chats, loss_on="all")[1]
    assert everything.learned is None
    np.testing.assert_array_equal(everything.tokens, rows.tokens)


@pytest.mark.parametrize("name", TEMPLATES)
def test_chats_are_read_again_as_they_were(name):
    """Where the next generation learns from texts, and a model wrote them by single bytes."""
    tokenizer, real = rows_of(name, [CHAT, LONG])
    tokens = tokenizer.tokens
    each = {token: i for i, token in enumerate(tokens)}
    made = np.zeros(real.tokens.shape, np.int32)
    learned, lengths = np.zeros(made.shape, bool), []
    for row, length in enumerate(real.lengths):
        parts = []
        for i, token in enumerate(real.tokens[row, :length]):
            mark, whole = real.learned[row, i], i < real.prompts[row] or tokens[token] in SPECIAL
            parts += [(i, mark) for i in ([token] if whole else map(each.get, tokens[token]))]
        lengths.append(len(parts))
        made[row, : len(parts)], learned[row, : len(parts)] = zip(*parts, strict=True)
    drawn = Masked(made, np.array(lengths, np.int32), learned)
    how = Reading(find_template(tokenizer.folder, "own"), "responses", "prompts", "text")
    ragged = Ragged(real.tokens, real.lengths, vocab_size=tokenizer.vocab_size)
    prompts = Prompts(jnp.asarray(real.prompts), ragged, how)
    rows, places = accepted(drawn, None, tokenizer, made.shape[1], how, prompts)
    assert places.tolist() == [0, 1]
    assert (np.array(lengths) > real.lengths).all()
    np.testing.assert_array_equal(rows.tokens, real.tokens)
    np.testing.assert_array_equal(rows.learned, real.learned)


def test_chats_with_the_text_of_a_special_token_are_left_out():
    """It would become the token, so that a text could end its own turn and begin another."""
    chats = [
        CHAT,
        (Message("user", "a<|im_end|>"), CHAT[1]),
        (CHAT[0], Message("assistant", "<s>")),
    ]
    _, rows = rows_of("chatml", chats)
    assert (len(rows.tokens), rows.special) == (1, 2)
    found = survey(["a"] * 6, ["b"], 0, 1)._replace(special=2)
    check_dropped(found, 0.5, 64)
    check_dropped(found, 0.3, 64, longer=False)
    with pytest.raises(ValueError, match=r"at least 0.429, .*1 are longer .* and 2 have the text"):
        check_dropped(found, 0.4, 64)
    with pytest.raises(ValueError, match=r"at least 0.286, got 0.2: of 7 documents 2 have the"):
        check_dropped(found, 0.2, 64, longer=False)


@pytest.mark.parametrize("inside", ["file", "text", "list"])
def test_templates_are_found(inside):
    tokenizer = checkpoint("chatml", inside=inside)
    found = find_template(tokenizer.folder, "own")
    assert found == Template(CHATML, {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>"})
    Path("other.jinja").write_text("{{ eos_token }}")
    assert find_template(tokenizer.folder, "other.jinja") == found._replace(
        source="{{ eos_token }}"
    )
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        Path("model", file).unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"there is none in .*: no chat_template\.jinja, and no"):
        find_template(tokenizer.folder, "own")
    with pytest.raises(ValueError, match=r"or a readable file, and there is no file no\.jinja"):
        find_template(tokenizer.folder, "no.jinja")


ATTACKS = {
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": "SecurityError",
    "{{ messages.__init__.__globals__ }}": "SecurityError",
    "{{ raise_exception.__globals__['json'] }}": "SecurityError",
    "{{ namespace.__globals__['json'] }}": "SecurityError",
    "{{ self.__init__.__globals__ }}": "SecurityError",
    "{% set n = namespace(__class__=1) %}": "SecurityError",
    "{% set n = namespace() %}{% set n.__class__ = 1 %}": "SecurityError",
    "{{ messages.append(1) }}": "SecurityError",
    "{{ '{0.__class__.__mro__}'.format(1).x }}{{ ''.__class__() }}": "SecurityError",
    "{% include '/etc/passwd' %}": "no loader",
    "{% import 'os' as os %}": "no loader",
    "{{ cycler.__init__.__globals__.os }}": "UndefinedError|SecurityError|nothing of",
    "{{ lipsum.__globals__ }}": "UndefinedError",
    "{{ dict.mro()[1] }}": "UndefinedError|SecurityError",
    "{% for i in range(10**9) %}x{% endfor %}": "Range too big",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}": "longer than",
    "{{ 'a' * 10**10 }}": "memory|longer than",
    "{{ 'x'.center(10**10) }}": "memory|longer than",
    "{{ '%9999999999d' % 1 }}": "memory|longer than",
    "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}"
    "{% endfor %}": "memory|longer than",
    "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}": "it writes too much",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "RecursionError",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}": "RecursionError",
    "{{ {% }}": "TemplateSyntaxError",
    "{{ nothing.at.all }}": "UndefinedError",
    "{{ raise_exception('no \u2028 good') }}": "no \u2028 good",
    "{{ messages[0].content }}": "nothing of the last response",
    "": "nothing of the last response",
    "{{ messages | length }}{{ messages | tojson }}": "put {% generation %} and",
}


@pytest.mark.parametrize("template", ATTACKS, ids=[t[:40] for t in ATTACKS])
def test_a_template_can_neither_run_code_nor_hang(template, monkeypatch):
    monkeypatch.setattr(templates, "_SECONDS", 2)
    with pytest.raises(ValueError, match="template must write chats, and did not") as caught:
        Template(template, {}).write([CHAT])
    assert any(part in str(caught.value) for part in ATTACKS[template].split("|"))


def test_the_chat_that_cannot_be_written_is_named():
    with pytest.raises(ValueError, match=r"with chat 2 of the corpus, .*System role not supported"):
        Template(GEMMA, {"bos_token": ""}).write([CHAT, LONG, WITH_SYSTEM])


def test_the_day_is_no_matter():
    """Or a run could not be gone on with the day after."""
    template = "{{ strftime_now('%d %b %Y') + ' ' }}" + MISTRAL
    text = Template(template, {"bos_token": "", "eos_token": ""}).write([CHAT])[0].text
    assert text.startswith("26 Jul 2024 ")


def test_without_jinja(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ValueError, match=r"pip install 'collapse_jax\[text\]'"):
        Template(CHATML, {}).write([CHAT])


def chats_file():
    rows = [
        {"messages": [
            {"role": "user", "content": f"ask {i}"},
            {"role": "assistant", "content": "sure<|im_end|>" if i == 3 else f"told {i}"},
        ]}
        for i in range(20)
    ]  # fmt: skip
    Path("c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return cj.corpus.Text("c.jsonl", messages="messages")


def test_named_chats_are_read_as_those_of_the_task():
    """With the same special tokens, and the same tokens count; other texts are read as ever."""
    tokenizer, corpus = checkpoint("chatml"), chats_file()
    Path("plain.txt").write_text("a\nb\nc\nd\n")
    model = Architecture(vocab_size=tokenizer.vocab_size, context=96, width=8, depth=1, heads=2)
    named = {"chats": corpus, "plain": cj.corpus.Text("plain.txt", test_fraction=0.5)}
    options = {"model": model, "tokenizer": tokenizer, "template": "own", "named": named}
    task = cj.LanguageModel(corpus, loss_on="responses", **options)
    rows, plain = (task.named_rows[f"perplexity_{name}"].rows() for name in ("chats", "plain"))
    for found, *parts in zip(rows, task.train, task.test, strict=True):
        np.testing.assert_array_equal(found, np.concatenate(parts))
    assert plain.learned is None
    assert len(plain.lengths) == 4


def test_a_task_with_the_template_of_its_tokenizer():
    tokenizer = checkpoint("chatml")
    model = Architecture(vocab_size=tokenizer.vocab_size, context=96, width=8, depth=1, heads=2)
    options = {"model": model, "tokenizer": tokenizer, "template": "own"}
    task = cj.LanguageModel(chats_file(), **options)
    assert (task.generate_from, task.survey.special, task.n_samples) == ("prompts", 1, 17)
    assert "1 with the text of a special token, left out" in str(task.survey)
    text = tokenizer.decode(np.asarray(task.train.tokens[0, : task.train.lengths[0]]).tolist())
    assert text.startswith("system\nBe helpful.\nuser\nask ")
    rows = [np.asarray(x)[None, :1] for x in task.train]
    made = Generation(1, np.array([0]), None, rows)
    SampleWriter("out", tokenizer, special=True)(made)
    shown = json.loads(Path("out/seed-0-generation-1.jsonl").read_text(encoding="utf-8"))["text"]
    assert shown.startswith("<|im_start|>system\nBe helpful.<|im_end|>\n<|im_start|>user\nask ")
    again = cj.config.rebuild(cj.config.describe(task))
    np.testing.assert_array_equal(again.train.tokens, task.train.tokens)
    Path("model/chat_template.jinja").write_text(MARKED)
    with pytest.raises(ValueError, match="its fingerprint differs"):
        cj.config.rebuild(cj.config.describe(task))
    with pytest.raises(ValueError, match="generate_from must be 'prompts' where a template"):
        cj.LanguageModel(chats_file(), generate_from="bos", **options)
    with pytest.raises(ValueError, match="template must not be given with a grammar"):
        cj.LanguageModel(cj.corpus.Grammar(chat=True), **options)
