"""Faults that the daily tests must notice, each a small slip in the core.

`pytest -m thorough tests/test_planted_faults.py` plants them one by one. Tests that become too slow
for every day may leave it only where another daily test still notices what they did.
"""

from typing import NamedTuple


class Fault(NamedTuple):
    """A slip: in a module, one piece of text that is there once becomes another."""

    module: str
    right: str
    wrong: str
    noticed_by: str
    """A file of daily tests, or one of its tests, which is daily whatever it takes."""


FAULTS = [
    Fault(
        "numerics/keys.py",
        "_ROLES_PER_GENERATION + role)",
        "_ROLES_PER_GENERATION)",
        "test_pins.py",
    ),
    Fault(
        "numerics/keys.py",
        "_ROLES_PER_GENERATION = 16",
        "_ROLES_PER_GENERATION = 15",
        "test_pins.py",
    ),
    Fault(
        "numerics/needed.py",
        "return trial + chosen, value, done",
        "return trial + 1, value, done",
        "test_needed.py",
    ),
    Fault(
        "numerics/threefry.py",
        "jnp.where(first == half - 1, jnp.uint32(0), second)",
        "second",
        "test_random.py",
    ),
    Fault(
        "numerics/linalg.py",
        "return a, used + alive, noise, lower",
        "return a, used + 1, noise, lower",
        "test_linalg.py",
    ),
    Fault(
        "tasks/parts/toys.py",
        "less = jnp.where(modes.rest_first, each, number - 1 - each)",
        "less = each",
        "test_kernel_density.py",
    ),
    Fault(
        "tasks/parts/support.py",
        "jnp.min(jnp.where(mode == own, jnp.inf, squared))",
        "jnp.min(squared)",
        "test_kernel_density.py::test_support_metrics_agree_with_a_kd_tree",
    ),
    Fault(
        "basics/entries.py",
        "linear = jax.custom_jvp(f)",
        "return f",
        "test_entries.py",
    ),
    Fault(
        "basics/entries.py",
        "if len(jax.tree.leaves(arrays)) == 1:",
        "if arrays is not None:",
        "test_compiling.py",
    ),
    Fault(
        "run/compiled.py",
        "keep_unused=True",
        "keep_unused=False",
        "test_compiling.py::test_batches_start_in_the_memory_of_those_before[rows]",
    ),
    Fault(
        "run/compiled.py",
        "wanted = ((0, chains.form.slots - 1) if i == axis",
        "wanted = ((chains.form.slots - 1, 0) if i == axis",
        "test_compiling.py",
    ),
    Fault(
        "machines/programs.py",
        "        gc.enable()\n        _PAUSE",
        "        _PAUSE",
        "test_compiling.py",
    ),
    Fault(
        "run/driver.py",
        "yield self.seeds, max(first, start), values",
        "yield self.seeds, first, values",
        "test_faults.py",
    ),
    Fault(
        "loop/generation.py",
        "now.generation, Role.SELECT)",
        "now.generation, Role.REAL)",
        "test_pins.py::test_values_are_pinned[Categorical counts-AccumulateSubsample]",
    ),
    Fault(
        "loop/generation.py",
        "previous=pools.latest(pool, now) if form.warm else None",
        "previous=None",
        "test_runners.py::test_warm_starts_go_on_where_the_model_before_was",
    ),
    Fault(
        "loop/pool.py",
        "(now.generation - 2) % len(x)",
        "(now.generation - 1) % len(x)",
        "test_bookkeeping.py",
    ),
    Fault(
        "loop/pool.py",
        "(now.generation - 1 - now.synthetic_batches) %",
        "(now.generation - now.synthetic_batches) %",
        "test_bookkeeping.py",
    ),
    Fault(
        "loop/inclusion/drawing.py",
        "real_scale = weight / jnp.maximum(n_real, 1)",
        "real_scale = weight / now.drawn",
        "test_bookkeeping.py",
    ),
    Fault(
        "loop/inclusion/drawing.py",
        "real = numbers < places.real_size",
        "real = numbers <= places.real_size",
        "test_bookkeeping.py",
    ),
    Fault(
        "loop/windows.py",
        "older = (place < keep - 1)",
        "older = (place < keep - 2)",
        "test_compositions.py::test_random_compositions[0]",
    ),
    Fault(
        "loop/windows.py",
        "place = slots - 2 - i",
        "place = slots - 1 - i",
        "test_compositions.py::test_random_compositions[0]",
    ),
    Fault(
        "loop/plan.py",
        "np.maximum(np.arange(1, len(rows) + 1) - _limit(keep), 0)",
        "np.maximum(np.arange(len(rows)) - _limit(keep), 0)",
        "test_plans.py",
    ),
    Fault(
        "loop/plan.py",
        "synthetic = (1.0 - self.real_weight)",
        "synthetic = self.real_weight",
        "test_plans.py",
    ),
    Fault(
        "loop/batches.py",
        "now.generation - 1, Role.REAL)\n        return Batch(None",
        "0, Role.REAL)\n        return Batch(None",
        "test_compositions.py::test_random_compositions[0]",
    ),
    Fault(
        "loop/makers.py",
        "share = 1.0 / (self._count - s)",
        "share = 1.0 / (self._count + 0 * s)",
        "test_compositions.py::test_rows_of_past_models_by_their_statistics",
    ),
    Fault(
        "loop/curation/operators.py",
        "weights = jnp.exp(rewards - jnp.max",
        "weights = jnp.exp(jnp.max",
        "test_curation.py::test_two_outcomes_follow_the_exact_chain",
    ),
    Fault(
        "tasks/places.py",
        "(1.0 - skill) * synthetic",
        "skill * synthetic",
        "test_detected_rows.py::test_fits_have_the_exact_moments_of_rows_with_these_weights[some-fresh]",
    ),
    Fault(
        "loop/batches.py",
        "real, now.generation)",
        "real, now.generation + 1)",
        "test_drifting_rewards.py::test_generations_are_those_of_the_model_that_makes_the_rows",
    ),
    Fault(
        "tasks/gaussian.py",
        "jnp.sqrt(weight * (1.0 - weight)) * gap[None, :]",
        "0.0 * gap[None, :]",
        "test_gaussian.py",
    ),
    Fault(
        "tasks/gaussian.py",
        "+ kept * (1.0 - kept) * jnp.outer",
        "- kept * (1.0 - kept) * jnp.outer",
        "test_gaussian.py",
    ),
    Fault(
        "tasks/gaussian.py",
        "0.5 * jnp.log(n / (n - 1.0))",
        "0.5 * jnp.log(n / (n + 1.0))",
        "test_pins.py::test_values_are_pinned[Gaussian unbiased-AccumulateSubsample]",
    ),
    Fault(
        "tasks/gaussian.py",
        "quadratic) + jnp.sum(model.log_diag)",
        "quadratic) - jnp.sum(model.log_diag)",
        "test_gaussian.py",
    ),
    Fault(
        "tasks/categorical.py",
        "log_p = jnp.log(jnp.where(p > 0.0, p, 1.0)) / temperature",
        "log_p = jnp.log(jnp.where(p > 0.0, p, 1.0)) * temperature",
        "test_categorical.py::test_temperatures_are_powers_of_probabilities",
    ),
    Fault(
        "tasks/linear_regression.py",
        "coefficients + solve(x.T @ (y - x @ coefficients))",
        "coefficients - solve(x.T @ (y - x @ coefficients)) - coefficients / 99",
        "test_linear_regression.py::test_data_are_fitted_as_numpy_does",
    ),
    Fault(
        "tasks/kernel_density.py",
        "self.dim * jnp.log(model.bandwidth)",
        "jnp.log(model.bandwidth)",
        "test_kernel_density.py",
    ),
    Fault(
        "tasks/exponential_family.py",
        "world + self._truth.divergence",
        "world - self._truth.divergence",
        "test_exponential_family.py::test_likelihood_is_that_of_scipy[poisson]",
    ),
    Fault(
        "tasks/trained.py",
        "steps.first, steps.last, body",
        "steps.first + 1, steps.last, body",
        "test_phases.py::test_mean_weights_are_those_of_gradient_descent[phases0-parts0]",
    ),
    Fault(
        "theory/recursion.py",
        "weights[slot] = weight * rows",
        "weights[slot] = weight",
        "theory/test_compositions.py",
    ),
    Fault(
        "theory/recursion.py",
        "else within + between\n",
        "else within\n",
        "theory/test_compositions.py",
    ),
    Fault(
        "theory/gaussian.py",
        "cumprod(1 - share * (1 - previous * (1 - 1 / total)))",
        "cumprod(1 - share * (1 - previous * (1 + 1 / total)))",
        "theory/test_gaussian.py",
    ),
    Fault(
        "theory/risk.py",
        "3 * accumulate_risk_ratio(n_generations) - 2",
        "2 * accumulate_risk_ratio(n_generations) - 1",
        "theory/test_gaussian.py",
    ),
    Fault(
        "theory/wright_fisher.py",
        "np.sum((1 - p) ** n)",
        "np.sum((1 - p) ** (n - 1))",
        "theory/test_categorical.py",
    ),
    Fault(
        "numerics/subsets.py",
        "return x, x < population",
        "return x, x <= population",
        "test_subsample.py",
    ),
    Fault("run/driver.py", "batch.done + 1, steps", "batch.done, steps", "test_pins.py"),
    Fault(
        "run/driver.py",
        "filled[inside] = saved[inside]",
        "filled[inside] = 0 * saved[inside]",
        "test_stopping.py",
    ),
    Fault(
        "analysis/verdicts.py",
        "exponents >= LEAST_GROWTH",
        "exponents >= -LEAST_GROWTH",
        "test_verdict.py",
    ),
    Fault(
        "language/acceptance.py",
        "np.flatnonzero(finished)",
        "np.arange(len(finished))",
        "language/test_text.py",
    ),
    Fault(
        "tasks/places.py",
        "np.ceil(np.arange(1, n_parts) * n_steps / n_parts)",
        "np.ceil(np.arange(1, n_parts) * n_steps / n_parts - 1.0)",
        "test_phases.py::test_mean_weights_are_those_of_gradient_descent[phases0-parts0]",
    ),
    Fault(
        "trained/group_classifier.py",
        "(weight[:, None] * apart) / jnp.maximum(size - n, 1.0)",
        "(weight[:, None] * apart) / jnp.maximum(size, 1.0)",
        "test_group_classifier.py",
    ),
]
