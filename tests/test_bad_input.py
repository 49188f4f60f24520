"""Every bad argument is refused with its name, its value and what is allowed, before compiling."""

import datetime

import jaxtyping
import numpy as np
import pandas as pd
import pytest

import collapse_jax as cj
from collapse_jax.run import compiled
from collapse_jax.tasks.parts import tables

NAN = float("nan")
ROWS = np.random.default_rng(0).standard_normal((40, 2))
TENTHS = np.column_stack([ROWS[:, 0], np.full(40, 0.1)])  # the mean of which is rounded
X, Y = ROWS, ROWS[:, 0]
MASKED = np.ma.masked_array(ROWS, mask=np.arange(80).reshape(40, 2) == 6)
DATES = np.full((40, 2), "2020-01-01", "datetime64[D]")
TOKENS = ["a", "b"] * 50


def spoiled(row, column, value, dtype=float):
    rows = ROWS.astype(dtype)
    rows[row, column] = value
    return rows


def simulate(workflow=None, task=None, n_generations=3, seeds=2, **options):
    workflow = cj.Replace() if workflow is None else workflow
    task = cj.Gaussian() if task is None else task
    return cj.simulate(workflow, task, n_generations, seeds, progress=False, **options)


TABLE = [
    # the driver
    (lambda: simulate(n_generations=0), "n_generations must be between 1 and .*, got 0"),
    (lambda: simulate(n_generations=2.5), r"n_generations must be a whole number, got 2\.5"),
    (lambda: simulate(n_generations=True), "n_generations must be a whole number, got True"),
    (
        lambda: simulate(seeds=2_000_000_000, n_generations=10**5),
        "seeds and n_generations .* take .* bytes",
    ),
    (lambda: simulate(seeds=10**6, n_generations=2**26), "seeds and n_generations .* bytes"),
    (lambda: simulate(seeds=0), "seeds must be between 1 and .*, got 0"),
    (lambda: simulate(seeds=[]), "seeds must not be empty"),
    (lambda: simulate(seeds=[3, 4, 3]), "seeds must be distinct, got 3 more than once"),
    (lambda: simulate(seeds=[0, -1]), "seeds must be between 0 and .*, got -1"),
    (lambda: simulate(seeds=[0, 2**32]), "seeds must be between 0 and .*, got 4294967296"),
    (lambda: simulate(seeds=[0.5]), r"seeds must be a whole number, got 0\.5"),
    (lambda: simulate(seeds="abc"), "seeds must be .*abc"),
    (lambda: simulate(metrics=["entropi"]), "metrics must be one of .*, got 'entropi'"),
    (lambda: simulate(metrics=["trace"]), "did you mean 'trace_ratio'"),
    (lambda: simulate(metrics="nll"), "metrics must be a sequence of names, got 'nll'"),
    (lambda: simulate(metrics=[]), "metrics must not be empty"),
    (lambda: simulate(storage="row"), "storage must be one of 'auto', 'rows', got 'row'"),
    (lambda: simulate(devices=[]), "devices must not be empty"),
    (lambda: simulate(memory_limit=0), "memory_limit must be between"),
    (lambda: simulate(checkpoint_seconds=-1), "checkpoint_seconds must be a finite number of zero"),
    (lambda: simulate(workflow="replace"), "workflow must be one of .*did you mean 'Replace'"),
    (lambda: simulate(workflow="Replace"), r"workflow must be an object.*write Replace\(\)"),
    (lambda: simulate(workflow="acumulate"), "workflow must be one of .*did you mean 'Accumulate'"),
    (lambda: simulate(workflow=cj.Replace), r"workflow must be an instance.*write Replace\(\)"),
    (lambda: simulate(workflow=cj.Workflow), r"got Workflow itself; write Replace\(\)"),
    (lambda: simulate(task="Gausian"), "task must be one of .*did you mean 'Gaussian'"),
    (lambda: simulate(task=cj.Gaussian), r"task must be an instance.*write Gaussian\(\)"),
    (lambda: simulate(workflow=cj.Gaussian()), "workflow must be one of Replace, Accumulate"),
    (lambda: simulate(task=None or cj.Replace()), "task must be one of Categorical, Exponential"),
    (
        lambda: simulate(cj.AccumulateSubsample(), cj.Gaussian(2, 1000), memory_limit=10_000),
        "memory_limit .* need [0-9,]+ bytes; reduce n_samples or n_generations",
    ),
    (
        lambda: simulate(
            cj.Accumulate(), cj.KernelDensity(n_samples=10**6), 1000, memory_limit=10**9
        ),
        "memory_limit .* need [0-9,]+ bytes; reduce n_samples or n_generations",
    ),
    (
        lambda: simulate(cj.AccumulateSubsample(), cj.Gaussian(1, 2**20), n_generations=2**12),
        r"n_samples \* n_generations must be below 2\*\*30 .* got 4,296,015,872",
    ),
    # sizes and numbers
    (lambda: cj.Gaussian(dim=0), "dim must be between 1 and .*, got 0"),
    (lambda: cj.Gaussian(dim=1.5), r"dim must be a whole number, got 1\.5"),
    (lambda: cj.Gaussian(n_samples=1), "n_samples must be between 2 and .*, got 1"),
    (lambda: cj.Gaussian(n_samples=-3), "n_samples must be between 2 and .*, got -3"),
    (lambda: cj.Gaussian(covariance=0.0), "covariance must be positive, got 0.0"),
    (lambda: cj.Gaussian(covariance=-1), "covariance must be positive, got -1.0"),
    (lambda: cj.Gaussian(covariance=NAN), "covariance must be finite, got nan"),
    (lambda: cj.Gaussian(dim=2, covariance=[1.0, 0.0]), "covariance must be positive, got 0.0"),
    (lambda: cj.Gaussian(dim=2, covariance=[1.0]), r"covariance must have shape \(2,\)"),
    (lambda: cj.Gaussian(dim=2, covariance=np.eye(3)), r"covariance must have shape \(2, 2\)"),
    (lambda: cj.Gaussian(dim=2, covariance=[[1, 0.5], [0, 1]]), "covariance must be symmetric"),
    (lambda: cj.Gaussian(dim=2, covariance=[[1, 2], [2, 1]]), "covariance must be positive semi"),
    (lambda: cj.Gaussian(dim=2, covariance=np.zeros((2, 2))), "covariance must be positive semi"),
    (lambda: cj.Gaussian(covariance="wide"), "covariance must be an array of numbers, got 'wide'"),
    (lambda: cj.Gaussian(mean=float("inf")), "mean must be finite, got inf"),
    (
        lambda: cj.Gaussian(dim=2, mean=[0.0, 0.0, 0.0]),
        r"mean must be a number or have shape \(2,\)",
    ),
    (lambda: cj.ExponentialFamily("poison"), "family must be one of .*did you mean 'poisson'"),
    (lambda: cj.Gaussian(estimator="mel"), "estimator must be one of .*did you mean 'mle'"),
    (lambda: cj.KernelDensity("moon"), "dataset must be one of .*did you mean 'moons'"),
    (lambda: cj.KernelDensity(kernel="gausian"), "kernel must be one of .*did you mean 'gaussian'"),
    (lambda: cj.KernelDensity(bandwidth=0), "bandwidth must be a finite positive number, got 0"),
    (
        lambda: cj.KernelDensity(bandwidth=NAN),
        "bandwidth must be a finite positive number, got nan",
    ),
    (lambda: cj.KernelDensity(bandwidth="scot"), "bandwidth must be .*did you mean 'scott'"),
    (lambda: cj.KernelDensity(bandwidth=None), "bandwidth must be a finite positive number"),
    (lambda: cj.KernelDensity(noise=-0.1), "noise must be a finite number of zero or more"),
    (lambda: cj.KernelDensity(n_test=0), "n_test must be between 2"),
    (lambda: cj.KernelDensity(n_samples=0), "n_samples must be between 1"),
    (lambda: cj.LinearRegression(noise=0.0), "noise must be a finite positive number, got 0"),
    (lambda: cj.LogisticRegression(design="fix"), "design must be one of .*did you mean 'fixed'"),
    (lambda: cj.GaussianMixture("rings"), "dataset must be one of .*did you mean 'ring'"),
    (lambda: cj.GaussianMixture(covariance="ful"), "covariance must be one of .*mean 'full'"),
    (lambda: cj.LinearRegression(design="fix"), "design must be one of .*did you mean 'fixed'"),
    (lambda: cj.LinearRegression(n_test=2.0), "n_test must be a whole number"),
    (lambda: cj.Categorical(1), "n_outcomes must be between 2"),
    (lambda: cj.Categorical(n_samples=0), "n_samples must be between 1"),
    (lambda: cj.Categorical(probabilities=[0.5, 0.6]), "probabilities must sum to 1, got .*1.1"),
    (
        lambda: cj.Categorical(probabilities=[1.5, -0.5]),
        "must not be negative, got -0.5 at outcome 1",
    ),
    (lambda: cj.Categorical(probabilities=[1.0]), "probabilities must have two or more entries"),
    (lambda: cj.Categorical(probabilities=[[1.0]]), "probabilities must have 1 dimensions"),
    (lambda: cj.Categorical(3, probabilities=[0.5, 0.5]), "n_outcomes must be 2"),
    # data
    (
        lambda: cj.Gaussian(data=spoiled(7, 1, NAN)),
        "data must be finite, got nan at row 7, column 1",
    ),
    (
        lambda: cj.Gaussian(data=spoiled(3, 0, np.inf)),
        "data must be finite, got inf at row 3, column 0",
    ),
    (lambda: cj.Gaussian(data=ROWS[:, 0]), r"data must have 2 dimensions, got shape \(40,\)"),
    (lambda: cj.Gaussian(data=[["a", "b"]]), "data must be an array of numbers"),
    (lambda: cj.Gaussian(data=ROWS[:3]), "data must leave at least 2 training and 2 test rows"),
    (
        lambda: cj.Gaussian(data=ROWS, n_samples=31),
        "n_samples must not exceed the 30 training rows",
    ),
    (lambda: cj.Gaussian(data=ROWS, dim=3), "dim must be the 2 columns of data, got 3"),
    (lambda: cj.Gaussian(data=ROWS, mean=1.0), "mean and covariance cannot be given together"),
    (lambda: cj.Gaussian(data=ROWS * [1.0, 0.0]), "data must vary in every column; column 1"),
    (lambda: cj.Gaussian(data=TENTHS), "data must vary in every column; column 1"),
    (lambda: cj.GaussianMixture(data=TENTHS, n_components=2), "in every column; column 1"),
    (lambda: cj.Flow(data=TENTHS), "data must vary in every column, .* column 1 is constant"),
    (
        lambda: cj.GaussianMixture(data=ROWS * 1e-152, n_components=2),
        "data must have standard deviations between 1e-150 and 1e150, got .*e-153",
    ),
    (lambda: cj.Gaussian(data=ROWS[:, [0, 0]]), "data must have a covariance of full rank"),
    (lambda: cj.Gaussian(data=ROWS, test_fraction=1.0), "test_fraction must be below 1, got 1"),
    (lambda: cj.Gaussian(data=ROWS, test_fraction=-1), "test_fraction must be a finite positive"),
    (lambda: cj.Gaussian(data=ROWS, split_seed=-1), "split_seed must be between 0"),
    (lambda: cj.KernelDensity(data=spoiled(0, 0, NAN)), "data must be finite, got nan at row 0"),
    (lambda: cj.KernelDensity(data=ROWS, n_samples=99), "n_samples must not exceed the 30"),
    (lambda: cj.LinearRegression(data=X), r"data must be a pair \(X, y\)"),
    (lambda: cj.LinearRegression(data=(X, Y[:-1])), "as many labels as rows, got 40 and 39"),
    (lambda: cj.LinearRegression(data=(X, X)), r"data\[1\] must have 1 dimensions"),
    (lambda: cj.LinearRegression(data=(spoiled(5, 1, NAN), Y)), r"data\[0\] must be finite.*row 5"),
    (lambda: cj.LinearRegression(data=(X, Y), design="fresh"), "design must be 'fixed'"),
    (lambda: cj.LinearRegression(data=(X, Y), dim=9), "dim must be the 3 columns"),
    (lambda: cj.LinearRegression(data=(X, 0 * Y)), "noise must be given"),
    (lambda: cj.Categorical(data=[[1, 2], [3, 4]]), r"data must be labels \[rows\]"),
    (lambda: cj.Categorical(data=[1, "a", "1"]), "labels of one type .* got 1 and '1'"),
    (lambda: cj.Categorical(data=["a", "a"]), "two or more different labels"),
    *(
        (
            lambda gone=gone: cj.Categorical(data=["a", "b", gone]),
            "got 1, the first at row 2; leave",
        )
        for gone in (None, NAN, pd.NA, pd.NaT)
    ),
    (lambda: cj.Categorical(data=[1.0, NAN]), "no missing labels, got 1, the first at row 1"),
    (lambda: cj.Categorical(data=pd.Series(["a", None, "b"])), "no missing labels, got 1"),
    (lambda: cj.Categorical(data=[1.0, np.inf]), "data must be finite, got inf at row 1"),
    (lambda: cj.Categorical(data=MASKED[:, 0]), "no masked entries, got 1, the first at row 3"),
    (lambda: cj.Categorical(data=X[:, 0] * 1j), "data must not be complex numbers, got .*complex"),
    (lambda: cj.Categorical(data=DATES[:, 0]), "data must not be dates or times, got .*datetime64"),
    (lambda: cj.Gaussian(data=MASKED), "no masked entries, got 1, the first at row 3, column 0"),
    (lambda: cj.Gaussian(data=X * 1j), "data must not be complex numbers, got an array of complex"),
    (lambda: cj.Gaussian(data=DATES), "data must not be dates or times, got .*datetime64"),
    (lambda: cj.Gaussian(data=DATES - DATES), "data must not be dates or times, got .*timedelta64"),
    (lambda: cj.Gaussian(data=X.astype(str)), "data must be an array of numbers, got"),
    (
        lambda: cj.Gaussian(data=pd.DataFrame({"a": [1.0, None]})),
        "finite, got nan at row 1, column",
    ),
    (lambda: cj.Gaussian(data=[[1.0], [pd.NA]]), "data must be finite, got nan at row 1, column 0"),
    (lambda: cj.KernelDensity(data=MASKED), "no masked entries, got 1, the first at row 3, column"),
    (lambda: cj.LinearRegression(data=(X, MASKED[:, 0])), r"data\[1\] must have no masked entries"),
    # what is lost within Python's objects
    (
        lambda: cj.Gaussian(data=list(MASKED)),
        "no masked entries, got 1, the first at row 3, column 0",
    ),
    *(
        (
            lambda cell=cell: cj.Gaussian(data=spoiled(3, 1, cell, object)),
            f"data must {message}, got .* at row 3, column 1",
        )
        for cell, message in (
            (np.datetime64("2020-01-01"), "not be dates or times"),
            (np.timedelta64(3, "s"), "not be dates or times"),
            (pd.Timestamp("2020"), "not be dates or times"),
            (np.complex64(1j), "not be complex numbers"),
            ("1.5", "be an array of numbers"),
            ("5%", "be an array of numbers"),
        )
    ),
    (lambda: cj.Categorical(data=[datetime.date(2020, 1, 1)] * 3), "not be dates .* at row 0"),
    (lambda: cj.Categorical(data=np.array([1j, 2j], object)), "not be complex .* got 1j at row 0"),
    (lambda: cj.NGram(data=[*TOKENS, NAN]), "no missing tokens, got one at place 100"),
    (lambda: cj.NGram(data=[*TOKENS, None]), "no missing tokens, got one at place 100"),
    (lambda: cj.NGram(data=[1.0, 2.0, np.inf] * 40), "data must be finite, got inf at row 2"),
    (lambda: cj.NGram(data=[*TOKENS, 1, "1"]), "tokens of one type .* got 1 and '1'"),
    (lambda: cj.Gaussian(mean=1j), "mean must not be complex numbers, got an array of complex128"),
    (lambda: cj.Categorical(data=["a", "b"], n_samples=3), "n_samples must not exceed the 2"),
    (lambda: cj.Categorical(data=["a", "b"], probabilities=[0.5, 0.5]), "cannot be given together"),
    (lambda: cj.collapse_time(simulate()), "variable must be one of .*, got 'entropy'"),
]


