"""Every kind of picture against its pixels, written down here as 8-bit grey or colour."""

import io
import struct
import tarfile

import numpy as np
import pytest
from PIL import Image

from klas.data import open_images
from klas.data.pictures import EXTENSIONS, FORMATS, UnreadableError, decoded, is_deep
from klas.errors import DataError

RAMP = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
HIGH = RAMP >> 8  # what RAMP is in 8 bits
COLOURS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def encoded(picture, kind, **settings):
    held = io.BytesIO()
    picture.save(held, kind, **settings)
    return held.getvalue()


def tiff(pixels, form, order="<"):
    """A TIFF of one strip; form 1 is unsigned, 2 signed, 3 floating point."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    height, width = pixels.shape
    shorts = {256: width, 257: height, 258: 8 * pixels.itemsize, 259: 1, 262: 1}
    shorts |= {273: 146, 277: 1, 278: height, 279: len(data), 339: form}
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(shorts))
    entries = b"".join(struct.pack(order + "HHIHH", t, 3, 1, v, 0) for t, v in shorts.items())
    return (head + entries + bytes(4)).ljust(146, b"\0") + data


def pgm(pixels):
    return b"P5 %d %d 65535\n" % pixels.shape[::-1] + pixels.astype(">u2").tobytes()


GREY = {
    "8-bit PNG": encoded(Image.fromarray(HIGH.astype(np.uint8)), "PNG"),
    "16-bit PNG": encoded(Image.fromarray(RAMP), "PNG"),
    "16-bit JPEG 2000": encoded(Image.fromarray(RAMP), "JPEG2000", irreversible=False),
    "16-bit PGM": pgm(RAMP),
    "16-bit TIFF": tiff(RAMP, 1),
    "16-bit TIFF, high byte first": tiff(RAMP, 1, ">"),
    "float TIFF": tiff((HIGH / 255).astype(np.float32), 3),
}


@pytest.mark.parametrize("kind", GREY)
def test_grey_is_scaled_whatever_its_bits(kind):
    picture = decoded(io.BytesIO(GREY[kind]), "ramp")
    assert (np.asarray(picture.convert("L")) == HIGH).all()
    assert np.asarray(picture.convert("RGB")).mean() == pytest.approx(127.5, abs=0.5)


def test_grey_of_16_bits_is_read_as_pillow_reads_colours_of_16_bits():
    rgb = np.repeat(RAMP[..., None], 3, axis=2).astype(">u2")
    ppm = b"P6 64 64 65535\n" + rgb.tobytes()
    colour = np.asarray(decoded(io.BytesIO(ppm), "colour").convert("L"), dtype=int)
    grey = np.asarray(decoded(io.BytesIO(GREY["16-bit PNG"]), "grey").convert("L"), dtype=int)
    assert np.abs(colour - grey).max() <= 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff((RAMP // 2).astype(np.int16), 2), "32 bits or a sign"),
        (tiff(RAMP.astype(np.uint32), 1), "32 bits or a sign"),
        (tiff(RAMP.astype(np.int32), 2), "32 bits or a sign"),
        (tiff(RAMP.astype(np.float32), 3), r"from 0 to 6\.55e\+04, not from 0 to 1"),
        (tiff(np.full((8, 8), np.nan, np.float32), 3), "from nan to nan"),
    ],
)
def test_a_range_that_nobody_can_know_is_refused(content, reason):
    with pytest.raises(UnreadableError, match=f"a.tif: .*{reason}"):
        decoded(io.BytesIO(content), "a.tif")


def test_12_bits_are_12_bits(tmp_path):
    content = bytearray(tiff(RAMP, 1))
    content[10 + 2 * 12 + 8] = 12  # BitsPerSample
    packed = np.packbits(
        ((RAMP.reshape(-1, 1).astype(int) >> 4) >> np.arange(11, -1, -1)) & 1
    ).tobytes()
    with Image.open(io.BytesIO(bytes(content[:146]) + packed)) as picture:
        assert picture.mode == "I;16"
    picture = decoded(io.BytesIO(bytes(content[:146]) + packed), "a.tif")
    assert (np.asarray(picture) == HIGH).all()


RGB = Image.fromarray(COLOURS)
PALETTE = Image.fromarray(COLOURS).quantize(16)
MASKED = Image.fromarray(np.dstack([COLOURS, np.full((40, 30), 7, np.uint8)]))


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (encoded(PALETTE, "PNG"), PALETTE.convert("RGB")),
        (encoded(MASKED, "PNG"), RGB),
        (encoded(RGB.convert("LA"), "PNG"), "L"),
        (encoded(RGB.convert("1"), "PNG"), "1"),
        (encoded(Image.fromarray(255 - COLOURS).convert("CMYK"), "TIFF"), 255 - COLOURS),
        (encoded(PALETTE, "GIF", save_all=True, append_images=[MASKED]), PALETTE.convert("RGB")),
        (encoded(RGB, "TIFF", save_all=True, append_images=[PALETTE]), COLOURS),
        (encoded(RGB, "WEBP", lossless=True), COLOURS),
        (encoded(RGB, "BMP"), COLOURS),
    ],
    ids=["palette", "alpha", "grey+alpha", "bits", "CMYK", "GIF", "pages", "WebP", "BMP"],
)  # fmt: skip
def test_colours_are_those_of_the_first_picture_in_the_file(content, wanted):
    if isinstance(wanted, str):
        wanted = RGB.convert(wanted).convert("RGB")
    actual = decoded(io.BytesIO(content), "a").convert("RGB")
    assert (np.asarray(actual) == np.asarray(wanted)).all()


def test_orientation_in_exif_is_ignored_as_by_timm():
    turned = Image.Exif()
    turned[0x0112] = 6
    picture = decoded(io.BytesIO(encoded(RGB, "PNG", exif=turned)), "a")
    assert (np.asarray(picture) == COLOURS).all()


@pytest.mark.parametrize("kind", GREY)
def test_a_deep_picture_is_known_by_its_content(kind):
    assert is_deep(GREY[kind]) == (kind != "8-bit PNG")


def test_of_a_png_the_first_bytes_tell_that_it_is_deep():
    assert is_deep(GREY["16-bit PNG"][:33])
    assert not is_deep(GREY["8-bit PNG"][:33])
    assert not is_deep(b"")
    assert not is_deep(b"not a picture")


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def test_only_deep_pictures_change_a_fingerprint(tmp_path):
    """Results from ordinary files stay; those from deep ones were made from other pixels."""
    write(tmp_path / "a", {"ant/1.png": b"not decoded", "bee/2.jpg": b"nor this"})
    fingerprint = open_images(str(tmp_path / "a")).fingerprint
    assert fingerprint == "035251002b8147bace08113b186dc95ccc5e7023f0d0fd5412a5e1b80b60a7b6"
    write(tmp_path / "b", {"ant/1.png": GREY["8-bit PNG"], "bee/2.jpg": b"nor this"})
    write(tmp_path / "c", {"ant/1.png": GREY["16-bit PNG"], "bee/2.jpg": b"nor this"})
    marks = []
    for name in "bc":
        images = open_images(str(tmp_path / name))
        before = images._table.fingerprint
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("klas.data.files.is_deep", lambda _: False)
            marks.append(before(tmp_path / name) != images.fingerprint)
    assert marks == [False, True]


def test_every_ending_that_pillow_knows_for_these_formats_is_taken(tmp_path):
    names = {f"ant/{k}{ending}": b"" for k, ending in enumerate(sorted(EXTENSIONS))}
    write(tmp_path / "all", names | {"bee/UPPER.WEBP": b""})
    images = open_images(str(tmp_path / "all"))
    assert {images.where(k) for k in range(len(images.labels))} == {*names, "bee/UPPER.WEBP"}
    assert {".png", ".jpg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".jfif"} <= EXTENSIONS
    assert not {".eps", ".pdf", ".wmf", ".tga", ".h5"} & EXTENSIONS
    assert images.passed_over == {}
    assert "TIFF" in FORMATS


STRAY = {
    "ant/1.png": GREY["8-bit PNG"],
    "ant/1.webp": encoded(PALETTE, "WEBP"),
    "bee/2.gif": encoded(PALETTE, "GIF"),
    "bee/3.heic": b"?",
    "bee/4.HEIC": b"?",
    "bee/notes.txt": b"?",
    "bee/LICENSE": b"?",
    ".hidden.txt": b"?",
}


def test_what_is_passed_over_in_a_folder_is_counted(tmp_path):
    write(tmp_path / "folder", STRAY)
    images = open_images(str(tmp_path / "folder"))
    assert len(images.labels) == 3
    assert images.passed_over == {".heic": 2, ".txt": 1, "without ending": 1}


def test_what_is_passed_over_in_a_tar_is_counted(tmp_path):
    write(tmp_path / "folder", STRAY)
    (tmp_path / "folder" / "ant" / "5.png").symlink_to("1.png")
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        archive.add(tmp_path / "folder", arcname="")
    images = open_images(str(tmp_path / "images.tar"))
    assert len(images.labels) == 3
    assert images.passed_over == {".heic": 2, ".txt": 1, "links": 1, "without ending": 1}


def test_a_folder_of_other_files_says_which(tmp_path):
    write(tmp_path / "folder", {"ant/1.heic": b"", "bee/1.heic": b"", "bee/a.md": b""})
    with pytest.raises(DataError, match=r"only \.heic files"):
        open_images(str(tmp_path / "folder"))
