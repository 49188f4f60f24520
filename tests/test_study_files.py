"""Studies as files: what they say is checked whole, run once, and gone on with by name."""

import json
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import jaxtyping
import jsonschema
import pytest
import xarray as xr

import collapse_jax as cj
from collapse_jax.cli.options.yaml_files import read_yaml
from collapse_jax.cli.study import forecasts
from collapse_jax.cli.study.forecasts import Forecast, forecast, measure
from collapse_jax.cli.study.problems import StudyError
from collapse_jax.cli.study.reading import read_study
from collapse_jax.cli.study.schema import study_schema
from collapse_jax.run import compiled

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "fresh_rows.yaml"
TASK = {"name": "categorical", "n_outcomes": 4, "n_samples": 9}
METRICS = ["entropy"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)


def never(*_, **__):
    raise AssertionError("something was run")


def study(**changes):
    """Two runs and a sweep, all of one program."""
    return {
        "defaults": {"task": TASK, "n_generations": 5, "seeds": 3, "metrics": METRICS},
        "runs": [
            {"name": "old", "workflow": "replace"},
            {"name": "swept", "workflow": "replace", "over": {"n_samples": [9, 12]}},
        ],
        "outputs": [{"file": "tables/means.csv", "runs": ["old"], "generations": [2, 5]}],
        **changes,
    }


def run(given, **options):
    return cj.run_study(given, "out", progress=False, **options)


def test_a_study_is_its_runs_and_goes_on(monkeypatch):
    found = run(study())
    task = cj.Categorical(4, 9)
    alone = cj.simulate(cj.Replace(), task, 5, 3, metrics=METRICS, progress=False)
    xr.testing.assert_equal(found["old"], alone)
    assert found["swept"].entropy.dims == ("workflow", "n_samples", "seed", "generation")
    cell = found["swept"].entropy.isel(workflow=0, drop=True).sel(n_samples=9, drop=True)
    xr.testing.assert_equal(cell, alone.entropy)
    written = xr.load_dataset("out/old.nc", engine="h5netcdf")
    xr.testing.assert_identical(written, found["old"])
    lines = Path("out/tables/means.csv").read_text().splitlines()
    assert [line.split(",")[4] for line in lines[1:]] == ["2", "5"]
    assert float(lines[2].split(",")[5]) == pytest.approx(alone.entropy.values[:, -1].mean())

    with monkeypatch.context() as patch:  # finished runs are read
        patch.setattr(compiled, "start", never)
        xr.testing.assert_identical(run(study())["swept"], found["swept"])

    other = study()
    other["runs"][0]["task"] = {**TASK, "n_outcomes": 5}
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "start", never)
        with pytest.raises(StudyError, match=r"runs\[0\].*old has become another run.*n_outcomes"):
            run(other)
    for path in Path("out/chains/old").rglob("*.*"):  # whoever deletes the chains is told as well
        path.unlink()
    for path in sorted(Path("out/chains/old").rglob("*"), reverse=True):
        path.rmdir()
    Path("out/chains/old").rmdir()
    with pytest.raises(StudyError, match=r"task\.n_outcomes is 4 there and 5 here"):
        run(other)

    longer = study()
    longer["runs"] = longer["runs"][1:]
    longer["defaults"] |= {"n_generations": 6, "seeds": [0, 1, 2, 7]}
    longer["outputs"] = []
    again = run(longer)["swept"]
    xr.testing.assert_equal(again.isel(seed=[0, 1, 2], generation=slice(5)), found["swept"])
    assert dict(again.entropy.sizes) == {"workflow": 1, "n_samples": 2, "seed": 4, "generation": 6}


