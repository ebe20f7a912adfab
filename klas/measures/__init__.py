"""Measures: the sweeps over the data and everything that is computed in them."""
