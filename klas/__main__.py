"""``python -m klas`` is the command ``klas``."""

from klas.cli.main import main

main()
