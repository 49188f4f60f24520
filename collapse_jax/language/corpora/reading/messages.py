"""Lists of messages, as records hold them."""

from collections.abc import Mapping
from typing import Any

from collapse_jax.language.corpora.chat import Chat, Message

ROLES = ("system", "developer", "user", "assistant", "tool")
_ROLE, _CONTENT = ("role", "from"), ("content", "value")
_OTHER_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant"}


def read_messages(value: Any, place: str) -> Chat | None:
    """The messages of a record, as far as the last response; None where there is no response.

    Each is `{"role": ..., "content": ...}`, or `{"from": ..., "value": ...}` with the roles
    `human` and `gpt`. The content is text, or a list of parts, all of them text. A message without
    content (such as the call of a tool) makes the chat one without text.

    Args:
        value: of the column.
        place: where it is.

    Raises:
        ValueError: for what is no list of messages, for unknown roles, and for parts that are not
            text.

    Example:
        >>> read_messages([{"role": "user", "content": "Tea?"},
        ...                {"role": "assistant", "content": "Gladly."}], "line 1")
        (Message(role='user', content='Tea?'), Message(role='assistant', content='Gladly.'))
    """
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(part, Mapping) for part in value):
        raise ValueError(
            "messages of the corpus must be lists of objects with 'role' and 'content', got "
            f"{str(value)[:60]!r} in {place}"
        )
    chat = [_message(part, place) for part in value]
    ends = [i for i, (role, _) in enumerate(chat) if role == "assistant"]
    chat = chat[: ends[-1] + 1] if ends else []
    whole = tuple(Message(role, content) for role, content in chat if content is not None)
    return whole if len(whole) == len(chat) > 1 and whole[-1].content.strip() else None


def _message(part: Mapping[str, Any], place: str) -> tuple[str, str | None]:
    names = [next((n for n in among if n in part), None) for among in (_ROLE, _CONTENT)]
    if names[0] is None:
        raise ValueError(
            "messages of the corpus must have 'role' and 'content', got one with "
            f"{', '.join(map(repr, part)) or 'nothing'} in {place}"
        )
    role = part[names[0]]
    role = _OTHER_ROLES.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        raise ValueError(
            f"the role of a message must be one of {', '.join(map(repr, ROLES))}, got {role!r} "
            f"in {place}"
        )
    return role, _content(part.get(names[1]) if names[1] else None, place)


def _content(content: Any, place: str) -> str | None:
    """The text of a message; None where there is none."""
    if content is None or isinstance(content, str):
        return content
    parts = content if isinstance(content, list) and content else [None]
    texts = [part.get("text") if isinstance(part, Mapping) else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f"the content of a message must be text, got {str(content)[:60]!r} in {place}"
        )
    return "".join(texts)  # pyright: ignore[reportCallIssue, reportArgumentType]
