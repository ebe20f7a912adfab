"""The app as a process of its own and its page at rest, for tests with a real browser."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.conftest import SMALL

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """The app on a free port, over one cache folder and one study, the small one by default."""

    def __init__(self, folder, study=SMALL):
        self.cache = folder / "cache"
        self.study = folder / "small.toml"
        self.study.write_text(study.to_toml())
        self.environment = os.environ | {
            "KLAS_CACHE_DIR": str(self.cache),
            "KLAS_STUDY": str(self.study),
            "OMP_NUM_THREADS": "1",
        }
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "dashboard/app.py", f"--server.port={port}"],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for line in self.process.stdout:
            if "URL:" in line:
                break

    def stop(self):
        self.process.terminate()
        self.process.communicate()

    def klas(self, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "klas", *map(str, arguments)],
            env=self.environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def loaded_libraries(self):
        return Path(f"/proc/{self.process.pid}/maps").read_text()


AT_REST = """() => {
    const busy = document.querySelector(
        '.stApp[data-test-script-state="running"], [data-stale="true"], [data-testid="stSkeleton"]'
    );
    if (busy) window.restless = performance.now();
    return performance.now() - window.restless > 300;
}"""


def settled(page):
    """Wait until nothing on the page is of the run before, and no other run has begun since."""
    page.evaluate("window.restless = performance.now()")
    page.wait_for_function(AT_REST)


def charts(page):
    """The charts that are shown, in the page's order.

    Where a part of the page that draws itself again by the clock falls between two messages of
    another run, Streamlit keeps what that run replaced in the document, hidden, up to the next.
    """
    return page.locator(".js-plotly-plot").filter(visible=True)
