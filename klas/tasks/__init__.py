"""What networks are for: each task's samples, units, targets, loss and metric.

A task's name and metric need no torch (:mod:`klas.tasks.task`, :mod:`klas.tasks.metric`); what
touches tensors is in a module of the task's own name.
"""
