"""Two runs never write into one folder of results."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from erf_seg_core.errors import ErfSegError
from erf_seg_core.output_lock import output_lock

ROOT = Path(__file__).resolve().parent.parent

HOLD_IT = """
import sys
from pathlib import Path
from erf_seg_core.output_lock import output_lock
with output_lock(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


@pytest.mark.parametrize("end", ["by itself", "killed"])
def test_a_folder_belongs_to_one_process_until_it_ends(tmp_path, end):
    output = tmp_path / "new" / "out"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_IT, output],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    taken = pytest.raises(ErfSegError, match=r"another run is writing to .*new/out; wait")
    with taken, output_lock(output):
        pass
    with output_lock(tmp_path / "new" / "other"):
        pass
    if end == "killed":
        holder.send_signal(signal.SIGKILL)
    holder.communicate("\n", timeout=60)
    with output_lock(output):
        assert output.is_dir()


def test_an_error_inside_gives_the_folder_back(tmp_path):
    with pytest.raises(KeyboardInterrupt), output_lock(tmp_path):
        raise KeyboardInterrupt
    with output_lock(tmp_path):
        pass


def test_what_is_no_folder_is_said(tmp_path):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(ErfSegError, match="file is a file"), output_lock(output):
            pass