@pytest.fixture(autouse=True)
def _without_run_time_types(monkeypatch):
    """As for a user: the package's own checks must do, not those of the tests' type checker."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize(("call", "message"), TABLE, ids=[message[:50] for _, message in TABLE])
def test_refused(call, message, monkeypatch):
    def never(*_):
        raise AssertionError("something was compiled before the argument was refused")

    if "entropy" not in message:
        monkeypatch.setattr(compiled, "start", never)
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_unreadable_tables(tmp_path):
    (tmp_path / "broken.npy").write_bytes(b"not an array")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "words.csv").write_text("a,b\nx,y\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "table.csv").write_text("width,height\n1,2\n3,4\n")
    for name in ("broken.npy", "broken.parquet", "missing.csv", "empty.csv"):
        with pytest.raises(ValueError, match=f"data must be a readable file.*{name}"):
            tables.read_table(tmp_path / name)
    with pytest.raises(ValueError, match=r"suffix of data must be one of .*'\.xlsx'"):
        tables.read_table(tmp_path / "table.xlsx")
    with pytest.raises(ValueError, match="did you mean 'width'"):
        tables.read_table(tmp_path / "table.csv", columns=["widht"])
    with pytest.raises(ValueError, match="one numeric column"):
        tables.read_table(tmp_path / "words.csv")


def test_tables_read_alike_from_every_format(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.5], "c": ["x", "y"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    np.save(tmp_path / "t.npy", frame[["a", "b"]].to_numpy())
    for name in ("t.csv", "t.parquet", "t.npy"):
        np.testing.assert_array_equal(tables.read_table(tmp_path / name).rows, [[1, 3], [2, 4.5]])
    assert tables.read_table(tmp_path / "t.csv", ["b", "a"]).rows[0].tolist() == [3, 1]
    labels = tables.read_table(tmp_path / "t.csv", ["c"], labels=True)
    assert labels.rows.tolist() == [["x"], ["y"]]
    assert tables.read_table(tmp_path / "t.npy", ["1"]).rows[:, 0].tolist() == [3, 4.5]
