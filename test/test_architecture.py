"""Holds the code to the table of docs/architecture.md: which room may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"

# The page writes some libraries by the name people know them by.
MODULE_OF = {"OpenCV": "cv2", "PyYAML": "yaml", "Jinja": "jinja2", "ONNX Runtime": "onnxruntime"}
FREE = {"erf_seg_core.errors", *sys.stdlib_module_names}
ROS_OR_OURS_ABOVE = ("rclpy", "cv_bridge", "sensor_msgs_py", "erf_seg_ros", "erf_seg_cli")
HEAVY = ("torch", "cv2", "numpy", "rclpy", "matplotlib", "onnxruntime", "rosbags")


def table():
    """{room: [what it may import]}, as the page says."""
    rows = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line[:3] == "| `"]
    return {
        room.strip(" `").removeprefix("erf_seg_core/"): [word.strip() for word in last.split(",")]
        for room, _, last in rows
    }


def room_of(file):
    """`models`, `*.py` (the single modules of the core), `erf_seg_ros` or `erf_seg_cli`."""
    top, *rest = file.relative_to(ROOT).parts
    if top != "erf_seg_core":
        return top
    return rest[0] if len(rest) > 1 else "*.py"


def sources(*tops):
    return [file for top in tops for file in sorted((ROOT / top).rglob("*.py"))]


def module_exists(name):
    path = ROOT / Path(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imported_modules(file, nodes):
    """Absolute names of what the import statements among the nodes name."""
    package = list(file.relative_to(ROOT).parent.parts)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = f"{base}.{alias.name}"
                yield inside if base.startswith("erf_seg_") and module_exists(inside) else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def all_imports(file):
    return set(imported_modules(file, ast.walk(ast.parse(file.read_text()))))


def imports_on_loading(file):
    """Imports outside of functions and TYPE_CHECKING: what merely importing the file costs."""

    def is_executed(node):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            return False
        return not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))

    def executed(node):
        for child in ast.iter_child_nodes(node):
            if is_executed(child):
                yield child
                yield from executed(child)

    return set(imported_modules(file, executed(ast.parse(file.read_text()))))


def is_or_is_in(module, names):
    return any(module == name or module.startswith(f"{name}.") for name in names)


def allowed_modules(room):
    """What a room of the core may name in an import."""
    listed = table()[room]
    ours = [f"erf_seg_core.{word}" for word in listed if module_exists(f"erf_seg_core.{word}")]
    libraries = [MODULE_OF.get(word, word) for word in listed]
    own = [f"erf_seg_core.{room}"] if room != "*.py" else single_modules()
    return {*FREE, *own, *ours, *libraries}


def single_modules():
    return [
        f"erf_seg_core.{file.stem}"
        for file in (ROOT / "erf_seg_core").glob("*.py")
        if file.stem != "__init__"
    ]


def core_rooms():
    return sorted({room_of(file) for file in sources("erf_seg_core")})


def test_page_names_every_room_and_no_other():
    assert sorted(table()) == sorted([*core_rooms(), "erf_seg_ros", "erf_seg_cli"])


def test_page_names_every_single_module_of_the_core():
    (row,) = (
        line for line in PAGE.read_text().splitlines() if line.startswith("| `erf_seg_core/*")
    )
    named = set(row.split("|")[2].replace("`", " ").replace(",", " ").split())
    assert {name.removeprefix("erf_seg_core.") for name in single_modules()} <= named


@pytest.mark.parametrize("room", core_rooms())
def test_room_of_the_core_imports_only_what_the_page_allows(room):
    allowed = allowed_modules(room)
    broken = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in sources("erf_seg_core")
        if room_of(file) == room
        for module in sorted(all_imports(file))
        if not is_or_is_in(module, allowed)
    ]
    assert not broken, f"change the code or the table; it allows {', '.join(table()[room])}"


def test_core_imports_no_ros_even_inside_functions():
    broken = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in sources("erf_seg_core")
        for module in all_imports(file)
        if is_or_is_in(module, ROS_OR_OURS_ABOVE) or module.partition(".")[0].endswith("_msgs")
    ]
    assert not broken


def test_ros_room_does_not_know_the_command_line():
    broken = [
        f"{file.relative_to(ROOT)} imports {module}"
        for file in sources("erf_seg_ros")
        for module in all_imports(file)
        if is_or_is_in(module, ["erf_seg_cli"])
    ]
    assert not broken


def test_commands_import_ros_and_heavy_libraries_only_when_run():
    broken = [
        f"{file.relative_to(ROOT)} imports {module} on loading"
        for file in sources("erf_seg_cli")
        for module in imports_on_loading(file)
        if is_or_is_in(module, ("erf_seg_ros", *HEAVY))
    ]
    assert not broken


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import erf_seg_core", ["rclpy", *HEAVY]),
        ("import erf_seg_core.inference", ["rclpy", "matplotlib", "tensorboard"]),
        (
            "from erf_seg_cli.main import build_parser, command_names\n"
            "build_parser(command_names()).format_help()",
            HEAVY,
        ),
    ],
    ids=["core", "inference", "help of the command line"],
)
def test_importing_does_not_load(statement, absent):
    program = f"{statement}\nimport sys\nprint(*(m for m in {absent!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
