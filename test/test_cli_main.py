"""The `erf_seg` entry point: discovery, help, and what becomes of every kind of failure."""

import argparse
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

import pytest

from erf_seg_cli import commands, main

ROOT = Path(__file__).resolve().parent.parent

ECHO = """
HELP = "say something"
def add_arguments(parser):
    parser.add_argument("word", choices=["hello", "goodbye"])
    parser.add_argument("--times", type=int, default=3, help="how often")
    parser.add_argument("--loud", action="store_true", help="in capitals")
def run(args):
    print(args.word * args.times)
    return 7 if args.loud else 0
"""
FAILING = """
HELP = "fail"
def add_arguments(parser):
    pass
def run(args):
    {body}
"""


@pytest.fixture
def add_command(tmp_path, monkeypatch):
    """Puts a command file where `erf_seg` looks for commands, in-process and in children."""
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])

    def add(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, f"erf_seg_cli.commands.{name}", raising=False)

    return add


def failing(body):
    return FAILING.format(body=body)


def test_every_command_file_is_a_command_with_help(capsys):
    files = {f.stem.replace("_", "-") for f in Path(commands.__path__[0]).glob("[!_]*.py")}
    assert set(main.command_names()) == files
    with pytest.raises(SystemExit) as leaving:
        main.main(["--help"])
    assert leaving.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in files:
        assert name in text
        assert " ".join(main.load_command(name).HELP.split()) in text


@pytest.mark.parametrize("name", main.command_names())
def test_every_command_explains_itself_and_every_argument(name, capsys):
    with pytest.raises(SystemExit) as leaving:
        main.main([name, "--help"])
    assert leaving.value.code == 0
    assert f"usage: erf_seg {name}" in capsys.readouterr().out
    for parser in leaf_parsers(main.build_parser([name])):
        for action in parser._actions:
            assert action.help, f"{parser.prog}: {action.dest} has no help"


def leaf_parsers(parser):
    nested = [a for a in parser._actions if a.nargs == argparse.PARSER]
    if not nested:
        return [parser]
    return [leaf for a in nested for child in a.choices.values() for leaf in leaf_parsers(child)]


def test_runs_the_command_and_returns_its_status(add_command, capsys):
    add_command("say_twice", ECHO)
    assert main.main(["say-twice", "hello", "--times", "2"]) == 0
    assert capsys.readouterr().out == "hellohello\n"
    assert main.main(["say-twice", "hello", "--loud"]) == 7


def test_help_shows_defaults_where_there_are_any(add_command, capsys):
    add_command("say_twice", ECHO)
    with pytest.raises(SystemExit):
        main.main(["say-twice", "--help"])
    text = capsys.readouterr().out
    assert "how often (default: 3)" in text
    assert "in capitals\n" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["modles"], "did you mean 'models'?"),
        (["say-twice", "helo"], "did you mean 'hello'?"),
        (["say-twice", "zzz"], "unknown 'zzz' (choose from hello, goodbye)"),
        (["say-twice", "hello", "--tim", "2"], "unrecognized arguments: --tim 2"),
        (["say-twice", "hello", "--tim", "2"], "usage: erf_seg say-twice"),
    ],
)
def test_wrong_word_ends_with_status_2_and_the_nearest(add_command, capsys, arguments, expected):
    add_command("say_twice", ECHO)
    with pytest.raises(SystemExit) as leaving:
        main.main(arguments)
    assert leaving.value.code == 2
    assert expected in capsys.readouterr().err


def test_without_a_command_shows_the_help_and_fails(capsys):
    assert main.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: erf_seg" in captured.err


