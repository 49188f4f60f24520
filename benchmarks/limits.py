"""What this machine can do at most: random numbers and exponentials per second, on all devices."""

import time
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def _rate(function, per_call: int) -> float:
    """Results per second of `function(x)` over an array split among the devices, the best of 5."""
    mesh = Mesh(np.array(jax.devices()), ("x",))
    compiled = jax.jit(
        jax.shard_map(
            function,
            mesh=mesh,
            in_specs=PartitionSpec("x"),
            out_specs=PartitionSpec("x"),
            check_vma=False,
        )
    )
    seeds = jax.device_put(
        jnp.arange(len(mesh.devices), dtype=jnp.uint32), NamedSharding(mesh, PartitionSpec("x"))
    )
    jax.block_until_ready(compiled(seeds))
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(compiled(seeds))
        best = min(best, time.perf_counter() - start)
    return per_call * len(mesh.devices) / best


@cache
def normals_per_second() -> float:
    """Normal draws of `jax.random.normal`, in arrays that fit the cache."""
    size, repeats = 2**16, 50

    def draw(seed):
        key = jax.random.key(seed[0], impl="threefry2x32")

        def body(i, total):
            return total + jax.random.normal(jax.random.fold_in(key, i), (size,))

        return jax.lax.fori_loop(0, repeats, body, jnp.zeros(size))

    return _rate(draw, size * repeats)


@cache
def exponentials_per_second() -> float:
    """Evaluations of `jnp.exp`, in arrays that fit the cache."""
    size, repeats = 2**16, 200

    def evaluate(seed):
        x = -jnp.linspace(0.0, 20.0, size) - seed[0].astype(jnp.float32)
        return jax.lax.fori_loop(0, repeats, lambda i, x: jnp.exp(x) - 3.0, x)

    return _rate(evaluate, size * repeats)


@cache
def products_per_second() -> float:
    """Multiplications with addition of a float32 matrix product, two operations each."""
    size, repeats = 1024, 4

    def multiply(seed):
        x = jnp.full((size, size), 1.0 / size) + 0.0 * seed[0].astype(jnp.float32)
        product = jax.lax.fori_loop(0, repeats, lambda i, y: y @ x, x)
        return jnp.sum(product)[None]

    return _rate(multiply, repeats * size**3)
