"""Papers: their loops, the cards of their claims, and that a card can say no."""

import ast
import dataclasses
import io
import math
import re
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

import collapse_jax as cj
from collapse_jax.analysis import estimates
from collapse_jax.analysis.estimates import Estimate, jackknife
from collapse_jax.cli.program import main
from collapse_jax.literature import bibliography, cards, drawing, presets, tables
from collapse_jax.literature.claims import ERRORS, Claim, Curve
from collapse_jax.literature.registry import reproduce_all

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "papers.md").read_text()
CHEAP = "2505.13947"
# Where the published procedure has a fault that we know, or a bound is too near to tell.
DISAGREE = {"2308.04553": 1, "2404.05090": 1, "2410.16713": 1, "2410.22812": 1, "2412.14689": 1}
CANNOT_TELL = {"2404.01413", "2412.17646"}


def claim(published, value, error=0.01, text="a", **others):
    return Claim(text=text, published=published, ours=Estimate(value, error), **others)


VERDICTS = [
    (claim(1.0, 1.03), "agrees"),
    (claim(1.0, 1.05), "disagrees"),
    (claim(1.0, 1.05, slack=0.02), "agrees"),
    (claim(1.0, 1.05, published_error=0.02), "agrees"),
    (claim(1.0, 1.03, against=2.0), "agrees"),
    (claim(1.0, 1.03, against=1.06), "cannot tell"),
    (claim(1.0, 1.5, against=1.5), "disagrees"),
    (claim(1.0, 0.95, relation="<="), "agrees"),
    (claim(1.0, 0.97, relation="<="), "cannot tell"),
    (claim(1.0, 1.05, relation="<="), "disagrees"),
    (claim(1.0, 1.05, relation=">="), "agrees"),
    (claim(1.0, 1.03, relation=">="), "cannot tell"),
    (claim(1.0, 0.95, relation=">="), "disagrees"),
    (claim(1.0, 1.0, error=math.inf), "cannot tell"),
    (claim(1.0, math.nan), "cannot tell"),
    (claim(1.0, math.inf), "cannot tell"),
    (claim(1.0, 1.0, error=0.0, relation="<="), "agrees"),
]


@pytest.mark.parametrize(("made", "verdict"), VERDICTS)
def test_verdicts(made, verdict):
    assert made.verdict == verdict


def test_the_jackknife_knows_the_error_of_a_mean_and_of_a_ratio():
    draws = np.random.default_rng(0).normal([1.0, 3.0], [0.5, 2.0], size=(3000, 2))
    mean = jackknife(estimates.at(2), draws)
    np.testing.assert_allclose(mean.value, draws[:, 1].mean())
    np.testing.assert_allclose(mean.error, 2 / math.sqrt(3000), rtol=0.35)
    ratio = jackknife(lambda m: m[1] / m[0], draws)
    by_hand = math.hypot(2.0, 3 * 0.5) / math.sqrt(3000)  # the delta method
    np.testing.assert_allclose(ratio.error, by_hand, rtol=0.35)
    same = jackknife(lambda a, b: a[0] - b[0], draws, draws)
    assert same == (0.0, 0.0)
    assert jackknife(estimates.at(1), draws[:1]).error == math.inf
    assert jackknife(estimates.at(1), draws[:7]).value == draws[:7, 0].mean()


def test_the_errors_of_slopes_cover_the_truth():
    rng = np.random.default_rng(1)
    t = np.arange(1, 21)
    found = [
        jackknife(estimates.slope(5, 20), t**-0.5 * rng.chisquare(2, size=(200, 20)))
        for _ in range(100)
    ]
    z = np.array([(one.value + 0.5) / one.error for one in found])
    assert np.abs(z).max() < ERRORS
    assert 0.75 < z.std() < 1.3


@pytest.mark.parametrize("paper", bibliography.PAPERS, ids=lambda paper: paper.arxiv)
def test_loops_can_be_planned_and_have_theory(paper):
    assert re.fullmatch(r"\d{4}\.\d{5}", paper.arxiv)
    for loop in paper.loops.values():
        assert loop.plan(6, bibliography.ROWS).n_train[0] == bibliography.ROWS
        synthetic = getattr(loop, "workflow", loop).synthetic
        plain = synthetic.of.plain and not synthetic.curation
        assert tables.theory_of(loop) == ("exact" if plain else "")


def test_every_paper_has_a_card_and_they_are_in_order():
    numbers = [paper.arxiv for paper in bibliography.PAPERS]
    assert numbers == sorted(set(numbers))
    assert list(cards.authors()) == numbers
    assert list(cj.papers()) == numbers


def test_cards_are_registered_by_their_module_alone():
    package = ROOT / "collapse_jax" / "literature"
    names = {path.stem for path in (package / "findings").glob("*.py")}
    tree = ast.parse((package / "cards.py").read_text())
    text = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert not {"accumulation", "mixing", "streams", "drift"} & text
    assert names >= {"accumulation", "mixing", "streams", "drift"}
    with pytest.raises(ValueError, match="without a card"):
        cards.card(CHEAP)(lambda lab: iter(()))


WRONG = {
    "2410.22813": "nearest: 2410.22812 (Universality",
    "dey": "nearest: 2410.22812 (Universality",
    "curse of recursion": "nearest: 2305.17493 (The Curse",
    "": "nearest: ",
}


@pytest.mark.parametrize("name", WRONG)
def test_an_unknown_paper_names_the_nearest(name):
    with pytest.raises(ValueError, match=re.escape(WRONG[name])):
        cj.reproduce(name, size="quick")


