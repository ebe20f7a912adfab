"""From bytes to pixels: the one place where images are decoded."""

import io
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from klas.errors import DataError

# Load all of Pillow's readers now, not during the first file and in several threads at once.
Image.init()

# Formats of pictures that begin with a mark of their own. For some others (PostScript) Pillow would
# start an interpreter, and some (TGA) would be found in anything.
_PICTURES = (
    "JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI", "SGI",
)  # fmt: skip
FORMATS = tuple(name for name in _PICTURES if name in Image.OPEN)

EXTENSIONS = frozenset(
    ending for ending, name in Image.registered_extensions().items() if name in FORMATS
)
"""The endings of the files that can be read, in lower case, with the dot."""

_BITS_PER_SAMPLE = 258  # TIFF's number of that entry
_PNG = b"\x89PNG\r\n\x1a\n"


class UnreadableError(DataError):
    """A picture that can't be decoded.

    Attributes:
        reason: why, without its path.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: is not a readable image ({reason})")
        self.reason = reason


def decoded(file: BinaryIO, path: str) -> Image.Image:
    """The whole picture in 8 bits; a file that is cut off is refused, not padded with grey.

    Of several frames or pages it is the first. Orientation in EXIF data is ignored, as timm's
    readers do: so the published networks were trained and measured.

    Raises:
        UnreadableError: the bytes are not a readable image, or nobody can tell what its lightest
            pixel would be.
    """
    try:
        with Image.open(file, formats=FORMATS) as picture:
            bits = _bits(picture)
            picture.load()
            return _in_8_bits(picture, bits)
    except Exception as error:  # each of Pillow's readers has its own errors
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "its content has no known format"
        raise UnreadableError(path, reason) from None


def is_deep(content: bytes) -> bool:
    """Whether a picture is grey with more than 8 bits; of a PNG its first bytes are enough."""
    if content.startswith(_PNG):
        return content[24:26] == b"\x10\x00"  # 16 bits, grey without alpha
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            return _is_deep(picture.mode)
    except Exception:  # whoever decodes it says what is wrong
        return False


def _is_deep(mode: str) -> bool:
    return mode in ("I", "F") or mode.startswith("I;16")


def _bits(picture: Image.Image) -> int | None:
    """How many bits a whole number of a grey picture has; None if nobody can tell."""
    tags = getattr(picture, "tag_v2", None)
    if tags is None:
        return 16  # to these Pillow scales what a PGM or JPEG 2000 has
    # Of a TIFF, I is what has a sign or 32 bits. Some cameras store 12 bits.
    return None if picture.mode == "I" else int(tags.get(_BITS_PER_SAMPLE, (1,))[0])


def _in_8_bits(picture: Image.Image, bits: int | None) -> Image.Image:
    """A grey picture of many bits by its high byte, as Pillow reads colours of 16 bits.

    Its ``convert`` would cut off what is above 255.

    Raises:
        ValueError: the pixels' range is not known.
    """
    if not _is_deep(picture.mode):
        return picture
    pixels = np.asarray(picture)
    if picture.mode == "F":
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= 1):  # also where one is not a number
            raise ValueError(f"its pixels go from {low:.3g} to {high:.3g}, not from 0 to 1")
        return Image.fromarray(np.rint(255 * pixels).astype(np.uint8))
    if bits is None:
        raise ValueError("its pixels have 32 bits or a sign; save it with 8 or 16 bits")
    return Image.fromarray((pixels >> (bits - 8)).astype(np.uint8))
