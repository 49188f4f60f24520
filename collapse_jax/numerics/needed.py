"""Work that only some of many chains need, and that the others neither do nor wait for.

Mapped over chains, a branch is taken in all of them, and a loop goes on until the last one ends.
Here a branch is left out where no chain takes it; and a loop is run in all chains once, and then in
those few that are still at it: of each group of chains, in one at a time. What comes out for a
chain is the same, whatever the others do, and has no slope.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Key, UInt32

from collapse_jax.numerics.threefry import fold_in

_GROUP = 8  # 16 to 64 are as fast
_FEWEST = 512  # chains; of fewer, all go on, which compiles sooner

Attempt = Callable[[Key[Array, ""], Any], tuple[Float[Array, " m"], Bool[Array, " m"]]]


def where_needed(
    needed: Bool[Array, " m"],
    make: Callable[..., Float[Array, " m"]],
    otherwise: Float[Array, " m"],
    *arguments: Any,
) -> Float[Array, " m"]:
    """`jnp.where(needed, make(*arguments), otherwise)`, made only where some chain needs it.

    Args:
        needed: where it is. `[m]`
        make: a function of its arguments and nothing else.
        otherwise: the values elsewhere. `[m]`
        arguments: pytrees of arrays.

    Example:
        >>> needed, square = jnp.array([True, False]), jnp.full(2, 4.0)
        >>> where_needed(needed, jnp.sqrt, jnp.zeros(2), square).tolist()
        [2.0, 0.0]
    """

    def chosen(make, needed, otherwise, arguments):
        def made():
            return jnp.where(needed, make(*arguments), otherwise)

        return lax.cond(jnp.any(needed), made, lambda: otherwise)

    @custom_vmap
    def found(needed, otherwise, arguments):
        return chosen(make, needed, otherwise, arguments)

    @found.def_vmap
    def of_many(axis_size, in_batched, *given):
        needed, otherwise, arguments = _batched(axis_size, in_batched, given)
        return chosen(jax.vmap(make), needed, otherwise, arguments), True

    return found(needed, *_held((otherwise, arguments)))


def _held(given: Any) -> Any:
    """The same without slopes: JAX maps derivatives of what has a rule for maps wrongly (0.10)."""
    return jax.tree.map(lax.stop_gradient, given)


def _batched(axis_size: int, in_batched: Any, given: Any) -> Any:
    """What is given, each with the axis of chains."""
    return jax.tree.map(
        lambda x, batched: x if batched else jnp.broadcast_to(x, (axis_size, *x.shape)),
        *(given, tuple(in_batched)),
    )


def until_accepted(
    attempt: Attempt,
    key: Key[Array, ""],
    parameters: Any,
    value: Float[Array, " m"],
    done: Bool[Array, " m"],
) -> Float[Array, " m"]:
    """Values, each by the first of its attempts that is accepted.

    Args:
        attempt: makes values, and says whether they are accepted, from a key and the parameters; a
            function of nothing else.
        key: folded with 1, 2, ..., it gives the keys of the attempts.
        parameters: a pytree of arrays.
        value: the values where there is nothing to do. `[m]`
        done: where that is. `[m]`

    Example:
        >>> def attempt(key, least):
        ...     drawn = jax.random.normal(key, least.shape)
        ...     return drawn, drawn > least
        >>> least = jnp.array([0.0, 1.0])
        >>> start = jnp.zeros(2), jnp.zeros(2, bool)
        >>> bool((until_accepted(attempt, jax.random.key(0), least, *start) > least).all())
        True
    """
    kind = jax.random.key_impl(key)

    def improved(words, trial, parameters, value, done):
        own = fold_in(jax.random.wrap_key_data(words, impl=kind), trial)
        new, accepted = attempt(own, parameters)
        return jnp.where(accepted & ~done, new, value), done | accepted

    @custom_vmap
    def found(words, parameters, value, done):
        def again(state):
            trial, value, done = state
            return trial + 1, *improved(words, trial, parameters, value, done)

        state = jnp.ones((), jnp.int32), value, done
        return lax.while_loop(lambda state: ~jnp.all(state[2]), again, state)[1]

    @found.def_vmap
    def of_many(axis_size, in_batched, words, parameters, value, done):
        given = words, parameters, value, done
        if axis_size < _FEWEST or axis_size % _GROUP:
            axes = jax.tree.map(lambda batched: 0 if batched else None, tuple(in_batched))
            return jax.vmap(found.fun, axes, axis_size=axis_size)(*given), True
        return _in_groups(jax.vmap(improved), *_batched(axis_size, in_batched, given)), True

    return found(jax.random.key_data(key), *_held((parameters, value)), done)


def _in_groups(
    improved: Callable[..., tuple[Float[Array, "n m"], Bool[Array, "n m"]]],
    words: UInt32[Array, "n 2"],
    parameters: Any,
    value: Float[Array, "n m"],
    done: Bool[Array, "n m"],
) -> Float[Array, "n m"]:
    """All once; then one of each group at a time, the first that is not done."""
    n_groups = len(value) // _GROUP
    value, done = lax.cond(
        jnp.all(done),
        lambda: (value, done),
        lambda: improved(words, jnp.ones(len(value), jnp.int32), parameters, value, done),
    )
    words, parameters, value, done = jax.tree.map(
        lambda x: x.reshape(_GROUP, n_groups, *x.shape[1:]), (words, parameters, value, done)
    )
    place = jnp.arange(_GROUP)[:, None]

    def again(state):
        trial, value, done = state
        left = ~jnp.all(done, axis=2)
        first = jnp.min(jnp.where(left, place, _GROUP - 1), axis=0)
        own = jax.tree.map(
            lambda x: x[first, jnp.arange(n_groups)], (words, trial, parameters, value, done)
        )
        chosen = place == first
        value, done = (
            jnp.where(chosen[..., None], new, old)
            for new, old in zip(improved(*own), (value, done), strict=True)
        )
        return trial + chosen, value, done

    trial = jnp.full((_GROUP, n_groups), 2, jnp.int32)
    state = lax.while_loop(lambda state: ~jnp.all(state[2]), again, (trial, value, done))
    return state[1].reshape(-1, *value.shape[2:])
