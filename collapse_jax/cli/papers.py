"""`collapse-jax papers` and `collapse-jax reproduce`."""

from pathlib import Path
from typing import Annotated

from collapse_jax.basics import files
from collapse_jax.basics.annotations import File


def show_papers() -> None:
    """List papers, their loops as compositions, and whether theory predicts their errors."""
    import rich

    from collapse_jax.literature.registry import papers
    from collapse_jax.literature.tables import paper_table

    rich.print(paper_table(papers().values()))


def show_cards(
    paper: Annotated[str | None, "PAPER"] = None,
    all: bool = False,
    list: bool = False,
    quick: bool = False,
    full: bool = False,
    figure: File | None = None,
    out: File | None = None,
) -> None:
    """Run the loops of a paper, and hold its claims against what comes out.

    Args:
        paper: its number on arXiv, such as 2410.22812.
        all: all papers that have a card.
        list: list these, and run nothing.
        quick: at a size that takes seconds.
        full: at the published size.
        figure: save a figure (.png, .pdf or .svg); with all, one for each paper, which adds its
            number to the name.
        out: save the cards as a page (.md).
    """
    import rich

    from collapse_jax.literature import cards, registry
    from collapse_jax.literature.cards import find_paper
    from collapse_jax.literature.drawing import card_figure
    from collapse_jax.literature.tables import page, paper_table
    from collapse_jax.report.demonstration import FIGURES

    if quick and full:
        raise ValueError("quick and full must not be given together")
    if (paper is not None) + all + list != 1:
        raise ValueError("paper must be given, or all, or list, and only one of them")
    drawn = figure and files.check_writable("figure", figure, FIGURES)
    saved = out and files.check_writable("out", out, (".md",))
    if list:
        known = registry.papers()
        rich.print(paper_table(known[number] for number in cards.authors()))
        return
    numbers = [*cards.authors()] if paper is None else [find_paper(paper).arxiv]

    def show(card: cards.Card) -> None:
        rich.print(card)
        if drawn:
            path = drawn if paper else drawn.with_stem(f"{drawn.stem}-{card.paper.arxiv}")
            image, suffix = card_figure(card), path.suffix[1:].lower()
            files.write_atomically(path, lambda name: image.savefig(name, format=suffix, dpi=150))
            print(f"Figure: {path}")

    size = "quick" if quick else "full" if full else "usual"
    found = registry.reproduce_all(size, numbers, show)
    if saved:
        text = page(found)
        files.write_atomically(saved, lambda name: Path(name).write_text(text, encoding="utf-8"))
        print(f"Page: {saved}")
