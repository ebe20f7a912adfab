"""What `klas doctor` found, a line each."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from klas.results.formatting import size

_WIDTH = 12  # of what stands before a line, in characters


def doctor_lines(found: Mapping[str, Any]) -> list[RenderableType]:
    """The lines of a report."""
    packages = {name: version for name, version in found["packages"].items() if version}
    absent = [name for name in found["packages"] if name not in packages]
    lines = {
        "python": f"{found['python']} on {found['system']}",
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "not there": ", ".join(absent),
        "device": _device(found["device"]),
        "cache": _cache(found["cache"]),
        "weights": _weights(found["pretrained"]),
    }
    return [f"{name:{_WIDTH}}{line}" for name, line in lines.items() if line]


def _device(device: Mapping[str, Any]) -> str:
    if device["problem"]:
        return str(device["problem"])
    several = f"{device['count']} × " if device["count"] > 1 else ""
    return (
        f"{device['name']} ({several}{device['makers_name']}), {device['precision']}; "
        f"{device['cores']} cores, torch takes {device['threads']}"
    )


def _cache(cache: Mapping[str, Any]) -> str:
    if cache["problem"]:
        return f"{cache['folder']}: {cache['problem']}"
    health, read_only = cache["health"], ", read-only" if cache["read_only"] else ""
    damaged = f", {len(health['damaged']):,} of them damaged" if health["damaged"] else ""
    return (
        f"{cache['folder']}{read_only}: {size(cache['bytes'])}, {size(cache['free_bytes'])} free; "
        f"{health['checked']:,} results{damaged}; {cache['wrong'] or 'all is whole'}"
    )


def _weights(pretrained: Mapping[str, Any]) -> str:
    if pretrained["problem"] is None:
        return f"{pretrained['address']} can be reached"
    return (
        f"{pretrained['address']} cannot be reached ({pretrained['problem']}): only weights that "
        "are on this machine can be used"
    )
