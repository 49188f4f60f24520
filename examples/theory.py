"""Simulation beside exact theory: the trace of a Gaussian's covariance under three workflows.

python examples/theory.py --out theory.png
"""

import argparse

import collapse_jax as cj


def main(out: str = "theory.png", n_generations: int = 100, seeds: int = 2000) -> None:
    """Run the three workflows on a Gaussian and draw them over their exact expectations."""
    task = cj.Gaussian(dim=3, n_samples=32)
    variables = ("trace_ratio", "squared_error_mean")
    runs = [
        cj.simulate(workflow, task, n_generations, seeds, metrics=variables)
        for workflow in (cj.Replace(), cj.Accumulate(), cj.AccumulateSubsample())
    ]
    cj.plot(runs).savefig(out, dpi=200)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="theory.png", help="where to write the figure")
    cj.use_all_cores()
    cj.keep_compiled_programs()
    main(parser.parse_args().out)
