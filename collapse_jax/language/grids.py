"""How much real and how much synthetic data: models trained on every combination of sizes."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Int
from tqdm import tqdm

from collapse_jax.basics import checks
from collapse_jax.basics.progress import beside
from collapse_jax.language.corpora.documents import Documents
from collapse_jax.language.task import LanguageModel
from collapse_jax.loop.form import columns_of, form_of
from collapse_jax.loop.presets import Replace
from collapse_jax.machines.devices import seed_mesh
from collapse_jax.records.config import describe
from collapse_jax.records.labels import provenance
from collapse_jax.run import compiled, programs, staged
from collapse_jax.run.arguments import checked_seeds
from collapse_jax.run.monitor import Monitor
from collapse_jax.tasks.places import Places

PUBLISHED = (0, 256, 512, 1024, 4096, 12_000, 20_000, 40_000)
"""The sizes of the published grid."""


def real_synthetic_grid(
    task: LanguageModel,
    n_real: Sequence[int] = PUBLISHED,
    n_synthetic: Sequence[int] = PUBLISHED,
    seeds: int | Sequence[int] = 1,
    *,
    progress: bool | None = None,
) -> xr.Dataset:
    """Train on the first so many real and the first so many synthetic documents.

    A model is trained on `task.n_samples` real documents and generates the synthetic ones. For each
    pair of sizes another model then starts anew, with the same start and order in all cells of a
    seed, so that differences between cells are those of the data.

    Args:
        task: the language model; `n_real` must not exceed its `n_samples`.
        n_real: distinct sizes, zero or more. Default the published ones.
        n_synthetic: distinct sizes, zero or more. Default the published ones.
        seeds: as for `simulate`.
        progress: show a progress bar; default only on a terminal.

    Returns:
        `test_loss` and the other metrics of a trained model, `[seed, n_real,
        n_synthetic]`. Without any data there is no model: that cell is NaN.

    Raises:
        ValueError: for arguments outside these ranges (`TypeError` for those of another type).

    Source:
        arXiv 2410.16713, section 4.

    Example:
        >>> import collapse_jax as cj
        >>> task = cj.LanguageModel(n_samples=16, n_test=8, sample_batch=16)
        >>> cj.real_synthetic_grid(task, n_real=[0, 16], n_synthetic=[0, 8]).test_loss.sizes
        Frozen({'seed': 1, 'n_real': 2, 'n_synthetic': 2})
    """
    if not isinstance(task, LanguageModel):
        raise TypeError(f"task must be a LanguageModel, got {task!r}")
    sizes = {
        "n_real": _checked("n_real", n_real),
        "n_synthetic": _checked("n_synthetic", n_synthetic),
    }
    if max(sizes["n_real"]) > task.n_samples:
        raise ValueError(
            f"n_real must not exceed the {task.n_samples} real documents of the task (n_samples), "
            f"got {max(sizes['n_real'])}"
        )
    cells = [(r, s) for r in sizes["n_real"] for s in sizes["n_synthetic"] if r + s]
    if not cells:
        raise ValueError("n_real and n_synthetic must not both be zero alone")
    seed_list, mesh = checked_seeds(seeds), seed_mesh(None)
    width = -(-len(seed_list) // mesh.size) * mesh.size
    plan = Replace().plan(1, task.n_samples)
    form = form_of(Replace(), task, plan)
    chains = compiled.Chains(
        compiled.traceable(task.prepared()),
        form,
        names=tuple(name for name in task.variables if name not in task.on_request),
        numbers=columns_of(plan, form, task.population),
        chunk=1,
        mesh=mesh,
        seeds=np.pad(seed_list, (0, width - len(seed_list)), mode="edge"),
    )
    found = {}
    with tqdm(
        total=len(cells) + 1, unit="model", disable=None if progress is None else not progress
    ) as bar:
        monitor, first = Monitor(beside(bar, "grid", wanted=progress is not False)), chains.of(1)
        start = compiled.start(chains)
        pool, training, _ = programs.run(programs.RECEIVE, chains, (first,), start)
        state = staged.fit(chains, training, pool, first, monitor)
        most = max(sizes["n_synthetic"])
        synthetic = None
        if most:
            synthetic, _ = staged.generate(
                chains, task.acceptance, state.params, first, most, monitor
            )
        bar.update()
        for r, s in cells:
            rows = _mixture(training.rows, synthetic, r)
            data = training._replace(rows=rows, places=_first_rows(r + s, width))
            now = first._replace(generation=np.int32(2), drawn=np.int32(r + s))
            state = staged.fit(chains, data, pool, now, monitor)
            pool, _, found[r, s] = programs.run(programs.FINISH, chains, (state, now), pool)
            bar.update()
    names = [name for name in task.variables if name in next(iter(found.values()))]
    shape = tuple(map(len, sizes.values()))
    values = {name: np.full((len(seed_list), *shape), np.nan) for name in names}
    for (r, s), metrics in found.items():
        place = (slice(None), sizes["n_real"].index(r), sizes["n_synthetic"].index(s))
        for name in names:
            values[name][place] = np.asarray(metrics[name])[: len(seed_list)]
    return xr.Dataset(
        {
            name: (("seed", *sizes), array, task.variables[name]._asdict())
            for name, array in values.items()
        },
        coords={
            "seed": ("seed", seed_list.astype(np.int64), {"long_name": "seed"}),
            "n_real": ("n_real", sizes["n_real"], {"long_name": "real documents"}),
            "n_synthetic": (
                "n_synthetic",
                sizes["n_synthetic"],
                {"long_name": "synthetic documents"},
            ),
        },
        attrs=provenance({"workflow": {"type": "grid"}, "task": describe(task)}, mesh),
    )


def _checked(name: str, values: Sequence[int]) -> list[int]:
    found = [checks.whole_number(name, value, minimum=0) for value in values]
    if not found:
        raise ValueError(f"{name} must not be empty")
    if len(set(found)) < len(found):
        raise ValueError(f"{name} must be distinct sizes, got {found}")
    return found


def _first_rows(n: int, width: int) -> Places:
    """The first so many rows, in all of so many chains."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, width), Places.first(jnp.asarray(n)))


@jax.jit
def _mixture(real: Documents, synthetic: Documents | None, n_real: Int[Array, ""]) -> Documents:
    """The first so many real documents, then the synthetic ones, in buffers of one size for all."""
    if synthetic is None:
        return real
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), real, synthetic)
    place = jnp.arange(both.lengths.shape[1])
    row = jnp.where(place < n_real, place, place - n_real + real.lengths.shape[1])
    return jax.tree.map(lambda x: jnp.take(x, row, axis=1, mode="clip"), both)
