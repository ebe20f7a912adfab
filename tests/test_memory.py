import subprocess
import sys

import numpy as np

from klas.memory import peak_memory_bytes


def test_the_peak_stays_when_the_memory_is_given_back():
    before = peak_memory_bytes()
    assert before > 10e6
    block = np.ones(before + 10**8, np.uint8)
    del block
    assert peak_memory_bytes() >= before + 10**8


def test_the_peak_is_the_processs_own():
    ballast = np.ones(3 * 10**8, np.uint8)
    script = "from klas.memory import peak_memory_bytes; print(peak_memory_bytes())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert 10**6 < int(done.stdout) < ballast.size


def test_the_command_loads_where_the_system_is_not_posix():
    # filelock, of which both are asked too, has another way there.
    script = """
import filelock, sys
sys.modules["fcntl"] = sys.modules["resource"] = None
import klas.cli.main, klas.jobs.process, dashboard.controls.jobs
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
