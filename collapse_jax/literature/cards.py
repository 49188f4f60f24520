"""A card: what our chains say about the claims of one paper."""

import difflib
import importlib
import pkgutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from collapse_jax.analysis.runs import collect, title
from collapse_jax.literature.bibliography import PAPERS, Paper
from collapse_jax.literature.claims import Claim, Curve
from collapse_jax.loop.ecosystems.description import Loop
from collapse_jax.loop.workflow import Workflow
from collapse_jax.run.simulation import simulate
from collapse_jax.tasks.base import AbstractTask

Size: TypeAlias = Literal["quick", "usual", "full"]
SIZES: tuple[Size, ...] = ("quick", "usual", "full")
_T = TypeVar("_T")
_NEAREST = 3  # papers that are named where there is none of that name


class Lab:
    """Where the chains of a card are run; it remembers what was run.

    Args:
        size: how large: seconds, a laptop's minute, or the published size.
    """

    def __init__(self, size: Size) -> None:
        self.size: Size = size
        self.tasks: list[str] = []
        self.n_chains = 0

    def pick(self, quick: _T, usual: _T, full: _T) -> _T:
        """The one of three that belongs to the size at hand."""
        return {"quick": quick, "usual": usual, "full": full}[self.size]

    def simulate(
        self,
        workflow: Loop,
        task: AbstractTask,
        n_generations: int,
        seeds: int,
        metrics: Sequence[str],
    ) -> xr.Dataset:
        """As `collapse_jax.simulate`, without a progress bar."""
        ds = simulate(workflow, task, n_generations, seeds, metrics=metrics, progress=False)
        name, _, settings = title(collect(ds, theory=False)).partition(": ")
        self.note(f"{name.partition(',')[0]}({settings})", seeds)
        return ds

    def note(self, task: str, n_chains: int) -> None:
        """Remember what was learned in so many chains."""
        if task not in self.tasks:
            self.tasks.append(task)
        self.n_chains += n_chains

    def chains(
        self, workflow: Workflow, task: AbstractTask, n_generations: int, seeds: int, metric: str
    ) -> npt.NDArray[np.float64]:
        """One metric of a run, `[seed, generation]`."""
        ds = self.simulate(workflow, task, n_generations, seeds, (metric,))
        return ds[metric].transpose("seed", "generation").values.astype(np.float64)


def curve(chains: npt.NDArray[np.float64], metric: str, law: Any = None) -> Curve:
    """The curve of a metric `[chain, generation]`, with the law of its mean if there is one."""
    error = chains.std(axis=0, ddof=1) / np.sqrt(len(chains))
    return Curve(chains.mean(axis=0), error, None if law is None else np.asarray(law), metric)


@dataclass(frozen=True)
class Card:
    """A paper, and its claims beside ours."""

    paper: Paper
    size: Size
    tasks: tuple[str, ...]
    """What was learned."""
    n_chains: int
    seconds: float
    claims: tuple[Claim, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """Known faults of the published procedure."""
        return tuple(dict.fromkeys(claim.fault for claim in self.claims if claim.fault))

    def count(self, verdict: str) -> int:
        """Number of claims with this verdict."""
        return sum(claim.verdict == verdict for claim in self.claims)

    def __rich__(self) -> Any:
        from collapse_jax.literature.tables import card_table  # which uses cards

        return card_table(self)


Author: TypeAlias = Callable[[Lab], Iterator[Claim]]
_AUTHORS: dict[str, Author] = {}


def card(arxiv: str) -> Callable[[Author], Author]:
    """Decorator that makes a generator of claims the card of a paper.

    A module of `findings` with such a function needs no other registration.

    Args:
        arxiv: number of the paper, which `bibliography.PAPERS` must have.

    Raises:
        ValueError: if there is no such paper, or it has a card already.
    """
    paper = find_paper(arxiv)
    if paper.arxiv in _AUTHORS:
        raise ValueError(f"arxiv must be that of a paper without a card, got {arxiv}")

    def decorate(author: Author) -> Author:
        _AUTHORS[paper.arxiv] = author
        return author

    return decorate


def authors() -> dict[str, Author]:
    """What makes the cards, by number, in the order of the papers."""
    from collapse_jax.literature import findings  # whose modules use this one

    for module in pkgutil.iter_modules(findings.__path__, f"{findings.__name__}."):
        importlib.import_module(module.name)
    return dict(sorted(_AUTHORS.items()))


def make_card(paper: Paper, author: Author, size: Size) -> Card:
    """Run what the claims of a paper need, and compare."""
    started, lab = time.perf_counter(), Lab(size)
    claims = tuple(author(lab))
    seconds = time.perf_counter() - started
    return Card(paper, size, tuple(lab.tasks), lab.n_chains, seconds, claims)


def find_paper(name: str) -> Paper:
    """A paper by its number on arXiv.

    Args:
        name: such as "2410.22812", also "arXiv:2410.22812v2".

    Raises:
        ValueError: if there is none; it names the nearest ones (`TypeError` for what is no text).

    Example:
        >>> find_paper("arXiv:2410.22812v2").title
        'Universality of the pi^2/6 Pathway'
    """
    if not isinstance(name, str):
        raise TypeError(f"paper must be a number of arXiv in quotes, got {name!r}")
    number = name.strip().lower().removeprefix("arxiv:").strip().partition("v")[0]
    known = {paper.arxiv: paper for paper in PAPERS}
    if number in known:
        return known[number]
    words = name.lower()
    titles = [paper.arxiv for paper in PAPERS if words and words in _words(paper)]
    near = titles or difflib.get_close_matches(number, known, n=_NEAREST, cutoff=0.0)
    shown = "; ".join(f"{arxiv} ({known[arxiv].title})" for arxiv in near[:_NEAREST])
    raise ValueError(f"paper must be one of {', '.join(known)}, got {name!r}; nearest: {shown}")


def _words(paper: Paper) -> str:
    return f"{paper.title} {paper.authors}".lower()
