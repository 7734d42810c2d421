#!/usr/bin/env python3
"""Make `.venv`: everything `make demo` and `make test` need, on a machine with only Python.

Uses the standard library alone. Run again, it returns at once as long as nothing it installed
from has changed; an interrupted run is completed by the next one. `ERF_SEG_TORCH=cpu` (or `gpu`)
overrides the choice of torch; `ERF_SEG_ROS_DISTRO=jazzy` takes that distribution's wheels, into
`.venv-jazzy`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_DISTRO = "kilted"
# Not ROS_DISTRO: a sourced ROS 2 sets that, and its own packages are not ours.
ROS_DISTRO = os.environ.get("ERF_SEG_ROS_DISTRO") or DEFAULT_DISTRO
VENV = ROOT / (".venv" if ROS_DISTRO == DEFAULT_DISTRO else f".venv-{ROS_DISTRO}")
VENV_PYTHON = VENV / "bin" / "python"
STAMP = VENV / "erf_seg_bootstrap.json"
REQUIREMENTS = ROOT / "requirements"

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)  # the range the ROS 2 wheels are made for

# PyPI's torch carries CUDA; this index has the build without it, a tenth of the size.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PROBE_SECONDS = 5
# Only where the system's Python comes without ensurepip (Debian, Ubuntu: package python3-venv).
PIP_VERSION = "25.3"

NEVER_IMPORTED = r"[/\\](tests?|pip)[/\\]"  # the packages' own tests: a fifth of all code
NO_COMPILE = "--no-compile"  # pip compiles one file after the other; we do it on all cores

# A sourced ROS 2 or another .venv would leak its packages and libraries into ours.
FOREIGN_VARIABLES = (
    "PYTHONPATH",
    "PYTHONHOME",
    "AMENT_PREFIX_PATH",
    "LD_LIBRARY_PATH",
    "_ROS_WHEELS_BOOTSTRAP_COMPLETE",
)

TORCH_REPORT = """
import erf_seg_core, torch
build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
print(f"torch {torch.__version__} ({build})", end="")
if torch.version.cuda:
    usable = torch.cuda.is_available()
    print(f", GPU: {torch.cuda.get_device_name(0) if usable else 'not usable'}", end="")
