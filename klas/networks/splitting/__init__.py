"""Cut a network at its blocks. :func:`klas.networks.splitting.split.split` is the way in.

The steps are modules of their own: :mod:`~klas.networks.splitting.blocks` says which modules
are blocks, :mod:`~klas.networks.splitting.tracing` records what the network computes,
:mod:`~klas.networks.splitting.flow` says which tensors are alive where in that record,
:mod:`~klas.networks.splitting.boundaries` finds the places where exactly one tensor passes, and
:mod:`~klas.networks.splitting.places` says what the blocks of a network without lists are.
"""
