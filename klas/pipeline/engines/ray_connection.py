"""The connection of this process to a Ray cluster.

Everything in this process shares one connection, and the last one to leave ends it; one that the
caller made with ``ray.init`` is used and left alone.
"""

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

from klas.errors import WorkerError, one_line
from klas.pipeline.engines.processes import usable_cores
from klas.pipeline.engines.ray_room import nodes

PATIENCE = 5.0  # seconds until a cluster must have answered
NAMESPACE = "klas"
# HTTP/2's greeting and empty settings, which every gRPC server answers with its own settings.
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
SETTINGS_FRAME = 4

_LOCK = threading.Lock()
_USERS: list[str] = []  # of the connection that was made here: the address that each was given


def check_installed() -> None:
    """Refuse where there is no Ray.

    Raises:
        WorkerError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None:
        raise WorkerError(
            'engine ray: Ray is not installed here; install it with `pip install -e ".[ray]"`, '
            "or choose engine processes"
        )


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be connected to a cluster meanwhile.

    Args:
        address: ``HOST:PORT``; without one it is what ``RAY_ADDRESS`` names, else the cluster that
            ``ray start`` began on this machine, else one that is started on its cores.

    Raises:
        WorkerError: Ray is not installed; there is no such cluster; it is of another version.
    """
    check_installed()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    with contextlib.ExitStack() as ends:
        with _LOCK:
            ours = bool(_USERS)
            if ours or not ray.is_initialized():
                if ours and address is not None and address != _USERS[0]:
                    raise WorkerError(
                        f"{address}: this process is connected to the Ray cluster "
                        f"{_USERS[0] or 'of this machine'}; use another process for a second one"
                    )
                if not ours:
                    _connect(address)
                _USERS.append(address or "")
                ends.callback(_leave)
        # Ray prints what it has to say on standard output, where only results belong.
        with contextlib.redirect_stdout(sys.stderr):
            yield


def running_address(address: str | None) -> str | None:
    """Where the cluster is that would be used; None if one would have to be started.

    Raises:
        WorkerError: an address is given, and there is no cluster.
    """
    if named := address or os.environ.get("RAY_ADDRESS"):
        _check_reachable(named)
        return named
    from ray._private.services import get_ray_address_from_environment  # no public one

    # One that `ray start` began: another process's own would end with that process.
    found: str | None = get_ray_address_from_environment(None, None)
    if found is not None:
        try:
            _check_reachable(found)
        except WorkerError:  # it crashed, and its address was left behind
            return None
    return found


def _connect(address: str | None) -> None:
    import ray

    there = running_address(address)
    options: dict[str, Any] = {"address": there}
    if there is None:
        options = {"address": "local", "num_cpus": usable_cores(), "include_dashboard": False}
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except (RuntimeError, ConnectionError, ValueError) as error:
        raise WorkerError(refusal(there or "this machine", error)) from None
    finally:
        # Ray takes SIGTERM for itself, which is the command's to cancel a run with.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    every = nodes()
    what = f"the cluster at {there}" if there else "a cluster of this machine, started for this run"
    gpus = sum(node.gpus for node in every)
    print(
        f"Ray: {what}, {len(every)} {'node' if len(every) == 1 else 'nodes'}, "
        f"{sum(node.cpus for node in every)} CPUs{f', {gpus} GPUs' if gpus else ''}",
        file=sys.stderr,
    )


def _leave() -> None:
    import ray

    with _LOCK:
        _USERS.pop()
        if not _USERS:
            ray.shutdown()


def refusal(where: str, error: Exception) -> str:
    """Why Ray did not connect, in a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Version mismatch"):
        told = "; ".join(line.rstrip(":") for line in lines)
        return f"{where}: is a cluster of another Ray or Python ({told}); install the same here"
    return f"{where}: Ray could not connect ({one_line(error)})"


def _check_reachable(address: str) -> None:
    """Refuse an address at which no cluster answers: Ray itself would try for minutes."""
    if address.startswith("ray://"):
        host = address.removeprefix("ray://").partition(":")[0]
        raise WorkerError(
            f"{address}: Ray's client can't carry results; make this machine a node of the "
            f"cluster (`ray start --address={host}:6379 --num-cpus=0`) and give {host}:6379"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise WorkerError(f"{address!r} is no address of a Ray cluster; give HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE) as line:
            if os.environ.get("RAY_USE_TLS", "0") != "0":  # its greeting would have to be encrypted
                return
            line.sendall(GREETING)
            frame = line.recv(9)
    except OSError as error:
        why = error.strerror or "no answer in time"
        raise WorkerError(
            f"{address}: no Ray cluster answers there ({why}); start one with `ray start --head`, "
            "or give another --address"
        ) from None
    if len(frame) < 4 or frame[3] != SETTINGS_FRAME:
        raise WorkerError(
            f"{address}: what answers there is no Ray cluster; give another --address"
        )
