"""``klas dashboard``: start the app."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from klas.errors import KlasError
from klas.study import built_in_named, load_study

# Streamlit reads .streamlit/config.toml from the folder that it starts in. What matters for safety
# is said here too, for an installation without that folder.
_SAFE = (
    "--server.address=127.0.0.1",
    "--server.allowedHosts=localhost",
    "--server.allowedHosts=127.0.0.1",
    "--browser.gatherUsageStats=false",
)


def dashboard(options: argparse.Namespace) -> None:
    """Run Streamlit until it ends; its exit status is the command's."""
    app = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
    if not app.is_file():
        raise KlasError(
            f"the dashboard is not at {app}; it comes with a checkout of the repository"
        )
    environment = dict(os.environ)
    if options.cache_dir is not None:
        environment["KLAS_CACHE_DIR"] = str(Path(options.cache_dir).resolve())
    environment["KLAS_DEVICE"] = options.device
    if options.study is not None:
        load_study(options.study)  # refuse a broken one here, not in the browser
        built_in = built_in_named(options.study) is not None
        environment["KLAS_STUDY"] = (
            options.study if built_in else str(Path(options.study).resolve())
        )
    command = [sys.executable, "-m", "streamlit", "run", str(app), *_SAFE]
    sys.exit(subprocess.call(command, env=environment, cwd=app.parent.parent))
