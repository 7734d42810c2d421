"""Freed memory is kept for the next step, or given back to the system, as it is wanted."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import numpy as np
from erf_seg_core.freed_memory import keep_freed_memory

if {keep}:
    keep_freed_memory()

def step():
    return [np.ones(500_000) for _ in range(10)]

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""

HOLES = """
import psutil
from erf_seg_core.freed_memory import return_freed_memory

blocks = [bytes(2000) for _ in range(100_000)]
last = blocks[-1]  # holds the heap open
del blocks
before = psutil.Process().memory_info().rss
return_freed_memory()
print(before - psutil.Process().memory_info().rss)
"""

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc has these settings"
)


def number_printed_by(code):
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_repeated_steps_cause_no_page_faults():
    assert number_printed_by(STEPS.format(keep=False)) > 500  # else there is nothing to save
    assert number_printed_by(STEPS.format(keep=True)) < 50


def test_freed_blocks_go_back_to_the_system():
    assert number_printed_by(HOLES) > 150_000_000
