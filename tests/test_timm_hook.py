"""``import klas`` lets timm open what is exported, and stays light itself."""

import subprocess
import sys

import pytest

KNOWN = "assert timm.is_model('klas_network')"


@pytest.mark.parametrize(
    "script",
    [
        "import klas, sys; assert not {'timm', 'torch'} & set(sys.modules)",
        f"import klas; import timm; {KNOWN}",
        f"import timm; import klas; {KNOWN}",
        f"import klas; import timm.models; import timm; {KNOWN}",
    ],
)
def test_timm_knows_the_networks_in_whatever_order_it_is_imported(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
