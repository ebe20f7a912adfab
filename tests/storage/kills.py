"""Kill a process at a chosen step: every file opened to write, sync, rename, unlink, index set.

The child is forked, so it is killed for good, as by ``kill -9``: nothing that it had in mind for
an error is done. Where it syncs, half of what it wrote is lost too, as a power cut may have it.
"""

import builtins
import errno
import io
import json
import os
import signal
import sqlite3
import stat
import traceback
from contextlib import ExitStack
from unittest.mock import patch

import diskcache

from klas.errors import KlasError

STEPS = [
    *((os, name) for name in ("open", "fsync", "replace", "unlink", "rmdir", "mkdir", "chmod")),
    *((diskcache.Cache, name) for name in ("set", "delete", "clear")),
]


FULL, READ_ONLY = errno.ENOSPC, errno.EROFS
_GROW = {"open", "fsync", "mkdir", "set"}  # what a full disk refuses; a read-only one refuses all


def killed(work, step):
    """Do work in a child that is killed before a step of it; returns whether it came that far.

    Args:
        step: from 0; an odd one is killed where the step is done but not what follows.
    """
    status, _ = _in_child(lambda: _count(work, step, _kill))
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert status == 0, "the work itself failed"
    return False


def refused(work, step, number):
    """Do work in a child for which from a step on the disk is full, or read-only.

    Args:
        step: as of :func:`killed`.
        number: the system's, :data:`FULL` or :data:`READ_ONLY`.

    Returns:
        Whether it came that far, and the sentence that it ended with; empty if it ended well.
    """

    def refuse(name, arguments):
        if number == READ_ONLY or name in _GROW:
            came.append(True)
            if name in ("set", "delete", "clear"):
                raise sqlite3.OperationalError("database or disk is full")
            raise OSError(number, os.strerror(number))

    def attempt():
        sentence = ""
        try:
            _count(work, step, refuse, lasting=True)
        except KlasError as error:
            sentence = str(error)
            assert sentence.isprintable()
        return [bool(came), sentence]

    came = []
    status, told = _in_child(attempt)
    assert status == 0, "no sentence was made of it"
    return tuple(told)


def steps_of(work):
    """How many steps a work has, counted in a child that is not killed."""
    status, steps = _in_child(lambda: _count(work, -1, _kill))
    assert status == 0, "the work itself failed"
    return steps


def all_at_once(works):
    """Do works in children that run at the same time; all have to end well."""
    children = []
    for work in works:
        child = os.fork()
        if not child:
            status = 1
            try:
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


def _in_child(work):
    """Do work in a forked child; returns its exit status, and what it came to."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as told:
        answer = told.read()
    _, status = os.waitpid(child, 0)
    return status, json.loads(answer) if answer else None


def _kill(name, arguments):
    if name == "fsync" and arguments:
        _lose_half(arguments[0])
    os.kill(os.getpid(), signal.SIGKILL)


def _count(work, last, act, lasting=False):
    """Do work, and act at a step of it, or at it and at all that follow."""
    done = 0

    def counted(name, function):
        def call(*arguments, **options):
            nonlocal done
            if done == last or (lasting and 0 <= last < done):
                act(name, arguments)
            result = function(*arguments, **options)
            if done + 1 == last and not lasting:
                act(name, ())
            done += 2
            return result

        return call

    opened = counted("open", open)

    def open_file(file, mode="r", *arguments, **options):
        return (opened if set(mode) & set("wax+") else io_open)(file, mode, *arguments, **options)

    io_open = io.open
    with ExitStack() as patches:
        for module in (io, builtins):
            patches.enter_context(patch.object(module, "open", open_file))
        for owner, name in STEPS:
            patches.enter_context(patch.object(owner, name, counted(name, getattr(owner, name))))
        work()
    return done


def _lose_half(file):
    status = os.fstat(file)
    if stat.S_ISREG(status.st_mode):
        os.ftruncate(file, status.st_size // 2)
