"""Kill a process at a chosen step of what it writes: every write, sync, rename, unlink, index set.

The child is forked, so it is killed for good, as by ``kill -9``: nothing that it had in mind for
an error is done. Where it syncs, half of what it wrote is lost too, as a power cut may have it.
"""

import os
import signal
import stat
import traceback
from contextlib import ExitStack
from unittest.mock import patch

import diskcache

STEPS = [
    *((os, name) for name in ("open", "fsync", "replace", "unlink", "rmdir", "mkdir", "chmod")),
    *((diskcache.Cache, name) for name in ("set", "delete", "clear")),
]


def killed(work, step):
    """Do work in a child that is killed before a step of it; returns whether it came that far.

    Args:
        step: from 0; an odd one is killed where the step is done but not what follows.
    """
    child = os.fork()
    if not child:
        try:
            _count(work, step)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the work itself failed"
    return False


def steps_of(work):
    """How many steps a work has, counted in a child that is not killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, str(_count(work, -1)).encode())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the work itself failed"
    with os.fdopen(reading) as told:
        return int(told.read())


def _count(work, last):
    done = 0

    def counted(name, function):
        def call(*arguments, **options):
            nonlocal done
            if done == last:
                if name == "fsync":
                    _lose_half(arguments[0])
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **options)
            if done + 1 == last:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 2
            return result

        return call

    with ExitStack() as patches:
        for owner, name in STEPS:
            patches.enter_context(patch.object(owner, name, counted(name, getattr(owner, name))))
        work()
    return done


def _lose_half(file):
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode):
        os.ftruncate(file, status.st_size // 2)