def test_version_is_the_manifests(capsys):
    if not list(metadata.distributions(name="erf_seg_ros")):
        pytest.skip("erf_seg_ros is not installed in this environment")
    with pytest.raises(SystemExit) as leaving:
        main.main(["--version"])
    assert leaving.value.code == 0
    version = ElementTree.parse(ROOT / "package.xml").findtext("version")
    assert capsys.readouterr().out == f"erf_seg {version}\n"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (
            "from erf_seg_core.errors import ErfSegError; raise ErfSegError('no such bag')",
            2,
            "erf_seg: error: no such bag\n",
        ),
        ("raise KeyboardInterrupt", 130, "erf_seg: interrupted\n"),
    ],
)
def test_failure_becomes_one_line(add_command, capsys, body, status, message):
    add_command("fail", failing(body))
    assert main.main(["fail"]) == status
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message)


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("rclpy", "source your ROS 2"),
        ("vision_msgs.msg", "source your ROS 2"),
        ("safetensors", "'safetensors' is not installed"),
    ],
)
def test_missing_package_becomes_advice(add_command, capsys, module, advice):
    add_command("fail", failing(f"raise ModuleNotFoundError('No module', name={module!r})"))
    assert main.main(["fail"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("erf_seg: error: ")
    assert advice in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "body",
    [
        "raise RuntimeError('a bug')",
        "import erf_seg_core.no_such_module",
        "import os; r, w = os.pipe(); os.close(r); os.write(w, b'x')",
    ],
    ids=["any", "own module", "another pipe"],
)
def test_fault_of_ours_keeps_its_traceback(add_command, body):
    add_command("fail", failing(body))
    with pytest.raises((RuntimeError, ModuleNotFoundError, BrokenPipeError)):
        main.main(["fail"])


def test_what_the_system_refuses_becomes_one_line(capsys, tmp_path):
    too_long = tmp_path / ("x" * 300)
    assert main.main(["segment", str(too_long), "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"erf_seg: error: {too_long}: File name too long\n"


def start_with_command(tmp_path, source, **options):
    """`erf_seg fail` in a process of its own, which finds its command in `tmp_path`."""
    (tmp_path / "fail.py").write_text(source)
    program = (
        "import sys; from erf_seg_cli import commands, main; "
        f"commands.__path__.append({str(tmp_path)!r}); sys.exit(main.main(['fail']))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def test_output_on_a_full_disk_is_explained(tmp_path):
    with Path("/dev/full").open("w") as full:
        process = start_with_command(tmp_path, failing("print('line'); return 0"), stdout=full)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert error.startswith("erf_seg: error: ") and error.endswith("No space left on device\n")
    assert error.count("\n") == 1


def test_a_closed_output_gets_nothing_and_neither_does_the_next_file(tmp_path):
    body = f"f = open({str(tmp_path / 'file')!r}, 'w'); print('line', flush=True); return 0"
    process = start_with_command(
        tmp_path, failing(body), stdout=None, preexec_fn=lambda: os.close(1)
    )
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_reader_that_has_gone_is_no_error(tmp_path):
    process = start_with_command(
        tmp_path, failing("[print('line', number) for number in range(100_000)]; return 0")
    )
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_with_one_line_and_130(tmp_path, number):
    process = start_with_command(
        tmp_path, failing("import time; print('started', flush=True); time.sleep(60)")
    )
    assert process.stdout.readline() == "started\n"
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    assert process.stderr.read() == "erf_seg: interrupted\n"


def test_a_second_signal_does_not_break_into_the_saving(tmp_path):
    """As from a closing terminal: the shell and the kernel each send one."""
    body = """try:
        print('started', flush=True); input()
    finally:
        print('saving', flush=True); input(); print('saved')"""
    process = start_with_command(tmp_path, failing(body), stdin=subprocess.PIPE)
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "saving\n"
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate("\n", timeout=60)
    assert (process.returncode, out) == (130, "saved\n")


def test_what_nohup_ignores_stays_ignored(tmp_path):
    body = "print('started', flush=True); input(); return 0"
    process = start_with_command(
        tmp_path,
        failing(body),
        stdin=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert process.stdout.readline() == "started\n"
    process.send_signal(signal.SIGHUP)
    process.communicate("\n", timeout=60)
    assert process.returncode == 0
