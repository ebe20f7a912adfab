"""Training for real: all members of a list in one run, on any number of processes."""