"""


class BootstrapError(Exception):
    """What went wrong and what to do about it, in a sentence."""


class Accelerator(NamedTuple):
    """Which build of torch and ONNX Runtime fits this machine, and why."""

    kind: str  # "cpu" or "gpu", also the name of the requirements file
    reason: str


def main() -> int:
    try:
        check_machine()
        with Path(__file__).open() as own_file:
            # Two makes at once (demo and test) take turns; the kernel frees the lock if we die.
            fcntl.flock(own_file, fcntl.LOCK_EX)
            bootstrap()
    except BootstrapError as error:
        print(f"bootstrap: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nbootstrap: interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    return 0


def check_machine() -> None:
    if ROS_DISTRO not in known_distros():
        raise BootstrapError(
            f"there are no wheels of ROS 2 {ROS_DISTRO}: ROS_DISTRO may be "
            f"{' or '.join(known_distros())}"
        )
    version = sys.version_info[:2]
    if version < OLDEST_PYTHON:
        raise BootstrapError(
            f"Python {platform.python_version()} ({sys.executable}) is too old: Python 3.10 or "
            "later is needed; name one with `make PYTHON=/path/to/python3 …`"
        )
    if version > NEWEST_PYTHON:
        raise BootstrapError(
            f"there are no ROS 2 wheels for Python {platform.python_version()} yet: name a Python "
            "3.10 to 3.14 with `make PYTHON=/path/to/python3 …`"
        )
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise BootstrapError(
            f"the ROS 2 wheels are for Linux on x86-64, this is {sys.platform} on "
            f"{platform.machine()}: install ROS 2 and follow README.md, 'On a robot'"
        )


def known_distros() -> list[str]:
    return sorted(file.stem.removeprefix("ros_") for file in REQUIREMENTS.glob("ros_*.txt"))


def bootstrap() -> None:
    accelerator = choose_accelerator()
    wanted = {
        "environment": fingerprint(
            environment_inputs(accelerator), platform.python_version(), ROOT
        ),
        "project": fingerprint(project_inputs()),
    }
    done = read_stamp()
    if done == wanted and VENV_PYTHON.exists():
        return
    started = time.monotonic()
    if done.get("environment") != wanted["environment"] or not VENV_PYTHON.exists():
        STAMP.unlink(missing_ok=True)
        install_environment(accelerator)
    say("4/4 erf_seg itself")
    pip("install", "--no-deps", "--no-build-isolation", "--quiet", "--editable", str(ROOT))
    if not (VENV / "bin" / "erf_seg").exists():
        raise BootstrapError(
            f"pip did not make {VENV.name}/bin/erf_seg: remove {VENV.name} and run this again"
        )
    say(run_output(VENV_PYTHON, "-c", TORCH_REPORT))
    STAMP.write_text(json.dumps(wanted))
    seconds = time.monotonic() - started
    say(f"{VENV.name} is ready after {seconds:.0f} s; the next use starts at once")


def install_environment(accelerator: Accelerator) -> None:
    say(f"1/4 Python {platform.python_version()} environment in {VENV}")
    create_environment()
    say(f"2/4 torch and ONNX Runtime for the {accelerator.kind.upper()}: {accelerator.reason}")
    remove_other_builds(accelerator)
    extra_index = cpu_index_options() if accelerator.kind == "cpu" else []
    file = REQUIREMENTS / f"{accelerator.kind}.txt"
    pip("install", NO_COMPILE, *extra_index, "--requirement", str(file))
    say(f"3/4 the other packages, ROS 2 {ROS_DISTRO.title()} among them")
    everything = [o for file in environment_inputs(accelerator) for o in ("--requirement", file)]
    pip("install", NO_COMPILE, *everything)
    # Files that are for other Pythons fail; what is missing, Python compiles when it imports it.
    options = ("-qq", "-j", "0", "-x", NEVER_IMPORTED)
    succeeds(VENV_PYTHON, "-m", "compileall", *options, str(site_packages()))


def choose_accelerator() -> Accelerator:
    forced = os.environ.get("ERF_SEG_TORCH", "")
    if forced:
        if forced not in ("cpu", "gpu"):
            raise BootstrapError(f"ERF_SEG_TORCH is '{forced}': it may be 'cpu' or 'gpu'")
        return Accelerator(forced, "ERF_SEG_TORCH says so")
    if Path("/proc/driver/nvidia/version").exists():
        return Accelerator("gpu", "an NVIDIA driver is loaded")
    # WSL 2 has no such file, but it has nvidia-smi; so has many a machine whose GPU is gone.
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        if "GPU 0" in listed.stdout:
            return Accelerator("gpu", "nvidia-smi lists an NVIDIA GPU")
    return Accelerator("cpu", "no NVIDIA GPU found")


def environment_inputs(accelerator: Accelerator) -> list[Path]:
    names = (accelerator.kind, "runtime", f"ros_{ROS_DISTRO}", "dev")
    return [REQUIREMENTS / f"{name}.txt" for name in names]


def project_inputs() -> list[Path]:
    """Return what pip reads at install time; all else is used where it lies."""
    return [ROOT / name for name in ("setup.py", "setup.cfg", "pyproject.toml", "package.xml")]


def fingerprint(files: list[Path], *facts: object) -> str:
    digest = hashlib.sha256(repr([str(fact) for fact in facts]).encode())
    for file in files:
        digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def read_stamp() -> dict[str, str]:
    try:
        return json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}


def create_environment() -> None:
    """Keep a `.venv` of this Python whose pip runs: its packages are a half-finished run's."""
    if environment_is_usable():
        drop_half_installed()
        return
    python = getattr(sys, "_base_executable", sys.executable)  # not a venv's: it may be this one
    run(python, "-m", "venv", "--clear", "--without-pip", VENV)
    if not succeeds(VENV_PYTHON, "-m", "ensurepip", "--default-pip"):
        install_pip()


