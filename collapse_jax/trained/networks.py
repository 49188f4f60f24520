"""Networks of linear layers: all of their weights from one draw, which is quick to compile."""

import math
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Key

from collapse_jax.numerics import draws, threefry


def fresh(made: Any, key: Key[Array, ""]) -> Any:
    """A module with new linear layers, as equinox draws them.

    Weights and biases are uniform up to one over the root of the layer's inputs.

    Args:
        made: the module, with arrays or with their shapes in their places.
        key: the key of the draw.
    """
    leaves, structure = jax.tree.flatten(made, is_leaf=_is_linear)
    layers = [leaf for leaf in leaves if _is_linear(leaf)]
    arrays = [array for layer in layers for array in (layer.weight, layer.bias)]
    reaches = [1.0 / math.sqrt(layer.in_features) for layer in layers for _ in range(2)]
    drawn = draws.to_uniform(threefry.words(key, (sum(array.size for array in arrays),)))
    made_anew, first = [], 0
    for array, reach in zip(arrays, reaches, strict=True):
        part = drawn[first : first + array.size].reshape(array.shape)
        made_anew.append(reach * (2.0 * part - 1.0))
        first += array.size
    pairs = iter(zip(made_anew[::2], made_anew[1::2], strict=True))
    found = [
        eqx.tree_at(lambda layer: (layer.weight, layer.bias), leaf, next(pairs))
        if _is_linear(leaf)
        else leaf
        for leaf in leaves
    ]
    return jax.tree.unflatten(structure, found)


def completed(model: Any, made: Any) -> Any:
    """A model, of which arrays are all that is there, with the other parts of a module."""
    return eqx.combine(model, eqx.filter(made, eqx.is_inexact_array, inverse=True))


def _is_linear(leaf: Any) -> bool:
    return isinstance(leaf, eqx.nn.Linear)


def perceptron(inputs: int, outputs: int, width: int, depth: int) -> Any:
    """A multilayer perceptron whose weights are shapes only, for `fresh`."""
    return eqx.filter_eval_shape(
        lambda: eqx.nn.MLP(
            inputs, outputs, width, depth, activation=jax.nn.silu, key=jax.random.key(0)
        )
    )
