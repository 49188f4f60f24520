"""Chats as messages, and as documents in the format of the published chat data."""

from typing import NamedTuple

USER, ASSISTANT = "user: ", "assistant: "


class Message(NamedTuple):
    """What one side says at a time."""

    role: str
    content: str


Chat = tuple[Message, ...]
"""Messages in their order, of which the last is a response, by `assistant`."""


def format_messages(chat: Chat) -> str:
    r"""A chat as one document: of each message its role, a colon and the content, in lines.

    Example:
        >>> format_messages((Message("user", "Tea?"), Message("assistant", "Gladly.")))
        'user: Tea?\nassistant: Gladly.'
    """
    return "\n".join(f"{role}: {content}" for role, content in chat)


def format_chat(prompt: str, response: str) -> str:
    r"""One document of a prompt and a response.

    Source:
        the code published with arXiv 2410.16713.

    Example:
        >>> format_chat("Name a fruit.", "A plum.")
        'user: Name a fruit.\nassistant: A plum.'
    """
    return f"{USER}{prompt}\n{ASSISTANT}{response}"


def is_chat(document: str, most: int = 1, starts: tuple[str, ...] = (USER,)) -> bool:
    """Whether a generated document is kept: it starts with `user: ` and has one `assistant: `.

    Args:
        document: its text.
        most: how many times it may have `assistant: `, at least once.
        starts: how it may start.
    """
    return document.startswith(starts) and 1 <= document.count(ASSISTANT) <= most


def split_chat(document: str, published_strip: bool = False) -> tuple[str, str]:
    r"""Prompt and response of a document; the inverse of `format_chat` where both allow it.

    It does where neither prompt nor response contains `assistant: `.

    Args:
        document: a document for which `is_chat` holds.
        published_strip: cut the prompt as the published code does, by `lstrip("user: ")`. That
            takes away not the prefix but all leading characters of the set `user: `, so that
            `user: serve tea` becomes `ve tea`. Default: remove the prefix exactly.

    Raises:
        ValueError: for another document.

    Example:
        >>> split_chat("user: serve tea\nassistant: Gladly.")
        ('serve tea', 'Gladly.')
        >>> split_chat("user: serve tea\nassistant: Gladly.", published_strip=True)
        ('ve tea', 'Gladly.')
    """
    if not is_chat(document):
        raise ValueError(
            f"document must start with {USER!r} and contain {ASSISTANT!r} once, "
            f"got {document[:60]!r}"
        )
    prompt, response = document.split(ASSISTANT)
    prompt = prompt.lstrip(USER) if published_strip else prompt.removeprefix(USER)
    return prompt.removesuffix("\n"), response