def environment_is_usable() -> bool:
    try:
        versions = run_output(
            VENV_PYTHON, "-c", "import sys, pip; print(sys.version.split()[0], sys.prefix)"
        )
    except (BootstrapError, OSError):
        return False
    # A folder that was moved or copied carries the old place in all of its scripts.
    launcher = (VENV / "bin" / "pip").read_text() if (VENV / "bin" / "pip").exists() else ""
    return versions == f"{platform.python_version()} {VENV}" and str(VENV) in launcher


def drop_half_installed() -> None:
    """Forget packages whose copying was cut off: pip writes RECORD last, and would skip them."""
    for info in site_packages().glob("*.dist-info"):
        if not (info / "RECORD").exists():
            shutil.rmtree(info)


def install_pip() -> None:
    """Install pip from its own wheel, which can run itself."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    wheel_name = f"pip-{PIP_VERSION}-py3-none-any.whl"
    say(f"    this Python has no ensurepip; fetching pip {PIP_VERSION}")
    try:
        wanted = "application/vnd.pypi.simple.v1+json"
        request = urllib.request.Request(f"{index}/pip/", headers={"Accept": wanted})
        with urllib.request.urlopen(request, timeout=60) as answer:
            files = json.load(answer)["files"]
        entry = next(file for file in files if file["filename"] == wheel_name)
        with urllib.request.urlopen(entry["url"], timeout=60) as answer:
            content = answer.read()
        if hashlib.sha256(content).hexdigest() != entry["hashes"]["sha256"]:
            raise ValueError("the file that came is damaged")
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise BootstrapError(
            f"pip could not be had ({error!r}): install it for this Python, on Debian or Ubuntu "
            "with `sudo apt install python3-venv`, and run this again"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder, wheel_name)
        wheel.write_bytes(content)
        run(VENV_PYTHON, wheel / "pip", "install", "--quiet", "--no-index", wheel)


def remove_other_builds(accelerator: Accelerator) -> None:
    """Uninstall what shares its module's name with the build we are about to install."""
    torch = installed_version("torch")
    other = {"cpu": "onnxruntime-gpu", "gpu": "onnxruntime"}[accelerator.kind]
    unwanted = [other] if installed_version(other) else []
    if accelerator.kind == "gpu" and torch and torch.endswith("+cpu"):
        unwanted.append("torch")
    if unwanted:
        pip("uninstall", "--yes", *unwanted)


def cpu_index_options() -> list[str]:
    """Return pip's option for the CPU index, or none where the index cannot be reached."""
    # In a process of its own: no time-out of urllib's covers a name server that is silent.
    probe = f"import urllib.request as u; u.urlopen('{TORCH_CPU_INDEX}/torch/').read(1)"
    try:
        if succeeds(sys.executable, "-c", probe, timeout=PROBE_SECONDS):
            say(f"    from PyTorch's CPU index, {TORCH_CPU_INDEX}")
            return ["--extra-index-url", TORCH_CPU_INDEX]
    except subprocess.TimeoutExpired:
        pass
    say(
        f"    {TORCH_CPU_INDEX} does not answer: torch comes from the index pip is set up with; "
        "where that is PyPI, it is the CUDA build, some 2 GB more to download"
    )
    return []


def site_packages() -> Path:
    version = "{}.{}".format(*sys.version_info)
    return VENV / "lib" / f"python{version}" / "site-packages"


def installed_version(name: str) -> str | None:
    found = metadata.distributions(name=name, path=[str(site_packages())])
    return next((distribution.version for distribution in found), None)


def pip(*arguments: object) -> None:
    run(VENV_PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments)


def run(*command: object) -> None:
    """Run a command whose output the user sees."""
    status = subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        check=False,
    ).returncode
    if status:
        raise BootstrapError(
            f"`{' '.join(str(part) for part in command)}` failed with status {status}; its reason "
            "is above. Once that is mended, the same make command goes on from here"
        )


def run_output(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd="/",
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BootstrapError(f"`{command[0]}` does not work: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


def succeeds(*command: object, timeout: float | None = None) -> bool:
    """Run a command whose failure is an answer."""
    return (
        subprocess.run(
            [str(part) for part in command],
            cwd="/",
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        ).returncode
        == 0
    )


def clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    return {**kept, "PIP_USER": "0"}  # a user-wide `user = true` would install past the .venv


def say(text: str) -> None:
    print(f"bootstrap: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
