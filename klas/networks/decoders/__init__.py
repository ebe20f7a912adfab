"""Causal decoders of ``transformers``: cut at their layers, without tracing them.

A decoder's own code runs whole, with a recorder in the place of every layer
(:mod:`~klas.networks.decoders.shell`). What it calls each with, beside the hidden state, are the
masks and tables that the layer needs; they belong to the decoder and to the length of the text, so
any hidden state can go on from any layer. :mod:`~klas.networks.decoders.split` makes the parts of
an anchor of that and refuses decoders for which it does not hold;
:mod:`~klas.networks.decoders.generation` continues texts, with a cache of its own for each half.
"""
