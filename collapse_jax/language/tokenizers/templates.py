"""The chat template of a checkpoint: how it writes chats, and which part of them is a response."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from collapse_jax.language.corpora.chat import Chat
from collapse_jax.language.tokenizers.special import read_optional, read_tokens

_FILE, _OLDER, _CONFIG = "chat_template.jinja", "chat_template.json", "tokenizer_config.json"
_PROGRAM = Path(__file__).with_name("rendering.py")
_SECONDS, _CHATS_PER_SECOND = 10, 50
_MEMORY = 2**30  # bytes, and what the texts need


class Marked(NamedTuple):
    """The text of a chat, and where its responses are."""

    text: str
    spans: list[tuple[int, int]]
    """First character, and the one after the last."""


class Template(NamedTuple):
    """A chat template, and the special tokens that it may write."""

    source: str
    tokens: dict[str, str]
    """By their names: `bos_token`, `eos_token` and others."""

    def write(self, chats: Sequence[Chat]) -> list[Marked]:
        """The text of each chat.

        It is run in a sandbox and in another process, which has a limit of time and of memory.

        Raises:
            ValueError: where the template is none, refuses a chat, does what no template may do,
                takes too long or needs too much, and where it does not show what is a response.
        """
        lists = [[message._asdict() for message in chat] for chat in chats]
        seconds = _SECONDS + len(chats) // _CHATS_PER_SECOND
        size = sum(len(message.content) for chat in chats for message in chat)
        known = {**self.tokens, "tools": None, "documents": None}
        task = {"template": self.source, "chats": lists, "known": known}
        limits = {"seconds": seconds, "memory": _MEMORY + 100 * size}
        _check_jinja()
        try:
            done = subprocess.run(
                [sys.executable, "-P", str(_PROGRAM)],
                input=json.dumps(task | limits).encode(),
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _refused(f"it took longer than {seconds} seconds") from None
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            reason = f"it took longer than {seconds} seconds, or needs too much memory"
            if done.returncode == 1 and done.stderr.strip():
                reason = done.stderr.decode(errors="replace").strip().splitlines()[-1]
            raise _refused(reason) from None
        if "error" in answer:
            raise _refused(f"with chat {answer['chat']} of the corpus, {answer['error']}")
        return [Marked(made["text"], [(a, b) for a, b in made["spans"]]) for made in answer["made"]]


def _refused(reason: str) -> ValueError:
    return ValueError(f"template must write chats, and did not: {reason}")


def _check_jinja() -> None:
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise ValueError(
            "chat templates need the extra [text]: pip install 'collapse_jax[text]'"
        ) from None


def find_template(folder: Path, given: str) -> Template:
    """The chat template of a checkpoint's folder, or that of a file, with the folder's tokens.

    Args:
        folder: where the files of the tokenizer are.
        given: `"own"` for `chat_template.jinja`, or what the older files `chat_template.json` and
            `tokenizer_config.json` say; else a file.

    Raises:
        ValueError: where there is none.
    """
    tokens = read_tokens(folder)
    path = folder / _FILE if given == "own" else Path(given).expanduser()
    if path.is_file():
        try:
            return Template(path.read_text(encoding="utf-8"), tokens)
        except UnicodeDecodeError as error:
            raise ValueError(f"template must be UTF-8; {path} is not: {error}") from None
    if given != "own":
        raise ValueError(f"template must be 'own' or a readable file, and there is no file {path}")
    for name in (_OLDER, _CONFIG):
        found = read_optional(folder / name).get("chat_template")
        if isinstance(found, list):  # several, by name
            named = {entry.get("name"): entry.get("template") for entry in found}
            found = named.get("default")
        if isinstance(found, str):
            return Template(found, tokens)
    raise ValueError(
        f"template must be a file, since there is none in {folder}: no {_FILE}, and no "
        f"chat_template in {_CONFIG}"
    )
