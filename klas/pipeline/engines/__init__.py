"""Engines carry results out: in this process, in several, or on a cluster; the bytes are equal."""
