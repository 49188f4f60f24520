"""One run of a language model, made by `test_large_models.py` in processes of 8 devices together.

    large_models.py '{"mesh": [2, 4], "processes": 2, "process": 0, "port": 1234, "folder": "...",
                      "stop": "training", "model": "...", "out": "..."}'

Saves the metrics of two generations, the share of the parameters that one device holds and, as
`model`, the last model. With `stop` it ends without a word where it has saved a state of this kind
in generation 2.
"""

import json
import os
import sys

import jax
import numpy as np

import collapse_jax as cj
from collapse_jax.language.model.training import Optimizer
from collapse_jax.records import saving
from collapse_jax.records.midway import Midway


def main(text: str) -> None:
    """Make the run."""
    call = dict.fromkeys(("mesh", "folder", "stop", "model")) | json.loads(text)
    jax.config.update("jax_num_cpu_devices", 8 // call["processes"])

    if call["processes"] > 1:
        cj.hosts.connect(f"127.0.0.1:{call['port']}", call["processes"], call["process"])
    save, restore = Midway.save, Midway.restore

    def save_and_stop(self, kind, seeds, generation, step, tree):
        save(self, kind, seeds, generation, step, tree)
        if (kind, generation) == (call["stop"], 2):
            os._exit(0)

    def restore_and_tell(self, kind, seeds, generation, like):
        found = restore(self, kind, seeds, generation, like)
        if found is not None:
            print(f"restored {kind} of generation {generation}", flush=True)
        return found

    def observe(made):
        leaves = jax.tree.leaves(made.params)
        here = sum(leaf.addressable_shards[0].data.size for leaf in leaves)
        metrics["share"] = here / sum(leaf.size for leaf in leaves)
        if call["model"] and made.generation == 2:
            task.save_pretrained(call["model"], jax.tree.map(lambda p: p[0], made.params))

    Midway.save, Midway.restore = save_and_stop, restore_and_tell
    saving._SHARE = float("inf")  # save wherever it is possible, however short the run is
    metrics = {}
    task = cj.LanguageModel(
        n_samples=160,
        n_test=16,
        sample_batch=32,
        optimizer=Optimizer(1e-2, batch_size=16, epochs=5, micro_batch=8),
        scan=True,
    )
    ds = cj.simulate(
        cj.Accumulate(),
        task,
        2,
        [3],
        devices=None if call["mesh"] else jax.devices()[:1],
        mesh=call["mesh"] and jax.make_mesh(call["mesh"], ("data", "model")),
        checkpoint=call["folder"],
        checkpoint_seconds=0,
        observe=observe,
    )
    metrics |= {name: ds[name].values for name in ds}
    if cj.hosts.is_first():
        np.savez(call["out"], **metrics)


if __name__ == "__main__":
    main(sys.argv[1])
