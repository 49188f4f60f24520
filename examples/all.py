"""All figures of this folder but those of language models and of MNIST, in quick mode.

python examples/all.py --out gallery
"""

import importlib
import time
from pathlib import Path

import _figures as figures

OUTPUTS = {
    "gaussian_densities": "densities.png",
    "gaussian_grid": "gaussian.png",
    "kde_nll": "kde.png",
    "kde_rules": "rules.png",
    "bandwidths": "bandwidths.png",
    "blobs_centers": "blobs.png",
    "linear_regression": "regression.png",
    "logistic": "logistic.png",
    "digits": "digits.png",
    "categorical": "categorical.png",
    "real_share": "real_share.png",
    "three_limits": "limits.png",
    "real_streams": "real_streams.png",
    "plans": "plans.png",
    "generations": "generations.png",
    "theory": "theory.png",
    "wine": "wine.png",
    "studies": "studies.png",
    "unlearning": "unlearning.png",
    "worth": "worth.png",
    "diagnoses": "diagnose.md",
}


def main(out: str = "gallery", full: bool = False) -> dict[str, float]:
    """Run each script, write into the folder `out`, and return the seconds that each took."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    seconds = {}
    for name, file in OUTPUTS.items():
        script, started = importlib.import_module(name), time.perf_counter()
        settings = [script.FULL if full else script.QUICK] if hasattr(script, "QUICK") else []
        script.main(str(folder / file), *settings)
        seconds[name] = time.perf_counter() - started
        print(f"{seconds[name]:7.1f} s  {name}", flush=True)
    return seconds


if __name__ == "__main__":
    figures.command(main, False, True, __doc__, "gallery")
