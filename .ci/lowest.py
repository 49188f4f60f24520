"""Prints the lowest versions of what pyproject.toml asks for, as pip reads them from a file."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
for needed in project["dependencies"]:
    print(needed.replace(">=", "==").partition(",")[0])
