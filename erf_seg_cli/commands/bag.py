"""`erf_seg bag`: rosbags; one subcommand per module of `erf_seg_cli.commands_bag`."""

from __future__ import annotations

import argparse
import importlib
import pkgutil

from erf_seg_cli import commands_bag

HELP = "make rosbags and work with them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands; each module has HELP, `add_arguments` and `run`, as a command has."""
    subparsers = parser.add_subparsers(metavar="SUBCOMMAND", title="subcommands", required=True)
    for found in sorted(pkgutil.iter_modules(commands_bag.__path__), key=lambda m: m.name):
        module = importlib.import_module(f"{commands_bag.__name__}.{found.name}")
        name = found.name.replace("_", "-")
        command = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(run_bag=module.run, parser=command)


def run(args: argparse.Namespace) -> int:
    """Run the chosen subcommand."""
    return args.run_bag(args)
