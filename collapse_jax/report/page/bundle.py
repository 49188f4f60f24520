"""The library that draws in the browser, as one text of JavaScript."""

import functools


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
    return vl_convert.javascript_bundle(None).replace("</script", r"<\/script")
