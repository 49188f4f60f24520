"""Every Python block of the README and of CONTRIBUTING runs."""

import re
from pathlib import Path

import pytest

import collapse_jax as cj

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    assert blocks
    names = {"cj": cj}
    for block in blocks:
        code = block.replace("cj.use_all_cores()", "")  # the tests have set their devices already
        exec(compile(code, page, "exec"), names)
    if page == "CONTRIBUTING.md":
        ds = cj.simulate(names["AccumulateHalf"](), cj.Categorical(), 3, 2, progress=False)
        assert (ds.n_train == 50).all()
