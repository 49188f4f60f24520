"""That the daily tests notice small slips in the core: each is planted, and one of them fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from planted_faults import FAULTS, Fault

ROOT = Path(__file__).parents[1]


def _planted(fault: Fault, text: str) -> str:
    assert text.count(fault.right) == 1, f"{fault.module} must hold {fault.right!r} once"
    return text.replace(fault.right, fault.wrong)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.module}-{fault.wrong[:30]}")
def test_faults_can_be_planted(fault):
    text = (ROOT / "collapse_jax" / fault.module).read_text()
    assert _planted(fault, text) != text
    file, _, test = fault.noticed_by.partition("::")
    assert f"def {test.partition('[')[0]}" in (ROOT / "tests" / file).read_text()


@pytest.mark.thorough
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.module}-{fault.wrong[:30]}")
def test_daily_tests_notice(fault, tmp_path):
    without = shutil.ignore_patterns("__pycache__", "*.png")
    for folder in ("collapse_jax", "tests", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=without)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    module = tmp_path / "collapse_jax" / fault.module
    module.write_text(_planted(fault, module.read_text()))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", f"tests/{fault.noticed_by}"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    found = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == pytest.ExitCode.TESTS_FAILED, found.stdout[-2000:]
