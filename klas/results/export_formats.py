"""What a network can be exported to: what runs it, what it takes to make. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from klas.errors import ExportError
from klas.results.documents.exports import FormatName

START_SECONDS = 8.0
"""About what a process takes to load torch, timm and two anchors."""

LAYERS_PER_BLOCK = 16
"""Of a transformer's block, in timm, with the modules that do nothing in eval mode."""


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """What a format is.

    Attributes:
        runs: what runs it, for people.
        ending: of a file's name; empty for a folder.
        base_seconds, layer_seconds: about what it takes to write and compare, and for every layer
            more.
        needs: packages of an extra that is called like the format, and their least versions.
    """

    runs: str
    ending: str
    base_seconds: float
    layer_seconds: float
    needs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def about_seconds(self, layers: int) -> float:
        """About how long it takes: it goes with the number of layers, not their size."""
        return self.base_seconds + self.layer_seconds * layers


EXPORT_FORMATS: Mapping[FormatName, ExportFormat] = {
    "safetensors": ExportFormat(
        runs="klas: a folder for `klas.load`", ending="", base_seconds=1, layer_seconds=0.01
    ),
    "torch": ExportFormat(
        runs="torch alone: a file of `torch.export`",
        ending=".pt2",
        base_seconds=2,
        layer_seconds=0.03,
    ),
    "onnx": ExportFormat(
        runs="onnxruntime: a file that needs neither torch nor klas",
        ending=".onnx",
        base_seconds=4,
        layer_seconds=0.08,
        # onnxscript before 0.7.2 resized to 1×1 wrongly.
        needs={"onnx": (1, 16), "onnxscript": (0, 7, 2), "onnxruntime": (1, 20)},
    ),
    "timm": ExportFormat(
        runs="timm, after `import klas`: a folder that it can push to the hub",
        ending="",
        base_seconds=1,
        layer_seconds=0.01,
    ),
}


def refuse_missing_extra(to: FormatName) -> None:
    """Refuse early where a package that a format needs is lacking or too old.

    Raises:
        ExportError: one is; the sentence names what to install.
    """
    for name, least in EXPORT_FORMATS[to].needs.items():
        wanted = ".".join(map(str, least))
        try:
            have = version(name)
        except PackageNotFoundError:
            have = ""
        numbers = tuple(int(part) for part in have.split(".")[:3] if part.isdigit())
        if numbers < least:
            found = (
                f"{name} {have} is too old (it takes {wanted})" if have else f"{name} is lacking"
            )
            raise ExportError(f'{to}: {found}; install it with `pip install -e ".[{to}]"`')
