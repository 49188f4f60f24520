"""Writes chats by a template of Jinja; `templates.py` runs this file as a program of its own.

A template comes with a checkpoint, perhaps from a stranger. A sandbox keeps it from code, and a
process of its own with limits keeps it from time and memory. Nothing of this package is imported.
"""

import json
import secrets
import sys
from typing import Any, ClassVar

import jinja2
from jinja2 import ext, nodes, sandbox

_DATE = "26 Jul 2024"  # any day, but the same in each run; Llama 3's own where it is told none
_MOST_TIMES = 100  # as long as the messages, apart from what is always written
_ALWAYS = 100_000


class Responses(ext.Extension):
    """The tag `{% generation %}`, which says what the model writes; marks are put around it."""

    tags: ClassVar = {"generation"}
    marks: ClassVar = tuple(f"\0{secrets.token_hex(16)}{side}" for side in "<>")

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("marked"), [], [], body).set_lineno(line)

    def marked(self, caller: Any) -> str:
        return caller().join(self.marks)


class _Namespace(jinja2.utils.Namespace):
    def __setitem__(self, name: str, value: Any) -> None:
        if str(name).startswith("_"):
            raise jinja2.exceptions.SecurityError(
                f"names must not begin with an underscore, got {name!r}"
            )
        super().__setitem__(name, value)


def namespace(**values: Any) -> _Namespace:
    """Values that a loop may change."""
    made = _Namespace()
    for name, value in values.items():
        made[name] = value
    return made


def environment() -> sandbox.ImmutableSandboxedEnvironment:
    """What templates may use: what transformers lets them."""
    made = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Responses, ext.loopcontrols]
    )

    def refuse(message: object) -> None:
        raise jinja2.TemplateError(str(message))

    def tojson(
        value: Any, indent: int | None = None, ensure_ascii: bool = False, **how: Any
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **how)

    def mapping(**values: Any) -> dict:  # the type itself has more to it
        return values

    made.globals = {
        "range": made.globals["range"],
        "dict": mapping,
        "namespace": namespace,
        "raise_exception": refuse,
        "strftime_now": lambda form: _DATE,
    }
    made.filters["tojson"] = tojson
    return made


def written(template: jinja2.Template, chat: list[dict[str, str]], known: dict[str, Any]) -> dict:
    """The text of a chat, and where its responses are in it, `[first, one after the last]`.

    Where the template does not mark them they are what it adds for a response to what it writes to
    ask for one.
    """

    def text_of(part: list[dict[str, str]], ask: bool) -> str:
        made = template.render(messages=part, add_generation_prompt=ask, **known)
        if len(made) > _ALWAYS + _MOST_TIMES * sum(len(m["content"]) for m in part):
            raise jinja2.TemplateError("it writes too much")
        return made

    first, last = Responses.marks
    whole = text_of(chat, ask=False)
    if first in whole:
        text, spans = "", []
        for piece in whole.replace(last, first).split(first):  # by turns outside and inside
            spans.append([len(text), len(text) + len(piece)])
            text += piece
        return _checked(text, spans[1::2])
    spans = []
    for i, message in enumerate(chat):
        if message["role"] != "assistant":
            continue
        asked, answered = text_of(chat[:i], ask=True), text_of(chat[: i + 1], ask=False)
        if not (answered.startswith(asked) and whole.startswith(answered)):
            raise jinja2.TemplateError(
                "where the responses are cannot be told, since it writes what comes before one in "
                "another way once it is there; put {% generation %} and {% endgeneration %} around "
                "what the model has to write"
            )
        spans.append([len(asked), len(answered)])
    return _checked(whole, spans)


def _checked(text: str, spans: list[list[int]]) -> dict:
    if not spans or not text[slice(*spans[-1])].strip():
        raise jinja2.TemplateError("it writes nothing of the last response")
    return {"text": text, "spans": spans}


def _limit(seconds: int, memory: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows, where the time alone is limited
        return
    for kind, most in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory)):
        hard = resource.getrlimit(kind)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, hard))


def main() -> None:
    """Read what to write, as JSON, and write it, or what is wrong and with which chat."""
    given = json.load(sys.stdin)
    _limit(given["seconds"], given["memory"])
    made: list[dict] = []
    try:
        template = environment().from_string(given["template"])
        for chat in given["chats"]:
            made.append(written(template, chat, given["known"]))
        answer = {"made": made}
    except MemoryError:
        answer = {"chat": len(made), "error": "it needs too much memory"}
    except Exception as error:  # whatever a template raises
        answer = {"chat": len(made), "error": f"{type(error).__name__}: {error}"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