def test_other_bad_input(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="size must be one of 'quick', 'usual', 'full'"):
        cj.reproduce(CHEAP, size="huge")
    with pytest.raises(TypeError, match="paper must be a number of arXiv in quotes"):
        cards.find_paper(2410.22812)


@pytest.fixture(scope="module")
def cheap():
    return cj.reproduce(CHEAP, size="quick")


def test_a_card_agrees(cheap):
    assert [one.verdict for one in cheap.claims] == ["agrees"] * 3
    assert cheap.tasks == ("Gaussian(dim=1, n_samples=20)",)
    for one in cheap.claims:
        assert one.against is not None
        assert 0 < one.ours.error < one.tolerance / ERRORS + 1e-12


def test_a_card_disagrees_with_another_published_number(cheap):
    for one in cheap.claims:
        assert dataclasses.replace(one, published=one.against).verdict == "disagrees"
        beyond = one.ours.value + 1.01 * one.tolerance
        assert dataclasses.replace(one, published=beyond).verdict == "disagrees"


def test_a_loop_that_is_not_the_papers_is_found_out(monkeypatch):
    from collapse_jax.literature.findings import streams

    monkeypatch.setattr(streams, "growing", lambda n, power: presets.growing(n, power - 1))
    planted = cards.make_card(cards.find_paper(CHEAP), cards.authors()[CHEAP], "quick")
    assert planted.count("disagrees") == 2


def test_a_card_is_shown(cheap):
    text = shown(tables.card_table(cheap))
    assert "A Probabilistic Perspective on Model Collapse" in text
    assert "3 agrees; 6,000 chains" in text
    assert "Worked out here" in text
    figure = drawing.card_figure(cheap)
    assert len([ax for ax in figure.axes if ax.has_data()]) == 3
    found = tables.page({CHEAP: cheap})
    assert found.count("| agrees |") == 3 + 1  # and the heading of the list
    odd = dataclasses.replace(
        cheap,
        claims=(
            claim(1.0, math.nan, fault="It is wrong."),
            claim(0.0, 5.0, error=0.0, relation="<=", text="b"),
            claim(0.0, 0.0, error=0.0, curve=Curve(np.ones(3), np.zeros(3), None, "m")),
        ),
    )
    assert "Published fault: It is wrong." in shown(odd)
    drawing.card_figure(odd).canvas.draw()


def shown(thing):
    from rich.console import Console

    console = Console(width=150, file=io.StringIO())
    with console.capture() as text:
        console.print(thing)
    return text.get()


def test_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["papers"]) == 0
    out = capsys.readouterr().out
    words = out.split()  # titles are folded
    for paper in bibliography.PAPERS:
        assert paper.arxiv in words
        assert set(paper.title.split()[:2]) <= set(words)
    assert main(["reproduce", "--list"]) == 0
    assert capsys.readouterr().out == out
    words = ["reproduce", CHEAP, "--quick", "--figure", "card.png", "--out", "card.md"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "3 agrees" in out
    assert out.endswith("Figure: card.png\nPage: card.md\n")
    assert (tmp_path / "card.md").read_text().startswith("# Claims of papers\n")
    assert (tmp_path / "card.png").read_bytes()[:4] == b"\x89PNG"


BAD = {
    "reproduce": "paper must be given, or all, or list",
    "reproduce 2410.22812 --all": "only one of them",
    "reproduce 2410.22812 --quick --full": "quick and full must not be given together",
    "reproduce 2410.2281": "nearest: 2410.22812",
    "reproduce --all --out cards.txt": "suffix of out must be one of '.md'",
    "reproduce --all --figur x.png": "did you mean --figure?",
    "papers --all": "Unrecognized options: --all",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_words(words, capsys):
    assert main(words.split()) == 2
    assert BAD[words] in capsys.readouterr().err


def test_the_page_has_every_card_and_every_claim_has_a_verdict():
    sections = re.findall(r"^## (\d{4}\.\d{5}): (.*) \{", PAGE, re.M)
    assert sections == [(paper.arxiv, paper.title) for paper in bibliography.PAPERS]
    line = r"^\| \[(\d{4}\.\d{5})\].* \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$"
    listed = re.findall(line, PAGE, re.M)
    assert [number for number, *_ in listed] == [number for number, _ in sections]
    for number, *counts in listed:
        section = PAGE.partition(f"## {number}")[2].partition("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
        found = [row.split(" | ")[-1].strip(" |*") for row in rows]
        verdicts = [found.count(v) for v in ("agrees", "disagrees", "cannot tell")]
        assert [len(rows), *verdicts] == [int(count) for count in counts]
        assert verdicts[1] == DISAGREE.get(number, 0)


@pytest.mark.thorough
@pytest.mark.parametrize("number", [paper.arxiv for paper in bibliography.PAPERS])
def test_all_cards(number, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as a user runs them
    card = reproduce_all("quick", [number])[number]
    assert card.count("disagrees") == DISAGREE.get(number, 0)
    if number in DISAGREE:
        assert card.faults
    assert number in CANNOT_TELL or not card.count("cannot tell")
    for one in card.claims:  # each claim can be found wrong
        if one.relation == "=":
            assert one.against is not None
            planted = dataclasses.replace(one, published=one.against, against=None)
            assert planted.verdict == ("agrees" if one.verdict == "disagrees" else "disagrees")


def test_every_paper_has_a_card():
    assert list(cards.authors()) == [paper.arxiv for paper in bibliography.PAPERS]
