"""The command ``klas``: parse, call, print; and the process of a job.

Where each command is:

========================================================== ===============================
``run``, ``anchors``, ``scores``, ``latency``              :mod:`klas.cli.compute`
``finetune``, ``compare``                                  :mod:`klas.cli.methods`
``select``, ``check``                                      :mod:`klas.cli.choose`
``export``                                                 :mod:`klas.cli.export`
``study show``, ``study save``                             :mod:`klas.cli.studies`
``cache ls``, ``verify``, ``clear``, ``pack``, ``unpack``  :mod:`klas.cli.cache`
``catalogue``                                              :mod:`klas.cli.catalogue`
``dashboard``                                              :mod:`klas.cli.dashboard`
========================================================== ===============================

:mod:`klas.cli.main` parses, calls one of them and turns errors into exit statuses. What several
commands share is in :mod:`klas.cli.steps`, what they print in :mod:`klas.cli.tables`, and how it
gets into any encoding in :mod:`klas.cli.printing`. A job's
process is :mod:`klas.cli.worker`. A command imports torch only when it runs.
"""
