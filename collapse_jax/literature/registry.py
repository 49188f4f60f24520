"""The front door: the papers, and what became of their claims."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from collapse_jax.basics import checks
from collapse_jax.literature import cards
from collapse_jax.literature.bibliography import PAPERS, Paper
from collapse_jax.literature.cards import Card, Size, find_paper

_AT_A_TIME = 2  # compilation, which is most of the work, uses one core at a time


def papers() -> dict[str, Paper]:
    """The papers whose loops are at hand, by their number on arXiv.

    Example:
        >>> import collapse_jax as cj
        >>> loop = cj.papers()["2404.05090"].loops["randomly sampled data"]
        >>> print(loop.plan(3, n_samples=100).n_train)
        [100 100 100]
    """
    return {paper.arxiv: paper for paper in PAPERS}


def reproduce(paper: str, size: Size = "usual") -> Card:
    """Run the loops of a paper, and hold its claims against what comes out.

    A claim agrees, disagrees, or the chains cannot tell; how far apart two numbers may be follows
    from the number of chains. Show a card with `rich.print`.

    Args:
        paper: its number on arXiv, such as "2410.22812".
        size: "quick" takes seconds, "usual" a few minutes, "full" has the published sizes.

    Returns:
        the card: `claims`, and how many of them have each verdict.

    Raises:
        ValueError: for an unknown paper, naming the nearest ones, or an unknown size.

    Example:
        >>> import collapse_jax as cj
        >>> found = cj.reproduce("2505.13947", size="quick")
        >>> found.count("agrees"), found.count("disagrees")
        (3, 0)
    """
    checks.one_of("size", size, cards.SIZES)
    wanted, authors = find_paper(paper), cards.authors()
    if wanted.arxiv not in authors:
        raise ValueError(f"paper must be one with a card: {', '.join(authors)}, got {paper!r}")
    return cards.make_card(wanted, authors[wanted.arxiv], size)


def reproduce_all(
    size: Size = "quick",
    numbers: Sequence[str] | None = None,
    done: Callable[[Card], None] = lambda card: None,
) -> dict[str, Card]:
    """Make many cards, two at a time.

    Args:
        size: as of `reproduce`.
        numbers: of the papers; None for all that have a card.
        done: called with each card when it is there.

    Returns:
        cards by the number of the paper, in their order.
    """
    numbers = list(cards.authors() if numbers is None else numbers)
    pool = ThreadPoolExecutor(_AT_A_TIME)
    try:
        running = {pool.submit(reproduce, number, size): number for number in numbers}
        found = {}
        for finished in as_completed(running):
            found[running[finished]] = finished.result()
            done(finished.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return {number: found[number] for number in numbers}
