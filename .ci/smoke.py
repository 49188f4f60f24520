"""A little of everything, as a user has it installed: for the lowest versions of what is needed."""

import tempfile
import warnings
from pathlib import Path

import numpy as np

import collapse_jax as cj
from collapse_jax.records.run_files import read_run, write_run

warnings.filterwarnings("error", module="collapse_jax")  # old libraries warn of each other
random = np.random.default_rng(0)
table = {"kind": random.choice(["a", "b"], 60), "size": random.normal(size=60)}
small = {"steps": 3, "batch_size": 8, "width": 8}
tasks = (
    cj.Gaussian(2, 20),
    cj.KernelDensity("moons", 20),
    cj.LinearRegression(3, 20),
    cj.Categorical(4, 20),
    cj.Tabular(table, depth=1, **small),
    cj.Flow("moons", 30, layers=2, **small),
)
for task in tasks:
    ds = cj.simulate(cj.Replace(), task, 2, 2, progress=False)
    assert all(np.isfinite(ds[name]).all() for name in ds), task
with tempfile.TemporaryDirectory() as folder:
    album = cj.Album()
    task = cj.Categorical(4, 20)
    ds = cj.simulate(cj.Replace(), task, 3, 2, progress=False, observe=album)
    again = cj.simulate(cj.Replace(), task, 3, 2, progress=False, checkpoint=f"{folder}/chains")
    write_run(ds, f"{folder}/run.nc")
    assert read_run(f"{folder}/run.nc").equals(again)
    cj.plot(ds).savefig(f"{folder}/figure.png")
    cj.animate_generations(album, f"{folder}/film.gif")
    print(sorted(path.name for path in Path(folder).iterdir()))
