"""What a person sees of a chain: a Gaussian forgets what it was fitted to, unless data stay.

Columns are generations, each panel the density and rows of the model of one chain, over real rows
in grey. The film shows all generations.

python examples/generations.py --out generations.png
"""

from pathlib import Path

import _figures as figures

import collapse_jax as cj
from collapse_jax.loop.captions import caption


def main(out: str = "generations.png", n_generations: int = 30) -> list[Path]:
    """Run a chain of two workflows each, and draw them as a strip and as a film."""
    task = cj.Gaussian(n_samples=20, dim=2, covariance=[[2.0, 1.0], [1.0, 2.0]])
    albums = {}
    for workflow in (cj.Replace(), cj.Accumulate()):
        album = cj.Album(seed=1)
        cj.simulate(workflow, task, n_generations, seeds=[1], observe=album, progress=False)
        albums[caption(workflow)] = album
    title = f"One chain each, {task.n_samples} rows a generation"
    strip = figures.save(cj.plot_generations(albums, title=title), out)
    film = cj.animate_generations(albums, strip.with_suffix(".gif"), title=title)
    return [strip, film]


if __name__ == "__main__":
    figures.command(main, 30, 30, __doc__, "generations.png")
