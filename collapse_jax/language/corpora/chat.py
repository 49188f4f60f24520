"""The format of the published chat data: a prompt and a response in one document."""

USER, ASSISTANT = "user: ", "assistant: "


def format_chat(prompt: str, response: str) -> str:
    r"""One document of a prompt and a response.

    Source:
        the code published with arXiv 2410.16713.

    Example:
        >>> format_chat("Name a fruit.", "A plum.")
        'user: Name a fruit.\nassistant: A plum.'
    """
    return f"{USER}{prompt}\n{ASSISTANT}{response}"


def is_chat(document: str) -> bool:
    """Whether a generated document is kept: it starts with `user: ` and has one `assistant: `."""
    return document.startswith(USER) and document.count(ASSISTANT) == 1


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
