"""Which tests run when, by what they take: every day, in the gate, and before a release.

`costs.json` has the CPU seconds that the first case of each test took, compilation included;
`pytest -n 0 -m '' --costs` measures those that it runs, and writes them down. `pytest` runs as
many cases of a test as fit into `DAILY` seconds, and those that alone notice a planted fault;
`pytest -m thorough` all others, of which the gate leaves out those marked `exhaustive`: they do not
fit into `GATE` seconds, and are not the first case of a test that takes at most `FIRST`.
"""

import json
import resource
from collections import Counter
from pathlib import Path

import pytest
from planted_faults import FAULTS

COSTS = Path(__file__).with_name("costs.json")
DAILY, GATE, FIRST = 2.0, 2.4, 3.3
NEEDED = frozenset(
    {
        "tests/language/test_language_model.py::test_a_run_goes_on_where_it_stopped",
        "tests/language/test_language_model.py::test_every_variable_is_there",
        "tests/test_checkpoint.py::test_killed_at_random_moments",
        "tests/test_examples.py::test_figures",
        "tests/test_notebooks.py::test_notebooks_run",
        "tests/test_page.py::test_works_in_a_browser",
        "tests/test_planted_faults.py::test_daily_tests_notice",
        "tests/test_portions.py::test_two_processes_share_and_one_is_killed",
        "tests/test_trained.py::test_chains_are_the_same_both_ways",
        "tests/test_trust.py::test_one_of_two_processes_is_killed",
    }
)
"""Of these the gate runs a case, whatever it takes."""
NOTICING = frozenset(f"tests/{fault.noticed_by}" for fault in FAULTS if "::" in fault.noticed_by)


def name_of(item: pytest.Item) -> str:
    """The test, without the case."""
    return item.nodeid.partition("[")[0]


def mark(items: list[pytest.Item]) -> None:
    """Mark what is left to the thorough tests, and what of these to those before a release."""
    costs, seen, left = json.loads(COSTS.read_text()), Counter(), Counter()
    for item in items:
        name = name_of(item)
        seen[name] += 1
        if seen[name] * costs.get(name, 0.0) > DAILY and not {item.nodeid, name} & NOTICING:
            item.add_marker(pytest.mark.thorough)
        if item.get_closest_marker("thorough") is not None:
            left[name] += 1
            cost = costs.get(name, 0.0)
            first = left[name] == 1 and (cost <= FIRST or name in NEEDED)
            if left[name] * cost > GATE and not first:
                item.add_marker(pytest.mark.exhaustive)


class Clock:
    """Measures the first case of each test that is run, with the processes that it starts."""

    def __init__(self) -> None:
        self._costs: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item):
        before = _seconds()
        result = yield
        self._costs.setdefault(name_of(item), round(_seconds() - before, 2))
        return result

    def pytest_sessionfinish(self) -> None:
        costs = json.loads(COSTS.read_text()) | self._costs
        costs = {name: costs[name] for name in sorted(costs) if costs[name] >= 0.1}
        COSTS.write_text(json.dumps(costs, indent=0) + "\n")


def _seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
