"""What is said of anchors beside their figures, by the command and on the pages. No torch here."""

from collections.abc import Iterable, Iterator

from klas.results.documents.sources import AnchorEntry, of_image, text_length

DEPLOYED = (
    "Deployed: timm folds parallel branches and batch normalisation into single convolutions, "
    "which leaves the outputs as they are up to rounding. Buckets, budgets and axes of cost are of "
    "the trained form; `fused = true` makes an anchor of the fused form."
)


def anchor_notes(anchors: Iterable[AnchorEntry]) -> list[str]:
    """A sentence for each option of an anchor, and for each figure that is not the whole one."""
    anchors = list(anchors)
    notes = [f"{anchor['name']}: {note}" for anchor in anchors for note in _notes(anchor)]
    if any("deployed" in anchor for anchor in anchors):
        notes.append(DEPLOYED)
    return notes


def _notes(anchor: AnchorEntry) -> Iterator[str]:
    if "config" in anchor["weights"]:
        but = ", but for their size" if "image_size" in anchor else ""
        yield f"how it takes images{but} is said by {anchor['weights']['config']}"
    if "image_size" in anchor:
        size = " × ".join(map(str, anchor["image_size"]))
        yield f"images of {size} pixels, as the study asks"
    if "fused" in anchor:
        yield "in its fused form, which is trained and measured here"
    if "uncounted" in anchor:
        names = ", ".join(anchor["uncounted"])
        yield f"MACs are a lower bound, because there is no formula for {names}"


def sample_size(anchor: AnchorEntry) -> str:
    """The height and width of an anchor's images, 224 or 160 × 192; the tokens of its texts."""
    transform = anchor["transform"]
    if (length := text_length(transform)) is not None:
        return str(length)
    _, height, width = of_image(transform)["input_size"]
    return str(height) if height == width else f"{height} × {width}"
