"""Random draws that JAX lacks or makes slowly."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key, UInt32

from collapse_jax.numerics.threefry import fold_in, pairs, words


def to_uniform(words: UInt32[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Map random words to uniform numbers on the open interval (0, 1).

    They are the odd multiples of 2**-24, which float32 holds exactly; never 0 or 1, of which the
    logarithm would be infinite or zero.
    """
    return ((words >> 9).astype(jnp.int32).astype(jnp.float32) + 0.5) * jnp.float32(2.0**-23)


def to_integers(
    words: UInt32[Array, "2 m"], bound: Int[Array, ""] | Int[Array, " m"] | int
) -> Int[Array, " m"]:
    """Map pairs of random words to whole numbers in `range(bound)`, one bound for all or for each.

    The pair is a 64-bit fraction, of whose product with the bound the whole part is taken: each
    number has its share of the fractions up to one in 2**64, and no division is needed.
    """
    bound = jnp.asarray(bound).astype(jnp.uint32)
    high, low = words
    fraction = high * bound  # modulo 2**32
    carry = fraction + _high_product(low, bound) < fraction
    return (_high_product(high, bound) + carry).astype(jnp.int32)


def _high_product(a: UInt32[Array, " m"], b: UInt32[Array, "..."]) -> UInt32[Array, " m"]:
    """The upper 32 bits of the products."""
    a_high, a_low, b_high, b_low = a >> 16, a & 0xFFFF, b >> 16, b & 0xFFFF
    middle = a_high * b_low + (a_low * b_low >> 16)
    return a_high * b_high + (middle >> 16) + (a_low * b_high + (middle & 0xFFFF) >> 16)


# sin(pi x / 2) / x and cos(pi x / 2) as polynomials in x**2 on [-1/2, 1/2], lowest power first, by
# Chebyshev interpolation; relative errors 3e-9 and 4e-8.
_SINE = (1.57079632196, -0.645963478153, 0.0796802228582, -0.00460216310493)
_COSINE = (0.999999972376, -1.23369701084, 0.253598607712, -0.0204082554672)


def to_normals(
    words: UInt32[Array, "2 m"] | tuple[UInt32[Array, " m"], UInt32[Array, " m"]],
) -> Float[Array, " 2*m"]:
    """Map pairs of random words to pairs of independent standard normals, m of them apart.

    Box and Muller's method: the first word gives the distance from the origin, at most 5.8, the
    second the direction. It takes a third of the time of inverting the error function, since its
    logarithm serves two draws and sine and cosine of a quarter turn are short polynomials.
    """
    radius = jnp.sqrt(-2.0 * jnp.log(to_uniform(words[0])))
    # The two highest bits of the second word say which quarter turn, the others where in it.
    place = lax.bitcast_convert_type(words[1] << 2, jnp.int32) >> 8
    x = (place.astype(jnp.float32) + 0.5) * jnp.float32(2.0**-24)  # odd multiples: never 0
    sine, cosine = x * _polynomial(_SINE, x * x), _polynomial(_COSINE, x * x)
    swapped = (words[1] >> 30) & 1 == 1
    radius = jnp.where(words[1] >> 31 == 1, -radius, radius)
    first, second = jnp.where(swapped, cosine, sine), jnp.where(swapped, sine, cosine)
    # Concatenated, not stacked: the compiler then writes each half in a loop of its own.
    return jnp.concatenate([radius * first, radius * second])


