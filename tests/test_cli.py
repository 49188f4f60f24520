"""The command line: what it runs, what it writes, and how it refuses bad input."""

import gzip
import os
import pathlib
import re
import shlex
import subprocess
import sys

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import collapse_jax as cj
from collapse_jax.basics import files
from collapse_jax.cli import simulation
from collapse_jax.cli.options import tables
from collapse_jax.cli.options.corpora import read_named
from collapse_jax.cli.options.tasks import TASKS, find_kind
from collapse_jax.cli.options.workflows import make_workflow
from collapse_jax.cli.program import main
from collapse_jax.records.config import run_arguments
from collapse_jax.report import demonstration
from collapse_jax.report.axes import PALETTE

GAUSSIAN = ["simulate", "gaussian", "--workflow", "replace", "--generations", "6", "--seeds", "4"]
KDE = ["simulate", "kde", *GAUSSIAN[2:]]
REGRESSION = ["simulate", "linear-regression", *GAUSSIAN[2:]]
CATEGORICAL = ["simulate", "categorical", *GAUSSIAN[2:]]
LOGISTIC = ["simulate", "logistic-regression", *GAUSSIAN[2:]]
TABULAR = ["simulate", "tabular", *GAUSSIAN[2:], "--steps", "2", "--width", "4"]
LANGUAGE = ["simulate", "lm", *GAUSSIAN[2:]]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """Runs in a folder with tables of all kinds, without the run-time checks of the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(60, 3)), columns=["height", "width", "weight"])
    frame["colour"] = generator.choice(["red", "green", "blue"], size=60)
    frame.to_csv("table.csv", index=False)
    frame.to_parquet("table.parquet")
    np.save("table.npy", frame[["height", "width", "weight"]].to_numpy())
    frame.loc[3, "width"] = np.nan
    frame.to_csv("holes.csv", index=False)
    for name in ("empty.csv", "broken.npy", "broken.parquet", "notes.txt"):
        (tmp_path / name).write_text("")


def run(arguments, capsys):
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_run_is_the_same_as_in_python(capsys):
    options = ["--dim", "2", "--n-samples", "20", "--covariance", "1", "3", "--mean", "5"]
    words = [*GAUSSIAN, *options, "--out", "run.nc", "--figure", "run.png"]
    code, out, err = run(words, capsys)
    assert (code, err) == (0, "")
    assert "Gaussian, Replace: dim=2, n_samples=20, mean=5, covariance=[1.0, 3.0]" in out
    assert out.startswith("Chains: run.nc\nFigure: run.png\n")
    loaded = xr.load_dataset("run.nc", engine="h5netcdf")
    task = cj.Gaussian(2, 20, mean=5.0, covariance=[1.0, 3.0])
    xr.testing.assert_equal(loaded, cj.simulate(cj.Replace(), task, 6, 4, progress=False))
    assert run_arguments(loaded)["seeds"] == [0, 1, 2, 3]
    assert shlex.split(loaded.attrs["command"]) == ["collapse-jax", *words]
    assert set(os.listdir()) >= {"run.nc", "run.png"}
    assert not [name for name in os.listdir() if name.startswith(".")]
    with open("run.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"


EVERY = cj.Workflow(cj.Real(every=True), cj.Synthetic(n=40, temperature=0.9))
COMPOSED = {
    "--real.every --synthetic.n 40 --synthetic.temperature 0.9": EVERY,
    "--workflow accumulate --real.keep 2": cj.Workflow(cj.Real(keep=2), cj.Synthetic(keep=None)),
    "--workflow accumulate-subsample --fit.n all": cj.Accumulate(),
    "--real.keep all --synthetic.keep all --fit.n batch": cj.AccumulateSubsample(),
    "--synthetic.of past --synthetic.of.last 3": cj.Workflow(
        synthetic=cj.Synthetic(of=cj.Past(last=3))
    ),
    "--synthetic.of.equally --synthetic.of past --synthetic.of.last=3": cj.Workflow(
        synthetic=cj.Synthetic(of=cj.Past(last=3, equally=True))
    ),
    "--synthetic.of mixed --synthetic.of.truth-share 0.2": cj.Workflow(
        synthetic=cj.Synthetic(of=cj.Mixed(0.2))
    ),
    "--real.every --fit.real_weight 0.6 --no-real.every --real.keep all": cj.Workflow(
        cj.Real(keep=None), fit=cj.Fit(real_weight=0.6)
    ),
    "--synthetic.n 10 20 30 --fit.n 5 --fit.with-replacement": cj.Workflow(
        synthetic=cj.Synthetic(n=[10, 20, 30]), fit=cj.Fit(5, with_replacement=True)
    ),
    "": cj.Replace(),
}


@pytest.mark.parametrize("options", COMPOSED)
def test_workflows_are_composed(options):
    kind = find_kind("gaussian", trust=False)
    given = simulation.parse_simulation("gaussian", kind, options.split())
    assert make_workflow(given) == COMPOSED[options]


def test_a_composed_run_is_the_same_as_in_python(capsys):
    options = "--real.every --synthetic.n 40 --synthetic.temperature 0.9 --n-samples 20"
    start = ["simulate", "gaussian", "--generations", "6", "--seeds", "4"]
    code, out, err = run([*start, *options.split(), "--out", "run.nc"], capsys)
    assert (code, err) == (0, "")
    caption = "real.every, synthetic.n=40, synthetic.temperature=0.9"
    assert caption in " ".join(out.split())
    loaded = xr.load_dataset("run.nc", engine="h5netcdf")
    assert loaded.attrs["workflow"] == caption
    alone = cj.simulate(EVERY, cj.Gaussian(n_samples=20), 6, 4, progress=False)
    xr.testing.assert_equal(loaded, alone)
    assert run_arguments(loaded)["workflow"] == EVERY


def test_language_models_have_the_settings_of_their_parts(capsys):
    words = "--preset tiny --learning-rate 1e-3 --top-k 5 --n-samples 8 --n-test 8 --chat"
    kind = find_kind("lm", trust=False)
    given = simulation.parse_simulation("lm", kind, [*words.split(), "--sample_batch", "8"])
    assert (given["generations"], given["seeds"]) == (5, 3)
    names = [setting.name for setting in kind.settings]
    task = kind.make({name: given[name] for name in names if name in given})
    assert task.optimizer.learning_rate == 1e-3
    assert (task.sampling.top_k, task.sample_batch, task.model) == (5, 8, "tiny")
    assert task.corpus.chat
    usual = cj.LanguageModel(n_samples=8, n_test=8)
    assert task.optimizer.epochs == usual.optimizer.epochs
    assert task.optimizer.schedule == usual.optimizer.schedule


def test_texts_that_perplexities_are_of():
    """They are read as the corpus is, all of them."""
    pathlib.Path("wiki.txt").write_text("\n".join(f"one {i} line" for i in range(5)))
    pathlib.Path("c.jsonl").write_text('{"q": "ask", "a": "told"}\n' * 30)
    kind = find_kind("lm", trust=False)
    words = "--corpus c.jsonl --prompt q --response a --tokenizer bytes --perplexity wiki=wiki.txt"
    given = simulation.parse_simulation("lm", kind, [*words.split(), "own=c.jsonl"])
    names = [setting.name for setting in kind.settings]
    given = {name: given[name] for name in names if name in given}
    task = kind.make(given)
    assert {name: len(rows.lengths) for name, rows in task.named_rows.items()} == {
        "perplexity_wiki": 5,
        "perplexity_own": 30,
    }
    assert "perplexity_own" in task.variables
    assert [*kind.make(given | {"perplexity": "one=wiki.txt"}).named] == ["one"]
    pathlib.Path("texts").mkdir()
    pathlib.Path("texts/WIKI.TXT").write_bytes(pathlib.Path("wiki.txt").read_bytes())
    pathlib.Path("w.txt.gz").write_bytes(gzip.compress(pathlib.Path("wiki.txt").read_bytes()))
    how = {"prompt": "q", "response": "a", "published_strip": True}
    words = ["a=texts", "b=w.txt.gz", "c=texts/WIKI.TXT", "d=c.jsonl", "e=*.txt"]
    named = read_named(how | {"perplexity": words})
    assert [text.is_chat for text in named.values()] == [False, False, False, True, False]
    assert read_named(how | {"perplexity": None}) == {}
    for wrong, message in {
        "wiki": "perplexity must be written as NAME=FILE, with a word as name, got 'wiki'",
        "1=wiki.txt": "with a word as name, got '1=wiki.txt'",
        "a=none.txt": "perplexity a=none.txt: corpus must be a readable file, and there is no file",
    }.items():
        with pytest.raises(ValueError, match=message):
            kind.make(given | {"perplexity": [wrong]})
    with pytest.raises(ValueError, match="perplexity must have each name once, got 'a' twice"):
        kind.make(given | {"perplexity": ["a=wiki.txt", "a=c.jsonl"]})


@pytest.mark.parametrize(
    ("arguments", "shown", "report"),
    [
        (
            [*REGRESSION, "--data", "table.parquet", "--target", "weight", "--no-fit-intercept"],
            "LinearRegression, Replace: data of 45 rows, dim=2, n_samples=45",
            "table.parquet: 60 rows; columns used: height, width, weight (the target); "
            "left out: colour (text such as 'red')",
        ),
        (
            [*KDE, "--data", "table.npy", "--columns", "0", "2", "--bandwidth", "scott"],
            "KernelDensity, Replace: data of 45 rows, n_samples=45, bandwidth=scott",
            "table.npy: 60 rows; columns used: 0, 2; left out: 1 (not asked for)",
        ),
        (
            [*CATEGORICAL, "--data", "table.csv", "--columns", "colour", "--metrics", "entropy"],
            "Categorical, Replace: data of 60 rows, n_outcomes=3, n_samples=60",
            "table.csv: 60 rows; columns used: colour; left out: height (not asked for), "
            "width (not asked for), weight (not asked for)",
        ),
        (
            [*TABULAR, "--data", "table.csv", "--columns", "colour", "width"],
            "Tabular, Replace: data of 45 rows, n_samples=45, steps=2, width=4",
            "table.csv: 60 rows; columns used: colour, width; left out: height (not asked for), "
            "weight (not asked for)",
        ),
        (
            [*LOGISTIC, "--data", "table.csv", "--target", "colour", "--columns", "width"],
            "LogisticRegression, Replace: data of 45 rows, dim=2, n_samples=45",
            "table.csv: 60 rows; columns used: width, colour (the target); left out: height "
            "(not asked for), weight (not asked for)",
        ),
    ],
    ids=["linear-regression", "kde", "categorical", "tabular", "logistic-regression"],
)
def test_tables_of_the_users_own(arguments, shown, report, capsys):
    code, out, err = run([*arguments, "--figure", "run.svg"], capsys)
    assert (code, err) == (0, f"{report}\n")
    assert shown in out
    assert os.path.getsize("run.svg") > 5000


def test_target_is_left_out_of_the_other_columns():
    x, y = tables.read_data("PAIR", "table.csv", target="width")
    frame = pd.read_csv("table.csv")
    np.testing.assert_array_equal(x, frame[["height", "weight"]])
    np.testing.assert_array_equal(y, frame["width"])


def test_categories_come_as_text_and_numbers_as_they_are():
    frame = pd.read_csv("table.csv")
    frame["grade"], frame["is_new"] = np.arange(60) % 3, frame["width"] > 0
    frame["name"] = [f"bean {i}" for i in range(60)]
    frame.to_csv("mixed.csv", index=False)
    mixed = tables.read_data("MIXED", "mixed.csv")
    assert list(mixed) == ["height", "width", "weight", "colour", "grade", "is_new"]
    task = cj.Tabular(mixed, categorical=["grade"])
    alone = cj.Tabular(frame.drop(columns="name"), categorical=["grade"])
    assert (task.columns, task.types["is_new"]) == (alone.columns, "2 categories")
    np.testing.assert_array_equal(task.train, alone.train)
    asked = tables.read_data("MIXED", "mixed.csv", columns=("name", "width"))
    assert list(asked) == ["name", "width"]
    x, y = tables.read_data("CLASSES", "mixed.csv", target="colour", drop=("grade",))
    np.testing.assert_array_equal(x, frame[["height", "width", "weight"]])
    assert y.tolist() == frame["colour"].tolist()
    x, y = tables.read_data("CLASSES", "mixed.csv", target="grade")
    assert (x.shape, y.dtype) == ((60, 3), np.float64)  # texts are of no use beside a target


BAD = [
    ([], "command must be given: demo, simulate, sweep, show, rerun, .*tokenizer"),
    (["simulat"], "command must be one of .*did you mean 'simulate'"),
    (["--verson"], "did you mean '--version'"),
    (["simulate"], "task must follow simulate: gaussian, gaussian-mixture, kde, linear-regression"),
    (["simulate", "--workflow", "replace", "gaussian"], "task must follow simulate"),
    (["simulate", "gausian"], "task must be one of .*did you mean 'gaussian'"),
    (["rerun"], "FILE must be given"),
    (["tokenizer", "train"], "--corpus must be given"),
    ([*GAUSSIAN, "--workflow", "repalce"], "workflow must be one of .*did you mean 'replace'"),
    ([*GAUSSIAN, "--dimm", "3"], "Unrecognized options: --dimm, 3; did you mean --dim?"),
    ([*GAUSSIAN, "--real.evry"], "Unrecognized options: --real.evry; did you mean --real.every"),
    ([*GAUSSIAN, "--real.keep", "none"], r"--real.keep must be INT\|all, got 'none'"),
    ([*GAUSSIAN, "--real.keep", "0"], "real.keep must be between 1 and .*, got 0"),
    ([*GAUSSIAN, "--synthetic.n", "10", "20"], "synthetic.n must have a value for each of the 6"),
    ([*GAUSSIAN, "--synthetic.temperature", "hot"], "--synthetic.temperature must be FLOAT, got"),
    ([*GAUSSIAN, "--synthetic.of", "pasd"], "synthetic.of must be one of .*did you mean 'past'"),
    ([*GAUSSIAN, "--synthetic.of.last", "3"], "synthetic.of.last can only be given with .* past"),
    ([*GAUSSIAN, "--synthetic.of", "mixed"], "synthetic.of.truth_share must be given with .*mixed"),
    ([*GAUSSIAN, "--fit.n", "bach"], "fit.n must be one of 'batch', .*did you mean 'batch'"),
    ([*GAUSSIAN, "--fit.real-weight", "0.5"], "fit.real_weight must be None where no real row"),
    ([*GAUSSIAN, "--dim", "2.5"], "--dim must be INT, got '2.5'"),
    ([*GAUSSIAN, "--seeds", "many"], "--seeds must be INT, got 'many'"),
    ([*KDE, "--noise", "loud"], "--noise must be FLOAT, got 'loud'"),
    ([*GAUSSIAN, "--dim"], "--dim: expected one argument"),
    ([*GAUSSIAN, "--dim", "0"], "dim must be between 1 and .*, got 0"),
    ([*GAUSSIAN, "--seeds", "0"], "seeds must be between 1 and .*, got 0"),
    ([*GAUSSIAN, "--generations", "-1"], "n_generations must be between 1 and .*, got -1"),
    ([*GAUSSIAN, "--n-samples", "1"], "n_samples must be between 2 and .*, got 1"),
    ([*GAUSSIAN, "--mean", "1", "2"], "mean must be a number or have shape"),
    ([*GAUSSIAN, "--covariance", "-1"], "covariance must be positive, got -1"),
    ([*GAUSSIAN, "--estimator", "mel"], "estimator must be one of .*did you mean 'mle'"),
    ([*GAUSSIAN, "--metrics", "trace"], "metrics must be one of .*did you mean 'trace_ratio'"),
    ([*KDE, "--dataset", "moon"], "dataset must be one of .*did you mean 'moons'"),
    ([*KDE, "--kernel", "gausian"], "kernel must be one of .*did you mean 'gaussian'"),
    ([*KDE, "--bandwidth", "scot"], "bandwidth must be one of .*did you mean 'scott'"),
    ([*KDE, "--bandwidth", "-1"], "bandwidth must be a finite positive number, got -1"),
    ([*REGRESSION, "--design", "fix"], "design must be one of .*did you mean 'fixed'"),
    ([*REGRESSION, "--target", "weight"], "target can only be chosen together with data"),
    ([*REGRESSION, "--data", "table.csv"], "target must be given together with data"),
    ([*CATEGORICAL, "--probabilities", "0.5", "0.6"], "probabilities must sum to 1"),
    (["simulate", "tabular"], "--data must be given"),
    ([*TABULAR, "--data", "holes.csv"], "data must have no missing values, got 1, .* line 5, colu"),
    ([*GAUSSIAN, "--features", "json:dumps"], "features serve distances, and metrics must name"),
    ([*GAUSSIAN, "--features", "gone:f"], "features must be of a module that can be imported"),
    ([*CATEGORICAL, "--data", "table.csv"], "columns must name the one column of labels, of 4"),
    ([*GAUSSIAN, "--columns", "a"], "columns can only be chosen together with data, got a"),
    ([*GAUSSIAN, "--data", "missing.csv"], "data .* there is no file missing.csv"),
    ([*GAUSSIAN, "--data", "notes.txt"], "suffix of data must be one of .*, got '.txt'"),
    ([*GAUSSIAN, "--data", "empty.csv"], "data must be a readable file; empty.csv is not"),
    ([*GAUSSIAN, "--data", "broken.npy"], "data must be a readable file; broken.npy is not"),
    ([*GAUSSIAN, "--data", "broken.parquet"], "data must be a readable file; broken.parquet"),
    (
        [*GAUSSIAN, "--data", "holes.csv"],
        "data must have no missing values, got 1, the first in line 5, column 'width'",
    ),
    ([*GAUSSIAN, "--data", "table.csv", "--columns", "widht"], "did you mean 'width'"),
    (
        [*GAUSSIAN, "--data", "table.csv", "--columns", "colour"],
        "columns must hold numbers; 'colour'",
    ),
    ([*REGRESSION, "--data", "table.csv", "--target", "wieght"], "did you mean 'weight'"),
    (
        [*REGRESSION, "--data", "table.csv", "--target", "width", "--columns", "width"],
        "columns must hold another one than the target 'width'",
    ),
    ([*GAUSSIAN, "--out", "run.csv"], "suffix of out must be one of '.nc', '.zarr', got '.csv'"),
    ([*GAUSSIAN, "--out", "missing/run.nc"], "out must be in a folder that exists"),
    ([*GAUSSIAN, "--figure", "run.gif"], "suffix of figure must be one of .*, got '.gif'"),
    ([*GAUSSIAN, "--figure", "notes.txt/run.png"], "figure must be in a folder that exists"),
    ([*LANGUAGE, "--mesh", "2by4"], "mesh must be two numbers such as 1x8, got '2by4'"),
    ([*LANGUAGE, "--mesh", "3x3"], "mesh must be of all 2 devices that there are, got 3x3"),
    (["demo", "--out", "run.gif"], "suffix of out must be one of .*, got '.gif'"),
    (["demo", "--sed", "3"], "Unrecognized options: --sed, 3; did you mean --seeds"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[message[:45] for _, message in BAD])
def test_bad_input_is_one_line(arguments, message, capsys):
    files_before = sorted(os.listdir())
    code, out, err = run(arguments, capsys)
    assert (code, out) == (2, "")
    assert re.fullmatch(f"collapse-jax: .*{message}.*\n", err), err
    assert sorted(os.listdir()) == files_before


def test_a_folder_is_no_file(capsys):
    os.mkdir("run.nc")
    assert run([*GAUSSIAN, "--out", "run.nc"], capsys)[0] == 2


def test_a_reader_that_stops_is_no_error():
    """As in `collapse-jax --help | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "collapse_jax.cli.program", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device"), 1, "[Errno 28] No space left on device"),
    ],
)
def test_what_else_may_end_a_run(raised, code, line, capsys, monkeypatch):
    def stop(*_):
        raise raised

    monkeypatch.setattr(simulation, "_simulate", stop)
    assert run(GAUSSIAN, capsys) == (code, "", f"collapse-jax: {line}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["demo"],
        ["simulate"],
        ["sweep"],
        ["rerun"],
        ["papers"],
        ["reproduce"],
        *(["simulate", t] for t in TASKS),
    ],
)
def test_help_explains_every_option(arguments, capsys):
    code, out, err = run([*arguments, "--help"], capsys)
    assert (code, err) == (0, "")
    assert "usage: collapse-jax" in out
    assert "None" not in out
    assert "(default: )" not in out
    if len(arguments) == 2:
        assert "--workflow" in out
        assert "--synthetic.of.truth-share" in out


def test_version_in_a_process_of_its_own():
    command = [sys.executable, "-m", "collapse_jax.cli.program"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"collapse-jax {cj.__version__}\n"
    done = subprocess.run(
        [*command, "simulate", "kda"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.thorough
def test_demo(capsys, monkeypatch):
    task = cj.Categorical(3, 20)
    monkeypatch.setattr(demonstration, "tasks", lambda: {"entropy_ratio": task})
    model = cj.LanguageModel(n_samples=8, n_test=8, sample_batch=8)
    part = demonstration.Part("excess_loss", model, n_generations=2, seeds=2)
    monkeypatch.setattr(demonstration, "language_model", lambda: part)
    flow = cj.Diffusion(n_samples=20, steps=3, batch_size=8, width=8, depth=1)
    trained = demonstration.Part("elbo", flow, n_generations=2, seeds=2)
    monkeypatch.setattr(demonstration, "generator", lambda: trained)
    code, out, err = run(["demo", "--generations", "9", "--seeds", "20", "--out", "d.pdf"], capsys)
    assert (code, err) == (0, "")
    assert "Categorical: n_outcomes=3, n_samples=20" in out
    assert os.path.getsize("d.pdf") > 5000
    assert "LanguageModel" in out
    assert "Diffusion: moons, n_samples=20" in " ".join(out.split())
    groups = demonstration.run("d.png", 9, 20, progress=False, language=False)
    assert [ds.attrs["workflow"] for ds in groups["entropy_ratio"]] == list(PALETTE)
    alone = cj.simulate(cj.Accumulate(), task, 9, 20, metrics=["entropy_ratio"], progress=False)
    xr.testing.assert_equal(groups["entropy_ratio"][1], alone)


def test_demonstrated_tasks_have_the_metrics_shown():
    for name, task in demonstration.tasks().items():
        assert name in task.variables
    assert demonstration.generator().metric in demonstration.generator().task.variables


def test_files_are_whole_or_not_there(tmp_path):
    path = tmp_path / "a.txt"
    files.write_atomically(path, lambda name: pathlib.Path(name).write_text("old"))
    before = sorted(os.listdir())

    def fail(name):
        pathlib.Path(name).write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, fail)
    assert path.read_text() == "old"
    assert sorted(os.listdir()) == before
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
