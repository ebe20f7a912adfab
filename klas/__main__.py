"""``python -m klas`` is the command ``klas``."""

from klas.cli import main

main()
