"""Pictures of four loops: which rows come when, how long they are kept, what each fit is made of.

python examples/plans.py --out plans.png
"""

from pathlib import Path

import _figures as figures

import collapse_jax as cj

LOOPS = {
    "loop": cj.Workflow(
        cj.Real(every=True, n=50), cj.Synthetic(keep=3, temperature=0.9), cj.Fit(n="batch")
    ),
    "accumulate": cj.Accumulate(),
    "mixing": cj.Workflow(cj.Real(every=True), fit=cj.Fit(real_weight=0.6)),
    "past": cj.Workflow(cj.Real(keep=None), cj.Synthetic(of=cj.Past(last=3, equally=True))),
}


def main(out: str = "plans.png") -> list[Path]:
    """Draw each loop into a file of its own, `plans-loop.png` and so on."""
    return [
        figures.save(cj.plot_plan(loop, n_generations=7), figures.named(out, name))
        for name, loop in LOOPS.items()
    ]


if __name__ == "__main__":
    figures.command(lambda out, _: main(out), None, None, __doc__, "plans.png")
