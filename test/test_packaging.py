"""The package as colcon and pip see it: what is installed, what is declared, what is pinned."""

import ast
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("erf_seg_core", "erf_seg_ros", "erf_seg_cli")
DISTRIBUTION_OF = {"cv2": "opencv-python-headless", "yaml": "PyYAML", "markupsafe": "jinja2"}
# Python modules that ship with a ROS 2 installation and are not named like a message package.
ROS_MODULES = {
    "ament_index_python",
    "bondpy",
    "cv_bridge",
    "launch",
    "launch_ros",
    "rclpy",
    "sensor_msgs_py",
}


def clean_environment(**extra):
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **extra}


def run(*command, cwd, **environment):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def is_source(path):
    return path.is_file() and "__pycache__" not in path.parts


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Prefix into which a copy of the tree was installed by the steps that colcon takes."""
    tree = tmp_path_factory.mktemp("tree")
    for name in (*ROOMS, "launch", "config", "resource"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "setup.cfg", "package.xml", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    prefix = tmp_path_factory.mktemp("prefix")
    steps = ["egg_info", "build", "install", "--prefix", prefix, "--record", prefix / "record.txt"]
    options = ["--install-scripts", prefix / "lib/erf_seg_ros"]
    single = ["--single-version-externally-managed"]
    run(sys.executable, "setup.py", "-q", *steps, *options, *single, cwd=tree)
    return prefix


@pytest.fixture(scope="module")
def site(installed):
    (found,) = {path.parent.parent for path in installed.rglob("erf_seg_core/__init__.py")}
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_of_a_room_is_installed(room, site):
    wanted = {path.relative_to(ROOT) for path in (ROOT / room).rglob("*") if is_source(path)}
    found = {path.relative_to(site) for path in (site / room).rglob("*") if is_source(path)}
    assert wanted == found


@pytest.mark.parametrize("folder", ["launch", "config"])
def test_every_shared_file_is_installed(folder, installed):
    source, share = ROOT / folder, installed / "share/erf_seg_ros" / folder
    wanted = {path.relative_to(source) for path in source.rglob("*") if is_source(path)}
    found = {path.relative_to(share) for path in share.rglob("*") if path.is_file()}
    assert wanted
    assert wanted == found


def test_ament_finds_the_package_and_its_executables(installed):
    assert (installed / "share/ament_index/resource_index/packages/erf_seg_ros").is_file()
    assert (installed / "share/erf_seg_ros/package.xml").is_file()
    for name in ("erf_seg", "segmentation_node", "semantic_cloud_node"):
        assert os.access(installed / "lib/erf_seg_ros" / name, os.X_OK)


def test_installed_package_finds_its_data(installed, site, tmp_path):
    program = """