def _polynomial(
    coefficients: tuple[float, ...], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Value of a polynomial, lowest power first, by Horner's rule."""
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


def normal(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Standard normal draws, three times as fast on a CPU as `jax.random.normal`."""
    size = math.prod(shape)
    return to_normals(pairs(key, -(-size // 2)))[:size].reshape(shape)


# Proposals of Marsaglia and Tsang's method that are drawn together. One is accepted with
# probability 0.95 or more, so the exact retry below is rare.
_PROPOSALS = 2


def log_chi_square(
    key: Key[Array, ""],
    degrees: Float[Array, " m"],
    divisor: Float[Array, ""] | float = 1.0,
    normals: int = 0,
) -> tuple[Float[Array, " m"], Float[Array, " normals"]]:
    """Logarithms of independent chi-square draws, together with independent standard normals.

    One call of the generator serves both: small calls are what costs time. The method is
    Marsaglia and Tsang's rejection (ACM TOMS 26:363, 2000), with a few proposals drawn at once and
    an exact retry for entries that accepted none.

    Args:
        key: the key of the draws.
        degrees: degrees of freedom, whole numbers; zero or less gives `-inf` (a draw of 0). `[m]`
        divisor: what the draws are divided by; near the degrees, the logarithms are near 0 and
            keep their digits.
        normals: how many standard normals to draw as well.

    Returns:
        the logarithms `[m]` and the normals `[normals]`.
    """
    m = degrees.shape[0]
    shape = jnp.maximum(degrees, 2.0) / 2.0  # one degree of freedom takes another way, below
    d = shape - 1.0 / 3.0
    c = 1.0 / (3.0 * jnp.sqrt(d))

    def propose(z, u):
        """First accepted of the proposals in rows of `z`, `u`, and whether there is one."""
        cube = (1.0 + c * z) ** 3
        log_cube = jnp.log(jnp.maximum(cube, 1e-30))
        accepted = (cube > 0.0) & (jnp.log(u) < 0.5 * z * z + d * (1.0 - cube + log_cube))
        value = log_cube[-1]
        for i in reversed(range(_PROPOSALS - 1)):
            value = jnp.where(accepted[i], log_cube[i], value)
        return value, jnp.any(accepted, axis=0)

    def attempt(state):
        trial, log_cube, done, standard, square = state
        pairs = -(-(normals + _PROPOSALS * m) // 2)
        drawn = words(fold_in(key, trial), (2 * pairs + _PROPOSALS * m,))
        z = to_normals(drawn[: 2 * pairs].reshape(2, pairs))
        proposals = z[normals : normals + _PROPOSALS * m].reshape(_PROPOSALS, m)
        proposed, accepted = propose(
            proposals, to_uniform(drawn[2 * pairs :]).reshape(_PROPOSALS, m)
        )
        first = trial == 0
        return (
            trial + 1,
            jnp.where(done, log_cube, proposed),
            done | accepted,
            jnp.where(first, z[:normals], standard),
            jnp.where(first, proposals[0], square),
        )

    single = degrees < 2.0  # then the square of a normal; proposals are not used
    done = ~(degrees >= 2.0)  # what is no number would never be accepted
    state = (0, jnp.zeros(m), done, jnp.zeros(normals), jnp.zeros(m))
    _, log_cube, _, standard, square = lax.while_loop(
        lambda state: (state[0] == 0) | ~jnp.all(state[2]), attempt, state
    )
    log_gamma = log_cube + jnp.log(2.0 * d / divisor)
    log_draw = jnp.where(single, jnp.log(square * square / divisor), log_gamma)
    return jnp.where(degrees < 1.0, -jnp.inf, log_draw), standard


def bartlett(
    key: Key[Array, ""],
    n: Float[Array, ""] | float,
    d: int,
    divisor: Float[Array, ""] | float = 1.0,
    normals: int = 0,
) -> tuple[Float[Array, " d"], Float[Array, "d d"], Float[Array, " normals"]]:
    """Lower triangular factor of a standard Wishart matrix, together with standard normals.

    `L L'` is the scatter matrix of `n` standard normal rows in `d` dimensions, divided by the
    divisor; with fewer rows than dimensions only the first `n` columns are not zero. `n` is a
    number, not a shape.

    Returns:
        logarithms of the diagonal (-inf in columns of zeros) `[d]`, the strictly lower
        part `[d, d]`, and the normals `[normals]`.

    Source:
        Anderson, An Introduction to Multivariate Statistical Analysis, section 7.2.
    """
    degrees = n - jnp.arange(d, dtype=jnp.float32)
    log_chi, drawn = log_chi_square(key, degrees, divisor, normals + d * (d - 1) // 2)
    below = jnp.where(degrees > 0.0, _strictly_lower(drawn[normals:], d), 0.0)
    below = below / jnp.sqrt(jnp.asarray(divisor, jnp.float32))
    return 0.5 * log_chi, below, drawn[:normals]


def _strictly_lower(entries: Float[Array, " m"], d: int) -> Float[Array, "d d"]:
    """Strictly lower triangular matrix of `d(d-1)/2` entries, in some fixed order.

    Rows are paired so that two make a full row of a rectangle: only slices, no gather.
    """
    pairs = d // 2
    rectangle = entries.reshape(pairs, -1) if pairs else jnp.zeros((0, d))
    top = jnp.zeros((d % 2, rectangle.shape[1]))
    matrix = jnp.concatenate([top, rectangle[:, ::-1], rectangle[::-1]])
    return jnp.tril(jnp.pad(matrix, ((0, 0), (0, d - matrix.shape[1]))), -1)


def multinomial(
    key: Key[Array, ""],
    n: Int[Array, ""] | Float[Array, ""] | int,
    probabilities: Float[Array, " k"],
) -> Float[Array, " k"]:
    """Counts of `n` draws from a categorical law, at a cost that does not depend on `n`.

    A tree of binomial draws: the counts of two halves of the outcomes, then of their halves.

    Returns:
        whole numbers as floats, exact below 2**24. `[k]`
    """
    k = probabilities.shape[0]
    levels = max(k - 1, 0).bit_length()
    mass = [jnp.zeros(2**levels).at[:k].set(probabilities)]
    for _ in range(levels):
        mass.append(mass[-1].reshape(-1, 2).sum(axis=1))
    counts = jnp.reshape(jnp.asarray(n, jnp.float32), (1,))
    for level in reversed(range(levels)):
        left, right = mass[level].reshape(-1, 2).T
        # The lesser half is drawn: its share keeps its digits, and never is the sampler's end, 1.
        lesser = jnp.minimum(left, right)
        share = lesser / jnp.where(mass[level + 1] > 0.0, mass[level + 1], 1.0)
        drawn = jax.random.binomial(fold_in(key, level), counts, jnp.maximum(share, 1e-12))
        drawn = jnp.where(lesser > 0.0, drawn, 0.0)
        drawn = jnp.where(left <= right, drawn, counts - drawn)
        counts = jnp.stack([drawn, counts - drawn], axis=1).reshape(-1)
    return counts[:k]


def bootstrap_labels(key: Key[Array, ""], n: int, counts: Int[Array, " k"]) -> Int[Array, " n"]:
    """`n` labels drawn with replacement from data in which label `j` occurs `counts[j]` times.

    In whole numbers throughout, so exact however many labels there are. O(k + n log k).
    """
    cumulative = jnp.cumsum(counts)
    position = to_integers(words(key, (2, n)), cumulative[-1])
    return jnp.searchsorted(cumulative, position, side="right")


def categorical_labels(
    key: Key[Array, ""], n: int, probabilities: Float[Array, " k"]
) -> Int[Array, " n"]:
    """`n` labels drawn from a categorical law by inverting its distribution function.

    Inverted in two steps, a group of about sqrt(k) outcomes and then the outcome: in one step
    float32 would resolve the probabilities of 100,000 outcomes to a percent only.
    """
    k = probabilities.shape[0]
    width = math.isqrt(max(k - 1, 0)) + 1
    table = jnp.zeros(width * width).at[:k].set(probabilities).reshape(width, width)
    u_group, u_within = jax.random.uniform(key, (2, n))
    group = _invert(table.sum(axis=1), u_group)
    within = jax.vmap(_invert)(table[group], u_within)
    return group * width + within


def _invert(weights: Float[Array, " m"], uniform: Float[Array, "..."]) -> Int[Array, "..."]:
    """Index drawn with these weights, never one of weight 0, from a uniform draw on [0, 1)."""
    cumulative = jnp.cumsum(weights)
    last = jnp.max(jnp.where(weights > 0.0, jnp.arange(weights.shape[0]), 0))
    index = jnp.searchsorted(cumulative, uniform * cumulative[-1], side="right")
    return jnp.minimum(index, last)
