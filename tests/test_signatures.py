"""Public names that are new, gone or called otherwise than in the last release are announced."""

import json
import re

import make_signatures
import pytest

RELEASED = json.loads(make_signatures.FILE.read_text())
NEXT = (make_signatures.FILE.parents[1] / "CHANGELOG.md").read_text().split("\n## ")[1]


def unannounced(released: dict[str, str], today: dict[str, str], log: str) -> list[str]:
    """Names that differ, and that the changelog does not have."""
    differ = (n for n in released.keys() | today.keys() if released.get(n) != today.get(n))
    return sorted(n for n in differ if not re.search(rf"\b{n.rpartition('.')[2]}\b", log))


def test_changed_names_are_announced():
    assert "(unreleased)" in NEXT.splitlines()[0]
    missing = unannounced(RELEASED, make_signatures.public(), NEXT)
    assert not missing, f"CHANGELOG.md must say, under {NEXT.splitlines()[0]}, what became of these"


@pytest.mark.parametrize(
    ("released", "today", "log", "expected"),
    [
        ({"run": "a"}, {"run": "a"}, "", []),
        ({"run": "a"}, {"run": "a, b"}, "`rerun` is new", ["run"]),
        ({"run": "a"}, {"run": "a, b"}, "`run(b=)` is new", []),
        ({"run": "a"}, {}, "", ["run"]),
        ({}, {"theory.run": "a"}, "", ["theory.run"]),
    ],
)
def test_changes_are_found(released, today, log, expected):
    assert unannounced(released, today, log) == expected
