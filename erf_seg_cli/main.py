"""Entry point of `erf_seg`: finds the subcommands, parses, and turns failures into messages."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import pkgutil
import select
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType

from erf_seg_cli import commands
from erf_seg_cli.signals import ended_as_by_ctrl_c
from erf_seg_core.errors import EngineError, ErfSegError

PROG = "erf_seg"
DISTRIBUTION = "erf_seg_ros"

EXIT_USER_ERROR = 2
# What a shell reports for a process that died of SIGINT (2) or SIGPIPE (13): 128 + signal.
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run `erf_seg` and return its exit status.

    Args:
        argv: the arguments after the program's name; None takes them from `sys.argv`.

    Returns:
        The command's own status; 2 for a mistake of the user's, a file that the system refuses or
        an engine that broke (message on stderr), 130 after Ctrl-C, SIGTERM or SIGHUP, 141 when
        whoever read our output has gone.

    Raises:
        SystemExit: by argparse, for `--help`, `--version` (0) and wrong arguments (2).
    """
    _replace_closed_streams()
    with ended_as_by_ctrl_c():
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(arguments: list[str]) -> int:
    try:
        parser = build_parser(_modules_needed(arguments))
        args, unknown = parser.parse_known_args(arguments)
        if unknown:  # argparse itself would show the usage of `erf_seg` alone
            args.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        if args.run_command is None:
            parser.print_help(sys.stderr)
            return EXIT_USER_ERROR
        status = args.run_command(args)
        sys.stdout.flush()  # a reader that has gone shows here at the latest
        return status
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except (ErfSegError, EngineError) as error:
        return _fail(f"error: {error}", EXIT_USER_ERROR)
    except ModuleNotFoundError as error:
        return _fail(f"error: {_missing_module_message(error)}", EXIT_USER_ERROR)
    except BrokenPipeError:
        if not _output_reader_is_gone():
            raise  # some other pipe of ours broke: that is a fault worth a traceback
        _silence_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno is None:
            raise  # a library's own, which no path explains
        return _fail(f"error: {_refusal(error)}", EXIT_USER_ERROR)


def command_names() -> list[str]:
    """Return the subcommands as the user types them, sorted."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(commands.__path__))


def build_parser(names: Iterable[str]) -> argparse.ArgumentParser:
    """Return the parser that knows the given subcommands."""
    parser = _Parser(
        prog=PROG,
        description="Real-time street segmentation: models, training, evaluation, rosbags, ROS 2.",
        epilog=f"`{PROG} COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action=_VersionAction)
    parser.set_defaults(run_command=None, parser=parser)
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name in names:
        module = load_command(name)
        command = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run_command=module.run, parser=command)
    return parser


def _modules_needed(arguments: Sequence[str]) -> list[str]:
    """Only the command that is called is imported; help and mistakes need them all."""
    names = command_names()
    if arguments and arguments[0] in names:
        return [arguments[0]]
    return names


def load_command(name: str) -> ModuleType:
    """Return the module of a subcommand."""
    return importlib.import_module(f"{commands.__name__}.{name.replace('-', '_')}")


def _missing_module_message(error: ModuleNotFoundError) -> str:
    package = (error.name or "").partition(".")[0]
    if not package or package.startswith("erf_seg_"):
        raise error  # our own file is missing: a fault of ours, not of the installation
    if package == "rclpy" or package.endswith(("_msgs", "_srvs", "_py")):
        return (
            f"this command needs ROS 2 and '{package}' is not importable: source your ROS 2 "
            "(source /opt/ros/<distro>/setup.bash), or use the .venv that `make demo` builds"
        )
    return (
        f"the Python package '{package}' is not installed: `pip install -r "
        "requirements/robot.txt` has it, or use the .venv that `make demo` builds"
    )


def _output_reader_is_gone() -> bool:
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _refusal(error: OSError) -> str:
    """What the system refused and why."""
    try:
        sys.stdout.flush()
    except OSError as refused:
        _silence_output()
        return f"cannot write the output: {refused.strerror}"
    if error.filename is None:
        return f"the system refused: {error.strerror}"
    return f"{error.filename}: {error.strerror}"


def _replace_closed_streams() -> None:
    """Open what `>&-` closed: its number would go to the next file, and `print` would fill that."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _silence_output() -> None:
    """Give the interpreter's own flush at exit somewhere to go; it would print a complaint."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)


def _fail(message: str, status: int) -> int:
    print(f"{PROG}: {message}", file=sys.stderr)
    return status


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows a default where there is one to show and the text does not tell it already."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        nothing = action.default is None or action.default is False or action.default in ([], ())
        if nothing or action.nargs == 0 or "(default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """argparse with the nearest spelling in its complaint; subparsers are made of this class."""

    def __init__(self, **kwargs: object) -> None:
        # An abbreviation that works today would break when a longer option is added.
        super().__init__(allow_abbrev=False, formatter_class=_HelpFormatter, **kwargs)

    def _check_value(self, action: argparse.Action, value: object) -> None:
        choices = None if action.choices is None else [str(choice) for choice in action.choices]
        if choices is None or value in action.choices:
            return
        nearest = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
        raise argparse.ArgumentError(
            action, f"unknown '{value}'{hint} (choose from {', '.join(choices)})"
        )


class _VersionAction(argparse.Action):
    """Prints the installed version; the look-up is slow, so only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        try:
            version = metadata.version(DISTRIBUTION)
        except metadata.PackageNotFoundError:
            version = "of a source tree that is not installed"
        print(f"{PROG} {version}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
