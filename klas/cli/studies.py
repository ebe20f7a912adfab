"""``klas study``: print or save a study with every default."""

import argparse

from klas.cli.steps import output
from klas.errors import StudyError
from klas.storage.files import write_whole
from klas.study import load_study


def show_or_save(options: argparse.Namespace) -> None:
    """Print the study file with every default spelled out, or write it."""
    study = load_study(options.study)
    text = study.to_toml()
    lines = [text.rstrip()]
    if options.action == "save":
        if options.out is None:
            raise StudyError("study save: name the file to write with --out")
        write_whole(options.out, text.encode())
        lines = [f"wrote {options.out}"]
    output(options, study.model_dump(mode="json"), lambda: lines)