import erf_seg_core
from erf_seg_core.checkpoint import find_checkpoint, shipped_checkpoints
from erf_seg_core.class_sets import load_class_set
print(erf_seg_core.__file__)
print(load_class_set("cityscapes19").num_classes, load_class_set("camvid11").num_classes)
print(*(find_checkpoint(name) for name in shipped_checkpoints()))
"""
    output = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(site))
    package, classes, checkpoints = output.split("\n")[:3]
    assert package.startswith(str(site))
    assert classes == "19 11"
    shipped = sorted(path.name for path in ROOT.glob("erf_seg_core/checkpoints/*.safetensors"))
    assert sorted(Path(path).name for path in checkpoints.split()) == shipped
    assert all(path.startswith(str(site)) for path in checkpoints.split())


def test_installed_command_runs(installed, site, tmp_path):
    command = installed / "lib/erf_seg_ros/erf_seg"
    assert "commands:" in run(command, "--help", cwd=tmp_path, PYTHONPATH=str(site))


def test_colcon_takes_it_for_an_ament_python_package():
    pytest.importorskip("colcon_ros")
    listed = run(sys.executable, "-m", "colcon", "list", "--base-paths", ROOT, cwd="/tmp")
    assert listed.split() == ["erf_seg_ros", str(ROOT), "(ros.ament_python)"]


def test_manifest_is_valid():
    package = pytest.importorskip("catkin_pkg.package")
    warnings = []
    manifest = package.parse_package(ROOT / "package.xml", warnings=warnings)
    assert warnings == []
    assert manifest.licenses == ["Apache-2.0"]
    assert (ROOT / manifest.licenses[0].file).read_text().lstrip().startswith("Apache License")


def imported(*folders):
    """Top-level names of all modules that the files import, with the first file that does."""
    found = {}
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module]
                for name in names:
                    found.setdefault(name.partition(".")[0], file.relative_to(ROOT))
    ours = {*ROOMS, *sys.stdlib_module_names}
    return {name: file for name, file in found.items() if name not in ours}


def is_ros(module):
    return module in ROS_MODULES or module.endswith(("_msgs", "_srvs", "_interfaces"))


def test_manifest_declares_every_ros_package_that_is_imported():
    depends = {"exec_depend": set(), "test_depend": set()}
    for element in ElementTree.parse(ROOT / "package.xml").getroot():
        if element.tag in depends:
            depends[element.tag].add(element.text)
    declared = depends["exec_depend"]
    used = {m: f for m, f in imported(*ROOMS, "launch").items() if is_ros(m)}
    assert {m: str(f) for m, f in used.items() if m not in declared} == {}
    # rosdep would bring what nobody needs to the robot.
    assert {name for name in declared if is_ros(name)} - set(used) == set()
    for_tests = {name for name in depends["test_depend"] if is_ros(name)}
    assert for_tests - set(imported("test")) == set()


def declared_by_setup_py():
    tree = ast.parse((ROOT / "setup.py").read_text())
    keywords = [node for node in ast.walk(tree) if isinstance(node, ast.keyword)]
    value = {keyword.arg: keyword.value for keyword in keywords}
    required = ast.literal_eval(value["install_requires"])
    optional = ast.literal_eval(value["extras_require"])
    return {bare(r) for r in [*required, *(o for extra in optional.values() for o in extra)]}


def bare(requirement):
    """`numpy==2.2.6; python_version …` -> `numpy`."""
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower()


def pins(*names):
    """[(distribution, version, marker)] of the requirement files."""
    found = []
    for name in names:
        for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
            requirement = line.partition("#")[0].strip()
            if requirement:
                version = re.fullmatch(r"[^=;]+===?([^;=\s]+)\s*(?:;(.*))?", requirement)
                assert version, f"{name}.txt: '{requirement}' is not pinned with =="
                found.append((bare(requirement), version[1], version[2]))
    return found


def test_setup_py_declares_every_library_that_is_imported():
    modules = {m: f for m, f in imported(*ROOMS).items() if not is_ros(m)}
    declared = declared_by_setup_py()
    missing = {
        module: str(file)
        for module, file in modules.items()
        if DISTRIBUTION_OF.get(module, module).lower() not in declared
    }
    assert missing == {}


@pytest.mark.parametrize("distro", ["kilted", "jazzy"])
def test_every_requirement_is_pinned_once(distro):
    pinned = pins("cpu", "runtime", f"ros_{distro}", "dev")
    assert declared_by_setup_py() <= {name for name, _, _ in pinned}
    keys = [(name, marker) for name, _, marker in pinned]
    assert len(keys) == len(set(keys))


def test_distributions_differ_in_versions_alone():
    kilted, jazzy = ({name: v for name, v, _ in pins(f"ros_{d}")} for d in ("kilted", "jazzy"))
    assert kilted.keys() == jazzy.keys()
    assert all(kilted[name] != version for name, version in jazzy.items())


def test_gpu_differs_from_cpu_in_the_build_of_torch_alone():
    (cpu,) = (version for name, version, _ in pins("cpu") if name == "torch")
    (gpu,) = (version for name, version, _ in pins("gpu") if name == "torch")
    assert cpu == gpu


@pytest.mark.parametrize(
    ("counts", "status", "line"),
    [
        ('tests="3" failures="0" errors="0" skipped="1"', 0, "2 passed, 0 failed, 1 skipped"),
        ('tests="3" failures="1" errors="1" skipped="0"', 1, "1 passed, 2 failed, 0 skipped"),
        ('tests="0" failures="0" errors="0" skipped="0"', 1, "0 passed, 0 failed, 0 skipped"),
        ('tests="2" failures="0" errors="0" skipped="2"', 1, "0 passed, 0 failed, 2 skipped"),
    ],
)
def test_make_test_fails_where_a_test_failed_or_none_ran(tmp_path, counts, status, line):
    results = tmp_path / "pytest.xml"
    results.write_text(f"<testsuites><testsuite {counts}/></testsuites>")
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/count_tests.py", results], capture_output=True, text=True
    )
    assert done.returncode == status
    assert done.stdout == f"{line}\n"
