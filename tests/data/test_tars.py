import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from timm.data.readers.reader_image_in_tar import ReaderImageInTar

from klas.data import open_images
from klas.errors import DataError
from tests.data.conftest import picture_bytes


def packed(files, **settings):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", **settings) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(content)
            archive.addfile(member, None if content is None else io.BytesIO(content))
    return held.getvalue()


def agrees_with_timm(path):
    images = open_images(str(path))
    reader = ReaderImageInTar(str(path), cache_tarinfo=False)
    names = sorted(reader.class_name_to_idx, key=reader.class_name_to_idx.get)
    assert images.class_names == tuple(names)

    def content(picture, label):
        return np.asarray(picture).tobytes(), int(label)

    timms = []
    for k in range(len(reader)):
        file, label = reader[k]
        with Image.open(file) as picture:
            timms.append(content(picture.convert("RGB"), label))
    for state in [reader.tar_state] if reader.root_is_tar else reader.tar_state.values():
        state.tf.close()
    ours = [content(images.image(k), images.labels[k]) for k in range(len(images.labels))]
    assert sorted(ours) == sorted(timms)
    return images


CLASSES = {
    "./ant/0.png": picture_bytes(0),
    "./ant/1.JPG": picture_bytes(1, "JPEG"),
    "./cow": None,
    "./cow/readme.txt": b"moo",
    f"./cow/{'long' * 40}.png": picture_bytes(2),  # takes an extra header
    "./cow/2.png": picture_bytes(3),
}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_tar_of_class_folders(tmp_path, form):
    (tmp_path / "images.tar").write_bytes(packed(CLASSES, format=form))
    images = agrees_with_timm(tmp_path / "images.tar")
    assert np.bincount(images.labels).tolist() == [2, 2]
    assert "cow/2.png" in {images.where(k) for k in range(4)}


def test_a_folder_of_one_tar_per_class(tmp_path):
    for name, seed in (("n01440764", 0), ("n01443537", 1)):
        files = {f"{name}_{k}.JPEG": picture_bytes(10 * seed + k, "JPEG") for k in range(3)}
        (tmp_path / f"{name}.tar").write_bytes(packed(files))
    images = agrees_with_timm(tmp_path)
    assert images.class_names == ("n01440764", "n01443537")


def test_a_tar_of_tars_as_imagenet_comes(tmp_path):
    inner = {
        f"{name}.tar": packed({f"{name}_{k}.JPEG": picture_bytes(seed + k, "JPEG") for k in (1, 2)})
        for name, seed in (("n01440764", 0), ("n01443537", 10))
    }
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(packed(inner))
    images = agrees_with_timm(tmp_path / "ILSVRC2012_img_train.tar")
    assert images.class_names == ("n01440764", "n01443537")


def test_nothing_is_written_beside_the_archive_nor_is_a_planted_pickle_read(tmp_path):
    (tmp_path / "images.tar").write_bytes(packed(CLASSES))
    (tmp_path / "_images_tarinfos.pickle").write_bytes(b"no pickle at all")
    assert len(open_images(str(tmp_path / "images.tar")).labels) == 4
    assert len(list(tmp_path.iterdir())) == 2


def test_the_fingerprint_follows_the_content_and_not_the_archives_name(tmp_path):
    first, second, third = (tmp_path / f"{k}.tar" for k in range(3))
    first.write_bytes(packed(CLASSES))
    second.write_bytes(packed(CLASSES))
    third.write_bytes(packed(CLASSES | {"./cow/2.png": picture_bytes(99)}))
    same, again, other = (open_images(str(p)).fingerprint for p in (first, second, third))
    assert same == again != other


@pytest.mark.parametrize("cut", [700, -3000, -1])
def test_a_damaged_archive_is_refused(tmp_path, cut):
    whole = bytearray(packed(CLASSES))
    if cut == -1:  # a header in the middle is overwritten
        at = whole.index(b"./cow/2.png")
        whole[at : at + 512] = b"\xff" * 512
    else:
        with tarfile.open(fileobj=io.BytesIO(bytes(whole))) as archive:
            ends = [m.offset_data + m.size for m in archive.getmembers()]
        whole = whole[:cut] if cut > 0 else whole[: ends[-1] - 10]
    (tmp_path / "images.tar").write_bytes(bytes(whole))
    with pytest.raises(DataError, match=r"images\.tar: is not a readable tar file"):
        open_images(str(tmp_path / "images.tar"))


def test_what_is_no_archive(tmp_path):
    (tmp_path / "images.tar").write_bytes(b"moo" * 1000)
    with pytest.raises(DataError, match=r"images\.tar: is not a readable tar file"):
        open_images(str(tmp_path / "images.tar"))


def test_the_classes_of_an_archive_are_checked_like_those_of_a_folder(tmp_path):
    path = tmp_path / "images.tar"
    path.write_bytes(packed({"a.png": b"", "b.png": b""}))
    with pytest.raises(DataError, match="lie in no class folder"):
        open_images(str(path))
    path.write_bytes(packed(CLASSES | {"./dodo": None}))
    with pytest.raises(DataError, match="class folder dodo"):
        open_images(str(path))
    path.write_bytes(packed({"ILSVRC2012_val_00000001.JPEG": b""}))
    with pytest.raises(DataError, match="flat validation folder"):
        open_images(str(path))
    path.write_bytes(packed({"cow/readme.txt": b""}))
    with pytest.raises(DataError, match="holds no images"):
        open_images(str(path))
