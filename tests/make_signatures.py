"""Makes signatures.json beside this file: the public names of a release, and how they are called.

`python tests/make_signatures.py`, when a version is released. The tests hold the names of today
against it: what is new, gone or called otherwise must be in CHANGELOG.md, under the next version.
"""

import inspect
import json
import re
from pathlib import Path
from types import ModuleType

import collapse_jax as cj

FILE = Path(__file__).with_name("signatures.json")


def signatures(modules: dict[str, ModuleType]) -> dict[str, str]:
    """How each public name is called; methods and constants are left out."""
    found = {}
    for prefix, module in modules.items():
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing):
                parameters = inspect.signature(thing).parameters.values()
                found[prefix + name] = ", ".join(map(_shown, parameters))
    return found


def _shown(parameter: inspect.Parameter) -> str:
    """A parameter without its annotation; defaults that are objects by their class."""
    default = "" if parameter.default is inspect.Parameter.empty else f"={parameter.default!r}"
    return re.sub(r"<.*>", "...", f"{parameter.kind.description} {parameter.name}{default}")


def public() -> dict[str, str]:
    """Those of the package and of its theory."""
    return signatures({"": cj, "theory.": cj.theory})


if __name__ == "__main__":
    FILE.write_text(json.dumps(public(), indent=1, sort_keys=True) + "\n")
