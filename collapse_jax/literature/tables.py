"""Cards and papers for people: tables in the terminal, and a page of the documentation."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from collapse_jax.literature.bibliography import ROWS, Paper
from collapse_jax.literature.cards import Card
from collapse_jax.literature.claims import ERRORS, Claim
from collapse_jax.loop.captions import caption
from collapse_jax.loop.ecosystems.description import Loop
from collapse_jax.report.tables import estimate
from collapse_jax.tasks.gaussian import Gaussian
from collapse_jax.theory import expected

if TYPE_CHECKING:  # loaded when a table is made, so that importing the package stays quick
    import rich.console
    import rich.table

_COLOURS = {"agrees": "green", "disagrees": "red", "cannot tell": "yellow"}
_SIGNS = {"=": "", "<=": "≤ ", ">=": "≥ "}
_NOTE = "* Worked out here for these loops; the paper has it in words or for others."
_ADDRESS = "https://arxiv.org/abs/"
_SIZES = {
    "quick": "at a size that takes seconds (`--quick`)",
    "usual": "at a laptop's size",
    "full": "at the published size (`--full`)",
}
_INTRODUCTION = """# Claims of papers

Loops of papers, run {size},
and what became of their claims. One of these cards, or all:

```
collapse-jax reproduce 2410.22812 --quick --figure card.png
collapse-jax reproduce --all --quick --out papers.md
```

In Python, `collapse_jax.reproduce("2410.22812", size="quick")` is the card.

**How to read it.** *Published* is a number that a paper prints or that its law gives; with an
asterisk, what we worked out for these loops from a claim that the paper has in words or for others.
*Ours* is an estimate from many chains with its standard error. The two may be apart by what is
*within*: {errors:g} standard errors, and what the published number leaves out, such as digits, the
reading of a figure, or terms of a higher order at these sizes. Farther apart, they disagree. Where
the number that the claim denies is as near, or where a limit is, the chains cannot tell. A
disagreement is a finding; where we know the reason, it is given.
"""
_GENERATIONS = 5  # of a loop that is asked for its theory


def card_table(card: Card) -> "rich.console.Group":
    """A card as a table, one line per claim; for `rich.print`."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    paper = card.paper
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("claim", ratio=2)
    table.add_column("published", justify="right")
    table.add_column("ours", justify="right", no_wrap=True)
    table.add_column("within", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for claim in card.claims:
        verdict = Text(claim.verdict, style=_COLOURS[claim.verdict])
        published = Text.assemble(_published(claim), ("\n" + claim.law, "dim"))
        table.add_row(Text(claim.text), published, _ours(claim), _within(claim), verdict)
    loops = "; ".join(f"{name}: {caption(loop)}" for name, loop in paper.loops.items())
    parts: list[Any] = [
        Text(f"{paper.arxiv}  {paper.authors}: {paper.title}", style="bold"),
        Text(f"Loops: {loops}.", style="dim"),
        Text(f"Learned: {'; '.join(card.tasks)}.", style="dim"),
        table,
        *[Text(_NOTE, style="dim")] * any(claim.derived for claim in card.claims),
        *[Text(f"Published fault: {fault}") for fault in card.faults],
        Text(f"{_counts(card)}; {card.n_chains:,} chains, {card.seconds:.0f} s.", style="dim"),
    ]
    return Group(*parts)


def paper_table(papers: Iterable[Paper]) -> "rich.table.Table":
    """Papers and their loops, with what theory says of each; for `rich.print`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("arXiv", "paper", "loop", "composition", "theory"):
        table.add_column(heading, no_wrap=heading == "arXiv", overflow="fold")
    for paper in papers:
        first = paper.arxiv, f"{paper.title} ({paper.authors})"
        for name, loop in paper.loops.items():
            row = *first, name, caption(loop), theory_of(loop)
            table.add_row(*map(Text, row))
            first = "", ""
    return table


def theory_of(workflow: Loop) -> str:
    """What is known of a loop's errors, by the example of a Gaussian: a kind, or nothing.

    Example:
        >>> from collapse_jax.loop.workflow import Workflow
        >>> theory_of(Workflow())
        'exact'
    """
    known = expected(workflow, Gaussian(1, ROWS), _GENERATIONS)
    found = known.get("squared_error_mean")
    return "" if found is None else str(found.attrs["kind"])


def page(cards: Mapping[str, Card]) -> str:
    """Cards as a page in Markdown.

    Args:
        cards: by the number of the paper, all of one size.
    """
    size = _SIZES[next(iter(cards.values())).size]
    lines = [
        _INTRODUCTION.format(size=size, errors=ERRORS),
        "| paper | claims | agrees | disagrees | cannot tell |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, card in cards.items():
        counts = (card.count(verdict) for verdict in _COLOURS)
        cells = f"[{number}](#{number.replace('.', '')}) {card.paper.title}", len(card.claims)
        lines.append(_row(*cells, *counts))
    for card in cards.values():
        lines += ["", *_section(card)]
    return "\n".join(lines) + "\n"


def _section(card: Card) -> list[str]:
    paper = card.paper
    loops = [f"* {name}: `{caption(loop)}`" for name, loop in paper.loops.items()]
    lines = [
        f"## {paper.arxiv}: {paper.title} {{ #{paper.arxiv.replace('.', '')} }}",
        "",
        f"[{paper.authors}, arXiv {paper.arxiv}]({_ADDRESS}{paper.arxiv}). Loops:",
        "",
        *loops,
        "",
        f"Learned: {'; '.join(f'`{task}`' for task in card.tasks)}.",
        "",
        "| claim | published | law | ours | within | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for claim in card.claims:
        verdict = claim.verdict if claim.verdict == "agrees" else f"**{claim.verdict}**"
        law = claim.law if not set(claim.law) & set("^_*()") else f"`{claim.law}`"
        cells = claim.text, _published(claim), law, _ours(claim), _within(claim), verdict
        lines.append(_row(*cells))
    for fault in card.faults:
        lines += ["", f"Published fault: {fault}"]
    return lines


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _published(claim: Claim) -> str:
    return f"{_SIGNS[claim.relation]}{claim.published:.4g}{'*' * claim.derived}"


def _ours(claim: Claim) -> str:
    return estimate(*claim.ours)


def _within(claim: Claim) -> str:
    return f"± {claim.tolerance:.2g}"


def _counts(card: Card) -> str:
    found = ((verdict, card.count(verdict)) for verdict in _COLOURS)
    return ", ".join(f"{number} {verdict}" for verdict, number in found if number)
