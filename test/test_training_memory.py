"""Freed memory is kept: a step that allocates what the last one freed causes no page faults."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import numpy as np
from erf_seg_core.training.memory import keep_freed_memory

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


def faults_per_step(keep):
    code = STEPS.format(keep=keep)
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_repeated_steps_cause_no_page_faults():
    assert faults_per_step(keep=False) > 500  # else there is nothing to save
    assert faults_per_step(keep=True) < 50
