import numpy as np
import pytest
from timm.data.readers.reader_image_folder import ReaderImageFolder

from klas.data import open_images
from klas.errors import DataError
from tests.data.conftest import picture_bytes


def samples(images, root):
    return {
        (str(root / images.where(k)), images.class_names[label])
        for k, label in enumerate(images.labels)
    }


def timms(root):
    reader = ReaderImageFolder(str(root))
    names = sorted(reader.class_to_idx, key=reader.class_to_idx.get)
    return {(path, names[label]) for path, label in reader.samples}, tuple(names)


def test_a_folder_gives_its_images_and_classes(folder):
    images = open_images(str(folder))
    assert images.class_names == ("ant", "bee", "cow")
    assert np.bincount(images.labels).tolist() == [5, 3, 4]
    row = [images.where(k) for k in range(12)].index("bee/1.png")
    wanted = picture_bytes(11)
    assert (folder / "bee" / "1.png").read_bytes() == wanted
    from PIL import Image

    with Image.open(folder / "bee" / "1.png") as picture:
        assert (np.asarray(images.image(row)) == np.asarray(picture)).all()


def test_what_timm_finds_in_an_awkward_tree(tmp_path):
    root = tmp_path / "tree"
    files = ["10/a.png", "9/a.PNG", "9/b.jpeg", "deep/er/9/c.JPG", "Ümlaut x/1.png", "b2/1.png"]
    files += ["b10/1.png", "9/notes.txt", "B3/é.png", "mixed/1.png", "mixed/inner/2.png"]
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"never decoded")
    (tmp_path / "elsewhere" / "linked").mkdir(parents=True)
    (tmp_path / "elsewhere" / "linked" / "5.png").write_bytes(b"")
    (root / "link").symlink_to(tmp_path / "elsewhere" / "linked")
    images = open_images(str(root))
    wanted, names = timms(root)
    assert samples(images, root) == wanted
    assert images.class_names == names
    assert len(images.labels) == len(wanted) == 11
    assert images.class_names.index("9") < images.class_names.index("10")


def test_names_that_begin_with_a_dot_are_passed_over(folder):
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "0.png").write_bytes(b"")
    (folder / "ant" / "._0.png").write_bytes(b"")
    images = open_images(str(folder))
    assert images.class_names == ("ant", "bee", "cow")
    assert len(images.labels) == 12


def test_a_folder_with_splits_is_not_searched_for_one(folder, tmp_path):
    """Else train = "imagenet" would silently read the validation images."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "val").symlink_to(folder)
    (root / "train").symlink_to(folder)
    images = open_images(str(root))
    assert images.class_names == ("ant", "bee", "cow")
    assert len(images.labels) == 24


def test_the_fingerprint_notices_a_changed_a_new_and_a_renamed_file(folder):
    seen = {open_images(str(folder)).fingerprint}
    path = folder / "bee" / "0.png"
    old = path.read_bytes()
    path.write_bytes(old[:-1] + bytes([old[-1] ^ 1]))  # of the same size
    seen.add(open_images(str(folder)).fingerprint)
    path.write_bytes(old + b"!")
    seen.add(open_images(str(folder)).fingerprint)
    (folder / "bee" / "9.png").write_bytes(old)
    seen.add(open_images(str(folder)).fingerprint)
    (folder / "bee" / "9.png").rename(folder / "bee" / "8.png")
    seen.add(open_images(str(folder)).fingerprint)
    (folder / "bee" / "8.png").rename(folder / "ant" / "8.png")
    seen.add(open_images(str(folder)).fingerprint)
    assert len(seen) == 6


def test_the_fingerprint_does_not_notice_a_copy_or_a_touch(folder, tmp_path):
    import os
    import shutil

    first = open_images(str(folder)).fingerprint
    shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    os.utime(folder / "ant" / "0.png", (1, 1))
    assert open_images(str(tmp_path / "copy")).fingerprint == first
    assert open_images(str(folder)).fingerprint == first


def test_the_fingerprint_reads_little_of_many_files(tmp_path, monkeypatch):
    from klas.data.files import FileTable

    (tmp_path / "a").mkdir()
    for k in range(600):
        (tmp_path / "a" / f"{k}.png").write_bytes(b"x" * 20_000)
    read = []
    original = FileTable.read

    def counted(self, *args, **kwargs):
        read.append(len(original(self, *args, **kwargs)))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(FileTable, "read", counted)
    open_images(str(tmp_path))
    assert len(read) == 512
    assert max(read) == 4096


def test_a_flat_imagenet_validation_folder_is_explained(tmp_path):
    root = tmp_path / "val"
    root.mkdir()
    for k in range(1, 4):
        (root / f"ILSVRC2012_val_{k:08}.JPEG").write_bytes(b"")
    sentence = r"flat validation folder.*val_00000001\.JPEG.*WordNet id"
    with pytest.raises(DataError, match=sentence):
        open_images(str(root))
    with pytest.raises(DataError, match=sentence):
        open_images(str(tmp_path))  # named by the folder above
    (root / "n01440764").mkdir()
    for file in root.glob("*.JPEG"):
        file.rename(root / "n01440764" / file.name)
    (root / "n01443537").mkdir()
    (root / "n01443537" / "ILSVRC2012_val_00000004.JPEG").write_bytes(b"")
    assert open_images(str(root)).class_names == ("n01440764", "n01443537")


def test_images_beside_the_class_folders_are_named(folder):
    (folder / "stray.png").write_bytes(picture_bytes(0))
    with pytest.raises(DataError, match=r"1 of its images lie in no class folder \(stray\.png"):
        open_images(str(folder))


def test_empty_class_folders_are_named(folder):
    for k in range(7):
        (folder / f"dodo{k}").mkdir()
    (folder / "dodo0" / "readme.txt").write_text("extinct")
    with pytest.raises(DataError, match=r"class folders dodo0, dodo1, .*dodo4 and 2 more"):
        open_images(str(folder))


@pytest.mark.parametrize("names", [[], ["a/x.heic", "a/y.heic", "b/readme.md"]])
def test_a_folder_without_images(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    hint = r"only \.heic files.*" if names else ""
    with pytest.raises(DataError, match=rf"holds no images.*{hint}\.jpg, \.png, \.webp"):
        open_images(str(tmp_path))


def test_a_circle_of_links_is_refused(folder):
    (folder / "ant" / "again").symlink_to(folder)
    with pytest.raises(DataError, match="ant/again: is a link to a folder above it"):
        open_images(str(folder))


@pytest.mark.parametrize("ref", ["/no/such/folder", "klas/digits:lunch", "hfids/a/b:train"])
def test_what_is_not_there_is_named(ref):
    with pytest.raises(DataError, match=ref):
        open_images(ref)


def test_a_compressed_archive_is_refused(tmp_path):
    (tmp_path / "images.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match="unpack it"):
        open_images(str(tmp_path / "images.tar.gz"))
