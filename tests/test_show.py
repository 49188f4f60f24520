"""Saved runs: cells of grids as runs, comparisons, exponents, tables, and the command `show`."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import scipy
import xarray as xr

import collapse_jax as cj
from collapse_jax.analysis.estimates import slope
from collapse_jax.analysis.runs import collect
from collapse_jax.cli.program import main
from collapse_jax.records.cells import as_run, config_of, runs_of
from collapse_jax.records.run_files import read_run, write_run

PUBLISHED = Path(__file__).parent / "published"
"""Files that version 0.1.0 wrote."""


def chains(values, first_seed=0, **attrs):
    """A dataset of one metric."""
    values = np.asarray(values, np.float32)
    seeds, generations = (np.arange(n) for n in values.shape)
    coordinates = {"seed": seeds + first_seed, "generation": generations + 1}
    data = {"test_error": (("seed", "generation"), values, {"units": "cm^2"})}
    return xr.Dataset(data, coordinates, attrs)


@pytest.fixture(scope="module")
def grid():
    return read_run(PUBLISHED / "sweep.nc")


def test_a_cell_of_a_grid_has_its_own_configuration_and_theory(grid):
    cells = runs_of(grid)
    sizes = [config_of(cell)["task"]["n_samples"] for cell in cells]
    loops = [config_of(cell)["workflow"]["type"] for cell in cells]
    assert sizes == [9, 30, 9, 30]
    assert loops == ["Replace", "Replace", "Accumulate", "Accumulate"]
    cell = grid.sel(workflow="Accumulate", n_samples=30)
    (run,) = collect(cell)
    np.testing.assert_array_equal(run.theory.n_train, 30 * np.arange(1, 7))
    assert run.settings["n_samples"] == "30"
    assert run.workflow == "Accumulate"
    known = cj.theory.expected(cj.Accumulate(), cj.Categorical(3, 30), 6)
    np.testing.assert_array_equal(run.theory.collision, known.collision)


def test_a_cell_that_does_not_say_which_it_is_has_no_theory(grid):
    cell = grid.isel(workflow=0, n_samples=0)
    for unknown in (cell.drop_vars("n_samples"), cell.assign_coords(n_samples=10)):
        assert config_of(unknown) == {}
        assert not collect(unknown)[0].theory.data_vars
    assert as_run(grid).identical(grid)


def test_a_grid_is_as_many_runs_as_it_has_cells(grid):
    labels = [run.label for run in collect(grid)]
    expected = [f"{w}, n_samples={n}" for w in ("Replace", "Accumulate") for n in (9, 30)]
    assert labels == expected
    labels = [run.label for run in collect({"a": grid.isel(workflow=[1]), "b": grid})]
    assert labels == ["a, n_samples=9", "a, n_samples=30", *(f"b, {name}" for name in expected)]
    assert len(cj.plot(grid, variables=["entropy"]).axes[0].get_legend_handles_labels()[1]) == 4


def test_scaling_laws_are_read_from_the_sizes_of_cells():
    task, over = cj.LinearRegression(dim=2), {"n_samples": [20, 80]}
    ds = cj.sweep(cj.Replace(), task, over, 4, seeds=100, progress=False).isel(workflow=0)
    cells = [ds.isel(n_samples=i).drop_vars("n_samples") for i in range(2)]
    own = [as_run(ds.isel(n_samples=i)) for i in range(2)]
    along = cj.diagnose(ds)["changed scaling"]
    assert cj.diagnose(own)["changed scaling"] == along
    assert cj.diagnose(cells)["changed scaling"].answer == "cannot tell"  # no sizes are known


@pytest.mark.parametrize("shared", [40, 0])
def test_intervals_are_those_of_scipy(shared):
    draws = np.random.default_rng(0).normal([[[0.0]], [[0.3]]], size=(2, 40, 3))
    first, second = chains(draws[0]), chains(draws[1][:, :2], first_seed=40 - shared)
    found = cj.compare({"a": first, "b": second}).iloc[0]
    pair = draws[:, :, 1].astype(np.float32).astype(np.float64)
    test = scipy.stats.ttest_rel if shared else scipy.stats.ttest_ind
    options = {} if shared else {"equal_var": False}
    interval = test(pair[1], pair[0], **options).confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [*interval], rtol=1e-9)
    assert (found.run, found.baseline, found.generation, found.chains) == ("b", "a", 2, 40)
    assert found.paired == bool(shared)
    if shared:
        assert (found.lower, found.higher) == (np.sum(pair[1] < pair[0]), np.sum(pair[1] > pair[0]))


def test_only_common_seeds_are_paired_and_others_are_left_out():
    values = np.arange(12.0).reshape(6, 2) ** 2
    shifted = chains(values[2:] + np.outer([1.0, 2.0, 3.0, 6.0], [0.0, 1.0]), first_seed=2)
    order = np.array([3, 1, 0, 2])
    found = cj.compare([chains(values), shifted.isel(seed=order)]).iloc[0]
    assert (found.difference, found.chains, found.higher) == (3.0, 4, 4)


def test_infinite_chains_are_counted_and_have_no_interval():
    dead = chains([[1.0, np.inf], [1.0, 2.0], [1.0, 0.0]])
    alive = chains([[1.0, 1.0], [1.0, 3.0], [1.0, 2.0]])
    found = cj.compare([alive, dead]).iloc[0]
    assert np.isnan([found.difference, found.low, found.high]).all()
    assert (found.lower, found.higher) == (2, 1)


def test_slopes_are_those_of_a_straight_line_through_logarithms():
    t, noise = np.arange(1, 41), np.random.default_rng(1).exponential(size=(300, 1))
    ds = chains(noise * t**-0.7)
    found = cj.slopes(ds).iloc[0]
    assert (found["first"], found["last"]) == (10, 40)
    np.testing.assert_allclose([found.exponent, found.low, found.high], -0.7, atol=1e-5)
    bent = noise * (1.0 + t) + np.random.default_rng(2).exponential(size=(300, 40))
    found = cj.slopes(chains(bent), first=5, last=30).iloc[0]
    mean = bent.mean(0)[4:30]
    expected = np.polyfit(np.log(t[4:30]), np.log(mean), 1)[0]
    np.testing.assert_allclose(found.exponent, expected, rtol=1e-5)


def test_intervals_of_slopes_are_those_of_leaving_each_chain_out():
    values = np.random.default_rng(5).exponential(size=(12, 8)).astype(np.float32)
    found, t = cj.slopes(chains(values), first=2).iloc[0], np.arange(2, 9)

    def exponent(kept):
        return np.polyfit(np.log(t), np.log(kept.astype(np.float64).mean(0)[1:]), 1)[0]

    left_out = [exponent(np.delete(values, i, axis=0)) for i in range(12)]
    error = np.sqrt(11 * np.var(left_out))
    half = scipy.stats.t(11).interval(0.95)[1] * error
    expected = exponent(values) + np.array([0.0, -half, half])
    np.testing.assert_allclose([found.exponent, found.low, found.high], expected, rtol=1e-9)


def test_intervals_of_slopes_cover_the_exponent():
    t, generator, hits = np.arange(1, 17), np.random.default_rng(3), 0
    for _ in range(200):
        walk = np.cumsum(generator.exponential(size=(30, 16)), axis=1)
        found = cj.slopes(chains(walk)).iloc[0]
        hits += found.low <= slope(4, 16)(1.0 * t) <= found.high
    assert scipy.stats.binomtest(hits, 200, 0.95).pvalue > 1e-3


def test_slopes_need_positive_finite_means():
    ds = chains([[1.0, -2.0, 1.0], [1.0, 1.0, 1.0]])
    assert np.isnan(cj.slopes(ds).exponent[0])
    assert np.isnan(cj.slopes(chains([[1.0, np.inf, 1.0]])).exponent[0])


def test_tables_hold_means_errors_units_and_theory(tmp_path):
    ds = read_run(PUBLISHED / "regression.nc")
    found = cj.table(ds, generations=[1, 3, 6])
    known = cj.theory.expected(cj.Replace(), cj.LinearRegression(dim=3, n_samples=20), 6)
    found.save(tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text(encoding="utf-8")
    lines = [line for line in csv.DictReader(io.StringIO(text)) if line["metric"] == "test_error"]
    assert [int(line["generation"]) for line in lines] == [1, 3, 6]
    for line in lines:
        values = ds.test_error.sel(generation=int(line["generation"])).values.astype(np.float64)
        error = scipy.stats.sem(values)
        np.testing.assert_allclose(float(line["mean"]), values.mean(), rtol=1e-12)
        np.testing.assert_allclose(float(line["standard_error"]), error, rtol=1e-12)
        expected = float(known.test_error.sel(generation=int(line["generation"])))
        np.testing.assert_allclose(float(line["theory"]), expected, rtol=1e-12)


def test_tables_escape_what_means_something_to_latex_and_markdown():
    ds = chains([[1.0, 2e9], [2.0, 4e9]])
    ds.test_error.attrs["long_name"] = "error_of 100 % & more | less"
    found = cj.table({"n_samples=3 {a}": ds, r"a\b": ds})
    latex = found.to_latex()
    assert r"error\_of 100 \% \& more | less [cm$^{2}$]" in latex
    assert r"n\_samples=3 \{a\}" in latex
    assert r"a\textbackslash{}b" in latex
    assert r"$3.0\times 10^{9} \pm 1\times 10^{9}$" in latex
    assert r"error_of 100 % & more \| less [cm^2]" in found.to_markdown()
    rows = [line for line in found.to_markdown().splitlines() if line.startswith("|")]
    assert len({row.replace(r"\|", "").count("|") for row in rows}) == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (cj.compare, "two runs or more"),
        (lambda ds: cj.compare([ds, ds], baseline="c"), "baseline"),
        (lambda ds: cj.compare([ds, ds], generation=4), "at most 3"),
        (lambda ds: cj.compare([ds, ds], confidence=95.0), "confidence"),
        (lambda ds: cj.compare([ds, ds], variables=["nll"]), "variables"),
        (lambda ds: cj.compare([ds, ds.rename(test_error="nll")]), "common metrics"),
        (lambda ds: cj.slopes(ds, first=3), "below last"),
        (lambda ds: cj.slopes(ds, last=4), "at most 3"),
        (lambda ds: cj.table(ds, generations=[0]), "from 1 to 3"),
        (lambda ds: cj.table(ds).save("table.xlsx"), "suffix"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(chains(np.ones((4, 3))))


def test_show_says_of_files_of_the_first_version_what_they_hold(tmp_path, capsys):
    files = [str(PUBLISHED / f"{name}.nc") for name in ("gaussian", "density", "regression")]
    assert main(["show", *files]) == 0
    shown = capsys.readouterr().out
    for words in ("Gaussian, AccumulateSubsample", "KernelDensity, Accumulate: moons", "1.12"):
        assert words in shown
    out = [f"--figure={tmp_path / 'f.svg'}", f"--table={tmp_path / 't.tex'}"]
    words = ["--compare", "--baseline", "Accumulate, n_samples=9", "--slopes", "--diagnose"]
    assert main(["show", str(PUBLISHED / "sweep.nc"), *words, *out, "--metrics", "entropy"]) == 0
    shown = capsys.readouterr().out
    for words in ("Minus Accumulate, n_samples=9", "Power of t", "vanishing tails"):
        assert words in shown
    assert "entropy" in (tmp_path / "f.svg").read_text(encoding="utf-8")
    assert (tmp_path / "t.tex").read_text(encoding="utf-8").count(r"\pm") > 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "FILE must be given"),
        (["nowhere.nc"], "there is no file nowhere.nc"),
        ([str(PUBLISHED / "density.nc"), "--compare"], "two runs or more"),
        ([str(PUBLISHED / "density.nc")] * 2, "different ones"),
        ([str(PUBLISHED / "density.nc"), "--table", "t.doc"], "suffix of table"),
        ([str(PUBLISHED / "density.nc"), "--metrics", "nl", "--slopes"], "nll"),
    ],
)
def test_show_refuses_what_it_cannot_show(words, message, capsys):
    assert main(["show", *words]) == 2
    assert message in capsys.readouterr().err


# What h5netcdf could not open complains when it is closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_file_is_read_as_it_was_or_refused(tmp_path, grid):
    """No bit of a file that the command line wrote changes a number without a word."""
    path = tmp_path / "run.nc"
    write_run(grid, path)
    content, refused = path.read_bytes(), 0
    xr.testing.assert_identical(read_run(path), grid)
    for place in np.unique(np.linspace(0, len(content) - 1, 120).astype(int)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(place) % 8
        copy = tmp_path / f"{place}.nc"  # another file each time, as HDF5 remembers open ones
        copy.write_bytes(damaged)
        found = _read_or_refused(copy)
        refused += found is None
        if found is not None:
            xr.testing.assert_equal(found, grid)
    (tmp_path / "half.nc").write_bytes(content[: len(content) // 2])
    assert _read_or_refused(tmp_path / "half.nc") is None
    assert refused > 20


def _read_or_refused(path):
    """The dataset; None where the file is refused by name."""
    try:
        return read_run(path)
    except ValueError as error:
        return None if str(path) in str(error) else error


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("runs", 2, "runs must be as many"),
        ("runs", "abcd", "runs must be as many"),
        ("runs", [None] * 4, r"runs\[0\] must have entries"),
        ("over", [1], "over must be lists"),
        ("over", {"workflow": ["Replace"]}, "runs must be as many"),
        ("workflow", None, "must have workflow"),
        ("n_generations", "6", "must have n_generations"),
        ("task", {}, "type of its task"),
    ],
)
def test_a_damaged_configuration_is_refused(entry, value, message, tmp_path, grid):
    config = json.loads(grid.attrs["config"])
    config[entry] = config[entry][:value] if isinstance(value, int) else value
    damaged = grid.assign_attrs(config=json.dumps(config))
    write_run(damaged, tmp_path / "run.nc")
    with pytest.raises(ValueError, match=message):
        read_run(tmp_path / "run.nc")
    with pytest.raises(ValueError, match=message):
        cj.rerun(damaged)


def test_files_that_say_not_how_they_were_made_are_refused(tmp_path):
    path = tmp_path / "other.nc"
    for config in ("{}", "[]", "nonsense", json.dumps({"task": {"type": 3}})):
        chains(np.ones((2, 2)), config=config).to_netcdf(path, engine="h5netcdf")
        with pytest.raises(ValueError, match="dataset of simulate or sweep"):
            read_run(path)
