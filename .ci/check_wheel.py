"""Checks what is in a wheel: `python .ci/check_wheel.py dist/*.whl`."""

import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).parent.parent


def problems(wheel: Path) -> list[str]:
    """What is missing of the sources, what is there beside them, and a wrong version."""
    files = (path for path in (ROOT / "collapse_jax").rglob("*") if path.is_file())
    sources = {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = next(name for name in archive.namelist() if name.endswith("METADATA"))
        version = Parser().parsestr(archive.read(about).decode())["Version"]
    needed = {"collapse_jax/py.typed", "collapse_jax/__init__.pyi"} - names
    found = [f"{name} is missing" for name in sorted((sources - names) | needed)]
    found += [f"{name} is no source" for name in sorted(names - sources)]
    if version != project["version"]:
        found.append(f"its version is {version}, and that of pyproject.toml {project['version']}")
    return found


if __name__ == "__main__":
    wrong = [line for path in sys.argv[1:] for line in problems(Path(path))]
    print("\n".join(wrong) or "the wheel is whole")
    sys.exit(bool(wrong) or len(sys.argv) < 2)
