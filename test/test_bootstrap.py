"""What scripts/bootstrap.py decides; that it installs is seen by every `make test`."""

import ensurepip
import functools
import hashlib
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def bootstrap(tmp_path, monkeypatch):
    """The script as a module, working on a copy of the tree's own inputs in `tmp_path`."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bootstrap", module)  # NamedTuple looks itself up there
    spec.loader.exec_module(module)
    root = tmp_path / "tree"
    root.mkdir()
    shutil.copytree(ROOT / "requirements", root / "requirements")
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "package.xml"):
        shutil.copy(ROOT / name, root)
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(module, "VENV", root / ".venv")
    monkeypatch.setattr(module, "VENV_PYTHON", root / ".venv/bin/python")
    monkeypatch.setattr(module, "STAMP", root / ".venv/stamp.json")
    monkeypatch.setattr(module, "REQUIREMENTS", root / "requirements")
    monkeypatch.setenv("ERF_SEG_TORCH", "cpu")
    return module


@pytest.fixture
def installs(bootstrap, monkeypatch):
    """Names of the steps that ran; the real ones take a minute and a network."""
    steps = []

    def make_environment(accelerator):
        steps.append(f"environment for {accelerator.kind}")
        (bootstrap.VENV / "bin").mkdir(parents=True, exist_ok=True)
        (bootstrap.VENV_PYTHON).touch()
        (bootstrap.VENV / "bin/erf_seg").touch()

    monkeypatch.setattr(bootstrap, "install_environment", make_environment)
    monkeypatch.setattr(bootstrap, "pip", lambda *arguments: steps.append(f"pip {arguments[0]}"))
    monkeypatch.setattr(bootstrap, "run_output", lambda *command: "torch")
    return steps


def ran(bootstrap, installs):
    installs.clear()
    bootstrap.bootstrap()
    return list(installs)


def test_second_use_installs_nothing(bootstrap, installs):
    assert ran(bootstrap, installs) == ["environment for cpu", "pip install"]
    assert ran(bootstrap, installs) == []


def test_change_is_installed_and_no_more_than_that(bootstrap, installs):
    ran(bootstrap, installs)
    with (bootstrap.ROOT / "setup.py").open("a") as file:
        file.write("\n")
    assert ran(bootstrap, installs) == ["pip install"]
    with (bootstrap.REQUIREMENTS / "dev.txt").open("a") as file:
        file.write("# newer\n")
    assert ran(bootstrap, installs) == ["environment for cpu", "pip install"]
    with (bootstrap.REQUIREMENTS / "gpu.txt").open("a") as file:
        file.write("# not this machine's\n")
    assert ran(bootstrap, installs) == []


def test_another_accelerator_python_or_place_is_another_environment(
    bootstrap, installs, monkeypatch
):
    ran(bootstrap, installs)
    monkeypatch.setenv("ERF_SEG_TORCH", "gpu")
    assert ran(bootstrap, installs) == ["environment for gpu", "pip install"]
    monkeypatch.setattr(bootstrap.platform, "python_version", lambda: "3.10.99")
    assert ran(bootstrap, installs) == ["environment for gpu", "pip install"]
    bootstrap.VENV_PYTHON.unlink()
    assert ran(bootstrap, installs) == ["environment for gpu", "pip install"]


def test_interrupted_installation_is_done_again(bootstrap, installs, monkeypatch):
    def interrupted(accelerator):
        raise KeyboardInterrupt

    ran(bootstrap, installs)
    with (bootstrap.REQUIREMENTS / "dev.txt").open("a") as file:
        file.write("# newer\n")
    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "install_environment", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bootstrap.bootstrap()
    assert ran(bootstrap, installs) == ["environment for cpu", "pip install"]


def test_gpu_is_found_by_nvidia_smi(bootstrap, tmp_path, monkeypatch):
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has an NVIDIA driver")
    monkeypatch.delenv("ERF_SEG_TORCH")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bootstrap.choose_accelerator().kind == "cpu"
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'No devices were found'; exit 6\n")
    tool.chmod(0o755)
    assert bootstrap.choose_accelerator().kind == "cpu"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA L4 (UUID: GPU-0)'\n")
    assert bootstrap.choose_accelerator().kind == "gpu"


def test_unknown_wish_is_refused(bootstrap, monkeypatch):
    monkeypatch.setenv("ERF_SEG_TORCH", "cuda")
    with pytest.raises(bootstrap.BootstrapError, match="'cpu' or 'gpu'"):
        bootstrap.choose_accelerator()


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("sys.version_info", (3, 8, 10), "3.10 or later"),
        ("sys.version_info", (3, 15, 0), "3.10 to 3.14"),
        ("platform.machine", lambda: "aarch64", "On a robot"),
    ],
)
def test_unsuitable_machine_is_told_what_to_do(bootstrap, monkeypatch, attribute, value, message):
    monkeypatch.setattr(f"bootstrap.{attribute}", value)
    with pytest.raises(bootstrap.BootstrapError, match=re.escape(message)):
        bootstrap.check_machine()


def test_package_whose_copying_was_cut_off_is_forgotten(bootstrap):
    site = bootstrap.site_packages()
    for name, files in {"whole-1.dist-info": ["METADATA", "RECORD"], "cut-1.dist-info": []}.items():
        (site / name).mkdir(parents=True)
        for file in files:
            (site / name / file).touch()
    bootstrap.drop_half_installed()
    assert [path.name for path in site.iterdir()] == ["whole-1.dist-info"]


def test_environment_without_a_working_pip_is_made_anew(bootstrap):
    bootstrap.VENV.mkdir()
    (bootstrap.VENV / "leftover").touch()
    assert not bootstrap.environment_is_usable()
    bootstrap.create_environment()
    assert bootstrap.environment_is_usable()
    assert not (bootstrap.VENV / "leftover").exists()


def test_python_without_ensurepip_gets_pip_from_the_index(bootstrap, tmp_path, monkeypatch):
    bundled = list(Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
    if not bundled:
        pytest.skip("this Python bundles no pip to serve")
    (wheel,) = bundled
    index = tmp_path / "index" / "pip"
    index.mkdir(parents=True)
    shutil.copy(wheel, index)
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "index"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        entry = {"filename": wheel.name, "url": f"{address}/pip/{wheel.name}"}
        listing = {"files": [{**entry, "hashes": {"sha256": digest}}]}
        (index / "index.html").write_text(json.dumps(listing))
        monkeypatch.setenv("PIP_INDEX_URL", address)
        monkeypatch.setattr(bootstrap, "PIP_VERSION", wheel.name.split("-")[1])
        command = [sys.executable, "-m", "venv", "--without-pip", bootstrap.VENV]
        subprocess.run(command, check=True)
        bootstrap.install_pip()
        assert bootstrap.environment_is_usable()

        listing["files"][0]["hashes"]["sha256"] = "0" * 64
        (index / "index.html").write_text(json.dumps(listing))
        with pytest.raises(bootstrap.BootstrapError, match="apt install python3-venv"):
            bootstrap.install_pip()
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass
