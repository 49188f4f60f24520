"""Which tokens stand before and after a document, from the files beside a tokenizer."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Where neither arguments nor files name them: in the order in which they are tried.
_USUAL = {
    "bos": ("<bos>", "<s>", "<|begin_of_text|>", "<|startoftext|>", "<|endoftext|>"),
    "eos": ("<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>"),
}


def find_special(
    name: str,
    folder: Path,
    given: str | None,
    id_of: Callable[[str], int | None],
    n_ids: int,
) -> tuple[int | None, list[str]]:
    """The id of BOS or EOS.

    The first that says: the argument; what transformers would take from tokenizer_config.json, or
    from special_tokens_map.json where the former is of an old version; the ids in
    generation_config.json and config.json; a usual name.

    Args:
        name: `"bos"` or `"eos"`.
        folder: where the files are, any of which may be missing.
        given: the argument.
        id_of: the id of a token, None where there is none.
        n_ids: ids of files must be below it.

    Returns:
        the id, None where there is none; and the tokens that were tried.

    Raises:
        ValueError: for files that are not JSON in UTF-8.
    """
    token = given or _named(name, folder)
    tried = [token] if token is not None else []
    if token is None:
        for number in _numbered(name, folder):
            if number < n_ids:
                return number, []
        tried = list(dict.fromkeys((*_USUAL[name], *_USUAL["eos"])))
    return next((found for t in tried if (found := id_of(t)) is not None), None), tried


def _named(name: str, folder: Path) -> str | None:
    """The token that the files of a tokenizer name."""
    return read_tokens(folder).get(f"{name}_token")


def read_tokens(folder: Path) -> dict[str, str]:
    """The special tokens that the files of a tokenizer name, by their names, such as `eos_token`.

    Raises:
        ValueError: for files that are not JSON in UTF-8.
    """
    config = read_optional(folder / "tokenizer_config.json")
    named = config
    if "added_tokens_decoder" not in config:
        named = config | read_optional(folder / "special_tokens_map.json")
    tokens = {
        name: token.get("content") if isinstance(token, dict) else token
        for name, token in named.items()
        if name.endswith("_token")
    }
    return {name: token for name, token in tokens.items() if isinstance(token, str)}


def _numbered(name: str, folder: Path) -> Iterator[int]:
    """The ids that the files of a model name; the first of several."""
    for file in ("generation_config.json", "config.json"):
        found = read_optional(folder / file).get(f"{name}_token_id")
        found = found[0] if isinstance(found, list) and found else found
        if isinstance(found, int):
            yield found


def read_optional(path: Path) -> dict[str, Any]:
    """The object of a JSON file, empty where there is no file.

    Raises:
        ValueError: for what is not JSON in UTF-8.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON in UTF-8: {error}") from None
    return found if isinstance(found, dict) else {}