def test_an_interrupted_study_goes_on(monkeypatch):
    calls, start = [], compiled.start

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return start(*arguments)

    monkeypatch.setattr(compiled, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(study(outputs=[]))
    assert sorted(path.name for path in Path("out").iterdir()) == ["chains", "old.nc"]
    other = study(outputs=[])
    other["runs"][1]["task"] = {**TASK, "n_outcomes": 5}
    with pytest.raises(StudyError, match=r"runs\[1\].*swept has become another run.*n_outcomes"):
        run(other)
    run(study(outputs=[]))
    assert len(calls) == 4  # the first is not run again


PROBLEMS = {
    "runs[0].workflow.real.evry (line 5): .* did you mean 'real.every'": (
        "{name: a, workflow: {real: {evry: true}}}"
    ),
    "runs[0].workflow.real.keep (line 5): real.keep must be between 1 and .*, got 0": (
        "{name: a, workflow: {real: {keep: 0}}}"
    ),
    "runs[0].workflow (line 5): workflow must be one of .* did you mean 'replace'": (
        "{name: a, workflow: replac}"
    ),
    "runs[0].workflows[1].synthetic.of (line 5): synthetic.of must be": (
        "{name: a, workflows: [replace, {synthetic: {of: 3}}]}"
    ),
    "runs[0].task.n_sample (line 5): entry of task must be one of .* did you mean 'n_samples'": (
        "{name: a, workflow: replace, task: {name: kde, n_sample: 5}}"
    ),
    "runs[0].task.dim (line 6): dim must be INT, got '2'": (
        "name: a\n  task: {name: gaussian, dim: '2'}\n  workflow: replace"
    ),
    "runs[0].task.n_samples (line 7): n_samples must be between 2 and .*, got 0": (
        "name: a\n  workflow: replace\n  task: {name: gaussian, n_samples: 0}"
    ),
    "runs[0].task.name (line 5): task must be one of .* did you mean 'kde'": (
        "{name: a, workflow: replace, task: {name: kdee}}"
    ),
    "runs[0].over.dimm (line 5): over must be one of": (
        "{name: a, workflow: replace, over: {dimm: [1]}}"
    ),
    "runs[0].over (line 5): over['n_samples'] must be distinct": (
        "{name: a, workflow: replace, over: {n_samples: [3, 3]}}"
    ),
    "runs[0].metrics (line 5): metrics must be one of .* did you mean 'entropy'": (
        "{name: a, workflow: replace, metrics: [entropi]}"
    ),
    "runs[0].stop_when (line 5): stop_when must be a bound": (
        "{name: a, workflow: replace, stop_when: entropy = 3}"
    ),
    "defaults.seeds (line 3): seeds must be between 1 and": "{name: a, workflow: replace}",
    "runs[0].seedz (line 5): entry must be one of": "{name: a, workflow: replace, seedz: 4}",
    "runs[0] (line 5): workflow or workflows must be given": "{name: a}",
    "runs[0].name (line 5): name must be of letters": "{name: ../a, workflow: replace}",
    "runs[0] (line 5): must hold entries such as": "7",
}


@pytest.mark.parametrize("message", PROBLEMS)
def test_errors_have_their_place(message):
    seeds = 0 if message.startswith("defaults") else 2
    defaults = f"n_generations: 3,\n  seeds: {seeds}, task: {{name: categorical}}"
    text = f"# a study\ndefaults: {{{defaults}}}\nruns:\n- {PROBLEMS[message]}\n"
    Path("study.yaml").write_text(text)
    with pytest.raises(StudyError) as caught:
        read_study("study.yaml")
    place, _, rest = message.partition("): ")
    found = next(line for line in caught.value.problems if line.startswith(f"{place}): "))
    for part in rest.split(".*"):
        assert part.strip(" ,") in found


def test_all_errors_are_told_and_nothing_runs(command, monkeypatch):
    monkeypatch.setattr(compiled, "start", never)
    Path("study.yaml").write_text(
        textwrap.dedent(
            """\
            runs:
            - {name: a, workflow: replace, task: {name: categorical}, n_generations: 3, seeds: 2}
            - {name: A, workflow: replac, task: {name: categorical}, n_generations: 3, seeds: 2}
            outputs: [x.pdff, ../a.png, /a.png, 'c:\\a.png', chains/a.csv, .a.csv,
              {file: a.csv, metrics: [entropi]}, {file: b.csv, runs: [b]},
              {file: c.csv, generations: [4]}, d.csv, D.csv]
            more: 1
            """
        )
    )
    code, out, err = command("run study.yaml")
    assert (code, out) == (2, "")
    *problems, last = err.splitlines()
    assert last == "collapse-jax: study.yaml has 13 errors, and nothing was run"
    begun = [line.partition(" ")[0] for line in problems]
    assert begun[:3] == ["more", "runs[1].name", "runs[1].workflow"]
    assert [name.partition(".")[0] for name in begun[3:]] == [
        f"outputs[{number}]" for number in (0, 1, 2, 3, 4, 5, 6, 7, 8, 10)
    ]
    assert not Path("study").exists()


BAD_FILES = {
    "twice": "runs: []\nruns: []",
    "a tag": "runs: !!python/object/apply:os.system [ls]",
    "more than": "a: &a [x]\n"
    + "".join(
        f"{c}: &{c} [{'*' + p}, {'*' + p}]\n"
        for p, c in zip("abcdefghijklmnopqrs", "bcdefghijklmnopqrst", strict=True)
    ),
    "within": "a: &a [*a]",
    "recursion": "[" * 5000,
    "digits": "a: " + "9" * 5000,
    "runs must be given": "[1, 2]",
}


@pytest.mark.parametrize("message", BAD_FILES)
def test_files_that_no_person_would_write(message):
    Path("study.yaml").write_text(BAD_FILES[message])
    with pytest.raises(ValueError, match=message):
        read_study("study.yaml")


def test_code_of_others_is_imported_only_if_trusted(monkeypatch):
    Path("stranger.py").write_text(
        "import collapse_jax as cj\nclass Mine(cj.Categorical):\n    pass\n"
        "def likes(row):\n    return 0.0 * row\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    curated = {"synthetic": {"curation": "best-of:stranger:likes:2"}}
    changes = (
        {"workflow": "replace", "task": {"name": "stranger:Mine"}},
        {"workflow": curated},
        {"workflows": ["replace", curated]},
        {"workflow": "replace", "over": {"synthetic.curation": ["best-of:stranger:likes:2"]}},
    )
    for change in changes:
        given = study(runs=[{"name": "a", **change}], outputs=[])
        with pytest.raises(StudyError, match="would run code that it names; trust"):
            read_study(given)
        assert "stranger" not in sys.modules
    read = [read_study(study(runs=[{"name": "a", **c}], outputs=[]), trust=True) for c in changes]
    assert type(read[0].runs[0].cells[0].task).__name__ == "Mine"
    assert len(read[2].runs[0].cells) == 2
    del sys.modules["stranger"]
    # One of our modules leads to others, and no module is asked whose it is.
    for words in ("accept:collapse_jax.cli.program:sys.exit", "accept:builtins:print"):
        for change in (
            {"workflow": {"synthetic": {"curation": words}}},
            {"workflow": "replace", "over": {"synthetic.curation": [words]}},
        ):
            with pytest.raises(StudyError, match="trust must be given"):
                read_study(study(runs=[{"name": "a", **change}], outputs=[]))
    with pytest.raises(StudyError, match="task must be of a module that can be imported"):
        read_study(
            study(runs=[{"name": "a", "workflow": "replace", "task": {"name": "no:No"}}]), True
        )


def test_a_run_whose_cells_are_named_otherwise_is_another(monkeypatch):
    given = study(runs=[{"name": "a", "workflow": "replace"}], outputs=[])
    run(given)
    monkeypatch.setattr(compiled, "start", never)
    for change in (
        {"over": {"n_samples": [9, 12]}},
        {"workflows": ["accumulate"], "workflow": None},
    ):
        entry = {key: value for key, value in {**given["runs"][0], **change}.items() if value}
        for kept in (True, False):  # by its file, or by its chains
            if not kept:
                Path("out/a.nc").rename("kept.nc")
            with pytest.raises(StudyError, match="a has become another run than it was: ''"):
                run({**given, "runs": [entry]})
            if not kept:
                Path("kept.nc").rename("out/a.nc")


def test_a_rule_that_is_a_function_is_asked_again():
    def until(n):
        return study(
            runs=[
                {
                    "name": "a",
                    "workflow": "replace",
                    "stop_when": lambda ds: ds.sizes["generation"] >= n,
                }
            ],
            outputs=[],
        )

    assert [run(until(n))["a"].sizes["generation"] for n in (2, 3)] == [2, 3]


def test_outputs_are_of_what_all_runs_have():
    runs = [
        {"name": "a", "workflow": "replace", "stop_when": "entropy < 0.1"},
        {
            "name": "k",
            "workflow": "replace",
            "task": {"name": "kde", "n_samples": 9},
            "metrics": ["nll"],
        },
    ]
    wrong = {
        "metrics of k must be one of 'nll', got 'entropy'": {
            "file": "f.png",
            "metrics": ["entropy"],
        },
        "generations must be left out, or be .1., with a": {
            "file": "t.csv",
            "runs": ["a"],
            "generations": [4],
        },
        "metrics must be": {"file": "f.png", "metrics": None},
    }
    for message, output in wrong.items():
        with pytest.raises(StudyError, match=message) as found:
            read_study(study(runs=runs, outputs=[output]))
        assert str(found.value).count("outputs[0]") == 1


def test_links_lead_nowhere_else(tmp_path):
    Path("out").mkdir()
    Path("out/tables").symlink_to(tmp_path.parent)
    with pytest.raises(StudyError, match=r"must stay within the folder, and tables/means\.csv"):
        run(study())


def test_files_of_others_are_not_overwritten():
    Path("out").mkdir()
    ds = cj.simulate(cj.Replace(), cj.Categorical(4, 9), 5, 3, metrics=METRICS, progress=False)
    ds.to_netcdf("out/old.nc", engine="h5netcdf")
    with pytest.raises(StudyError, match=r"old\.nc is no file of a study"):
        run(study())


def test_objects_may_stand_in_a_mapping():
    several = cj.Ecosystem(cj.Replace(), mixing=[[0.5, 0.5], [0.5, 0.5]])
    runs = [
        {"name": "a", "workflow": several, "task": cj.Gaussian(n_samples=9), "metrics": ["nll"]}
    ]
    (found,) = read_study(study(runs=runs, outputs=[])).runs
    assert found.metrics == ["nll"]
    assert found.cells[0].workflow is several


def test_forecasts(command, monkeypatch):
    read = read_study(study())
    kept = run(study())
    for one in read.runs:
        found = forecast(one)
        assert isinstance(found, Forecast)
        assert found.file_bytes == kept[one.name].entropy.size * 4
        assert found.chains == 3
        assert 0 < found.seconds < 60
    ready = read.runs[0].ready[0]
    assert found.memory_bytes >= ready.width * (ready.pool_bytes + ready.scratch_bytes)
    compiling, each = measure(ready)
    assert compiling > each > 0

    Path("study.yaml").write_text(json.dumps(study()))
    before = sorted(Path().rglob("*"))
    code, out, _ = command("run study.yaml --dry-run --out out")
    assert code == 0
    assert out.count("finished") == 2
    code, out, _ = command("run study.yaml --dry-run --out other")
    assert code == 0
    assert "2 x 3" in out
    assert "other/tables/means.csv" in out
    assert sorted(Path().rglob("*")) == before


def test_a_forecast_adds_what_all_other_cells_keep(monkeypatch):
    """Those beside the one whose programs are the largest, which may be those with more metrics."""
    cells = [
        SimpleNamespace(
            seeds=range(10),
            n_generations=5,
            names=names,
            form=SimpleNamespace(models=0),
            width=1,
            pool_bytes=n_bytes,
            scratch_bytes=0,
        )
        for names, n_bytes in ((["a"], 9), (["a", "b"], 8), (["a"], 7))
    ]
    monkeypatch.setattr(forecasts, "needs_of", lambda cell: SimpleNamespace(peak=cell.pool_bytes))
    monkeypatch.setattr(forecasts, "_seconds", lambda run: None)
    found = forecast(SimpleNamespace(ready=cells, n_generations=5))
    assert found.memory_bytes == 9 + 4 * (2 * 50 + 50)


def test_the_published_schema_is_that_of_the_fields(command):
    schema = study_schema()
    kept = json.loads((ROOT / "docs" / "study.schema.json").read_text())
    assert kept == schema, "collapse-jax schema > docs/study.schema.json"
    jsonschema.Draft202012Validator.check_schema(schema)
    code, out, _ = command("schema")
    assert code == 0
    assert json.loads(out) == schema
    valid = jsonschema.Draft202012Validator(schema)
    assert not [*valid.iter_errors(read_yaml(EXAMPLE.read_text()))]
    assert valid.is_valid(study())


WRONG = [
    {"name": "a", "workflow": {"real": {"evry": True}}},
    {"name": "a", "workflow": {"synthetic": {"of": 3}}},
    {"name": "a", "workflow": {"synthetic": {"of": {"last": 3}}}},
    {"name": "a", "workflow": {"fit": {"n": "bach"}}},
    {"name": "a", "workflow": "replac"},
    {"name": "a", "workflows": []},
    {"name": "../a", "workflow": "replace"},
    {"workflow": "replace"},
    {"name": "a", "workflow": "replace", "seeds": "many"},
    {"name": "a", "workflow": "replace", "n_generations": True},
    {"name": "a", "workflow": "replace", "metrics": [3]},
    {"name": "a", "workflow": "replace", "storage": "disk"},
    {"name": "a", "workflow": "replace", "task": {"name": "kde", "n_sample": 3}},
    {"name": "a", "workflow": "replace", "task": {"name": "kde", "kernel": "box"}},
    {"name": "a", "workflow": "replace", "task": {"name": "kdee"}},
    {"name": "a", "workflow": "replace", "task": {"n_samples": 3}},
    {"name": "a", "workflow": "replace", "over": {"n_samples": []}},
    {"name": "a", "workflow": "replace", "over": {"n_samples": 3}},
]
RIGHT = [
    {"workflow": {"real": {"keep": "all"}, "fit": {"n": "batch"}}},
    {"workflow": {"synthetic": {"of": {"name": "past", "last": 3}, "n": [4, 5, 6, 7, 8]}}},
    {"workflow": "Accumulate", "seeds": [1, 5], "stop_when": "entropy < 0.1"},
    {"workflows": ["replace", {"workflow": "accumulate", "synthetic": {"n": 4}}]},
    {"workflow": "replace", "task": {"name": "kde", "bandwidth": "0.5*spread"}, "metrics": "nll"},
    {"workflow": "replace", "task": {"name": "gaussian", "mean": [1, 2.5], "dim": 2}},
]


def test_the_schema_and_the_reader_agree():
    valid = jsonschema.Draft202012Validator(study_schema())
    for entry in WRONG:
        given = study(runs=[entry], outputs=[])
        assert not valid.is_valid(given), entry
        with pytest.raises(StudyError):
            read_study(given)
    for entry in RIGHT:
        defaults = {"task": TASK, "n_generations": 5, "seeds": 3}
        given = study(runs=[{"name": "a", **entry}], outputs=[], defaults=defaults)
        assert not [*valid.iter_errors(given)], entry
        assert read_study(given).runs
    for output in (
        "a.pdff",
        {"runs": ["old"]},
        {"file": "a.png", "run": []},
        {"file": "a.csv", "theory": 3},
    ):
        given = study(outputs=[output])
        assert not valid.is_valid(given)
        with pytest.raises(StudyError):
            read_study(given)


@pytest.mark.thorough
def test_the_example(command):
    code, _, err = command(f"run {EXAMPLE} --out found")
    assert (code, err) == (0, "")
    made = {path.name: path.stat().st_size for path in Path("found").rglob("*") if path.is_file()}
    assert made["errors.png"] > 20_000
    assert made["report.html"] > 500_000
    assert len(Path("found/tables/errors.tex").read_text().splitlines()) > 10
    found = xr.load_dataset("found/until-few-are-left.nc", engine="h5netcdf")
    assert "n_extinct > 10 in generation" in found.attrs["stopped"]
    assert found.attrs["command"] == f"collapse-jax run {EXAMPLE} --out found"
    theory = cj.theory.expected(cj.Replace(), cj.Gaussian(2, 50), 40).trace_ratio.values[-1]
    chains = xr.load_dataset("found/replace.nc", engine="h5netcdf").trace_ratio.values[:, -1]
    assert abs(chains.mean() - theory) < 4 * chains.std() / len(chains) ** 0.5
