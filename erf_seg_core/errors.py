"""The one error type that users are meant to read."""

from __future__ import annotations


class ErfSegError(ValueError):
    """Bad input from the user's side: says in one sentence what is wrong and what to do.

    The command line prints it without a traceback and exits with status 2; the node logs it.
    """
