"""Subcommands of `erf_seg bag`."""
