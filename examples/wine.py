"""Three ways to train on one's own output, on a real table: 13 measurements of 178 wines.

A Gaussian is fitted to the wines, the next one to wines that the first generated, and so on. The
likelihood that each generation's model gives to real wines it has never seen tells what is lost.

    python examples/wine.py --out wine.png
"""

import argparse

from sklearn.datasets import load_wine

import collapse_jax as cj


def main(out: str = "wine.png", n_generations: int = 50, seeds: int = 200) -> dict[str, float]:
    """Run the three workflows, draw the figure, and return each one's final test likelihood."""
    rows, _ = load_wine(return_X_y=True)
    task = cj.Gaussian(data=rows, n_samples=100)
    runs = [
        cj.simulate(workflow, task, n_generations, seeds, metrics=("trace_ratio", "nll"))
        for workflow in (cj.Replace(), cj.Accumulate(), cj.AccumulateSubsample())
    ]
    # The wines themselves are not in the datasets, so theory is handed to the figure.
    theory = {
        run.attrs["workflow"]: cj.theory.expected(getattr(cj, run.attrs["workflow"])(), task, 50)
        for run in runs
    }
    cj.plot(runs, theory=theory).savefig(out, dpi=200)
    return {run.attrs["workflow"]: float(run.nll.isel(generation=-1).mean()) for run in runs}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="wine.png", help="where to write the figure")
    cj.use_all_cores()
    cj.keep_compiled_programs()
    print(main(parser.parse_args().out))
