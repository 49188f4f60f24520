"""The library that draws in the browser, as one text of JavaScript."""

import functools
from typing import Any


@functools.cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed with all they need; nothing is fetched.

    Raises:
        ImportError: where the extra `report` is not installed.
    """
    try:
        import vl_convert  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            "report pages need vl-convert-python: pip install 'collapse_jax[report]'"
        ) from None
    converter: Any = vl_convert  # whose annotations ask for what has a default
    return converter.javascript_bundle().replace("</script", r"<\/script")
