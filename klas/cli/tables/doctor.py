"""What `klas doctor` found, a line each."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType

from klas.results.formatting import size
from klas.results.health import MEND

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
    read_only = ", read-only" if cache["read_only"] else ""
    wrong = [
        f"{cache[name]:,} {what}"
        for name, what in (
            ("missing", "of them missing or of another size"),
            ("unlisted", "that the index lacks"),
            ("rows", "damaged rows of the index"),
        )
        if cache[name]
    ]
    found = ", ".join([f"{cache['results']:,} results", *wrong])
    said = MEND if wrong else "their files are there with their sizes"
    return (
        f"{cache['folder']}{read_only}: {size(cache['bytes'])}, {size(cache['free_bytes'])} free; "
        f"{found}; {said}; what is in them was not read (`klas cache verify` does)"
    )


def _weights(pretrained: Mapping[str, Any]) -> str:
    if pretrained["problem"] is None:
        return f"{pretrained['address']} can be reached"
    return (
        f"{pretrained['address']} cannot be reached ({pretrained['problem']}): only weights that "
        "are on this machine can be used"
    )
