#!/usr/bin/env python3
"""Print what a JUnit file counts, and fail where it counts no test: colcon calls that a success."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree


def main(path: str) -> int:
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        for name in counts:
            counts[name] += int(suite.get(name, 0))
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    print(f"{passed} passed, {failed} failed, {counts['skipped']} skipped")
    if passed + failed == 0:
        print(f"error: no test ran ({path})", file=sys.stderr)
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
