"""Models that are larger than a device: which parameter is split along which axis of a mesh.

A mesh has an axis `data`, over which the documents of a step are split, and an axis `model`, over
which heads, the inner width of the MLP and the vocabulary are. Parameters, and with them gradients
and moments, are split over both: the axis of the residual stream goes along `data`, and is put
together where it is used. The compiler adds the communication.
"""

from typing import Any

import jax
from jax import lax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

DATA, MODEL = "data", "model"

TABLE: dict[tuple[str, ...], tuple[str | None, ...]] = {
    ("tokens",): (MODEL, DATA),
    ("head",): (MODEL, DATA),
    ("positions",): (None, DATA),
    ("qkv", "kernel"): (DATA, MODEL, None, None),
    ("qkv", "bias"): (MODEL, None, None),
    ("out", "kernel"): (MODEL, None, None, DATA),
    ("up", "kernel"): (DATA, None, MODEL),
    ("up", "bias"): (None, MODEL),
    ("down", "kernel"): (MODEL, DATA),
}
"""How the last axes of a parameter are split, by the end of its path; others are not split.

Axes before these, of seeds and of stacked layers, are whole on every device.
"""


def checked_mesh(mesh: Any) -> Mesh:
    """A user's mesh, as it is used here: with axes that the compiler may split along.

    Raises:
        ValueError: for what is no mesh of the axes `data` and `model` (`TypeError` for another
            type).
    """
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"mesh must be a jax.sharding.Mesh, such as jax.make_mesh((1, 8), ('{DATA}', "
            f"'{MODEL}')), got {mesh!r}"
        )
    if set(mesh.axis_names) != {DATA, MODEL}:
        raise ValueError(f"mesh must have the axes '{DATA}' and '{MODEL}', got {mesh.axis_names}")
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * 2)


def splits_models(mesh: Mesh | AbstractMesh) -> bool:
    """Whether models are split over this mesh, rather than seeds."""
    return DATA in mesh.axis_names


def spec(
    names: tuple[Any, ...], shape: tuple[int, ...], mesh: Mesh | AbstractMesh
) -> PartitionSpec:
    """How a parameter is split. An axis whose size the mesh does not divide is not.

    Args:
        names: its path in the decoder.
        shape: its shape, with further axes in front perhaps.
        mesh: of `data` and `model`.
    """
    axes = TABLE.get(names[-2:]) or TABLE.get(names[-1:]) or ()
    return _dividing((None,) * (len(shape) - len(axes)) + axes, shape, mesh)


def shardings(tree: Any, mesh: Mesh) -> Any:
    """A sharding for each array of a pytree: parameters by the table, whatever else whole."""
    from flax import nnx  # slow to import

    def of(path: tuple[Any, ...], node: Any) -> Any:
        is_parameter = isinstance(node, nnx.Variable)
        names = tuple(getattr(key, "key", None) for key in path) if is_parameter else ()
        return jax.tree.map(lambda x: NamedSharding(mesh, spec(names, x.shape, mesh)), node)

    return jax.tree_util.tree_map_with_path(
        of, tree, is_leaf=lambda node: isinstance(node, nnx.Variable)
    )


def place(tree: Any, mesh: Mesh) -> Any:
    """The pytree on the devices of the mesh, each part of a parameter on its device alone."""
    return jax.device_put(tree, shardings(tree, mesh))


def constrain_tree(tree: Any, mesh: Mesh) -> Any:
    """Inside a compiled program: have a pytree split as `place` would."""
    return lax.with_sharding_constraint(tree, shardings(tree, mesh))


def constrain(x: Array, *axes: str | None) -> Array:
    """Have the first axes of activations split so, where models are split over `jax.set_mesh`."""
    mesh = jax.sharding.get_abstract_mesh()
    if not splits_models(mesh):
        return x
    return lax.with_sharding_constraint(x, _dividing(axes, x.shape, mesh))


def _dividing(
    axes: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh | AbstractMesh
) -> PartitionSpec:
    sizes = dict(zip(mesh.axis_names, mesh.axis_sizes, strict=True))
    pairs = zip(axes, shape, strict=False)
    return PartitionSpec(*(a if a is not None and n % sizes[a] == 0 else None for a, n in pairs))
