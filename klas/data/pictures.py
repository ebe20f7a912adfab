"""From bytes to pixels: the one place where images are decoded."""

from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from klas.errors import DataError

# Load all of Pillow's readers now, not during the first file and in several threads at once.
Image.init()

# Only formats of pictures: for some others (PostScript) Pillow would start an interpreter.
_PICTURES = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
FORMATS = tuple(name for name in _PICTURES if name in Image.OPEN)


class UnreadableError(DataError):
    """A picture that can't be decoded.

    Attributes:
        reason: why, without its path.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: is not a readable image ({reason})")
        self.reason = reason


def decoded(file: BinaryIO, path: str) -> Image.Image:
    """The whole picture; a file that is cut off is refused, not padded with grey.

    Raises:
        UnreadableError: the bytes are not a readable image.
    """
    try:
        with Image.open(file, formats=FORMATS) as picture:
            picture.load()
            return picture
    except Exception as error:  # each of Pillow's readers has its own errors
        reason = str(error) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "its content has no known format"
        raise UnreadableError(path, reason) from None
