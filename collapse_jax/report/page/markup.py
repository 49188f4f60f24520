"""HTML in which every text is escaped, whoever wrote it."""

import html
from typing import Any


class Markup(str):
    """Text that is HTML already."""


def tag(name: str, *content: Any, **attributes: Any) -> Markup:
    """An element; texts inside and in attributes are escaped, `Markup` is not.

    Args:
        name: of the element.
        content: what is inside.
        attributes: `class_` is written `class`, underscores as hyphens; False and None leave one
            out, and True writes its name alone.

    Example:
        >>> tag("a", "1 < 2", tag("br"), class_="b", data_x='"', hidden=True)
        '<a class="b" data-x="&quot;" hidden>1 &lt; 2<br></a>'
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    inside = join(*content)
    closing = "" if name in ("br", "img", "input", "meta") else f"</{name}>"
    return Markup(f"<{name}{written}>{inside}{closing}")


def join(*content: Any) -> Markup:
    """Parts one after another, as HTML."""
    return Markup("".join(x if isinstance(x, Markup) else html.escape(str(x)) for x in content))


def scrollable(label: str, *content: Any) -> Markup:
    """What may be wider than the page, so that a keyboard reaches all of it."""
    return tag("div", *content, class_="wide", role="region", tabindex=0, aria_label=label)
