"""What networks are for: each task's samples, units, targets, loss and metric.

What is said of a task, and how its metric is counted, is numpy alone (:mod:`klas.tasks.task`,
:mod:`klas.tasks.metric`); what touches tensors is in a module of the task's own name.
"""
