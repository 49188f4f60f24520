"""`python -m benchmarks.pages`: put the figures of `benchmarks/results` into the pages with them.

On a page a figure stands between `<!-- name -->` and `<!-- end -->`. A test checks that the pages
show what was measured.
"""

import json
import re
from pathlib import Path

import benchmarks.__main__ as speed
from benchmarks import documents, language, lasting, loops, trained

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/benchmark.md", "docs/scaling.md")
RESULTS = {
    "cpu": speed.tables,
    "loops": loops.tables,
    "lasting": lasting.tables,
    "language": language.tables,
    "documents": documents.tables,
    "trained": trained.tables,
}


def figures() -> dict[str, str]:
    """What was measured, as Markdown by name."""
    found = {}
    for name, tables in RESULTS.items():
        file = ROOT / "benchmarks" / "results" / f"{name}.json"
        found |= tables(json.loads(file.read_text()))
    return found


def fill(page: str, found: dict[str, str]) -> str:
    """The page with its figures replaced.

    Raises:
        KeyError: for the name of a figure that is not known.
    """
    pattern = r"(<!-- (?!end)([\w-]+) -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{found[m[2]]}\n{m[3]}", page, flags=re.S)


def main() -> None:
    """Rewrite the pages."""
    found = figures()
    for name in PAGES:
        page = ROOT / name
        page.write_text(fill(page.read_text(), found))


if __name__ == "__main__":
    main()
