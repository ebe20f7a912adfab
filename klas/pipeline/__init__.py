"""A study carried out: its context, its results, and what they cost."""
