import json
from dataclasses import dataclass

import numpy as np
import pytest

from klas.data.texts import Windows, read_texts
from klas.errors import DataError


@dataclass
class Letters:
    digest: str = "letters"
    end: int | None = 0

    def tokens(self, text):
        return [ord(letter) for letter in text]


def written(path, content):
    path.write_text(content if isinstance(content, str) else "\n".join(map(json.dumps, content)))
    return str(path)


def test_windows_follow_one_another_and_what_is_left_is_left_out(tmp_path):
    windows = Windows(written(tmp_path / "a.txt", "abcdefghij"), Letters(), 3)
    assert len(windows) == 3
    made = ["".join(map(chr, windows.window(row))) for row in range(3)]
    assert made == ["abcd", "defg", "ghij"]
    assert windows.window(0).dtype == np.int64
    assert windows.prompts == []


def test_texts_are_joined_by_what_ends_one(tmp_path):
    lines = [{"text": "ab"}, {"prompt": "cd", "reference": "e"}]
    windows = Windows(written(tmp_path / "a.jsonl", lines), Letters(), 5)
    assert windows.window(0).tolist() == [97, 98, 0, 99, 100, 101]
    assert windows.prompts == [("cd", "e")]
    endless = Windows(written(tmp_path / "b.jsonl", lines), Letters(end=None), 4)
    assert endless.window(0).tolist() == [97, 98, 99, 100, 101]


def test_a_folder_is_all_its_texts_in_order(tmp_path):
    written(tmp_path / "b.txt", "second")
    written(tmp_path / "a.jsonl", [{"text": "first"}])
    written(tmp_path / "c.md", "no")
    assert [text.rest for text in read_texts(str(tmp_path))] == ["first", "second"]


def test_a_fingerprint_says_all_that_samples_depend_on(tmp_path):
    ref = written(tmp_path / "a.jsonl", [{"prompt": "abcd", "reference": "efgh"}])
    other = written(tmp_path / "b.jsonl", [{"prompt": "abcde", "reference": "fgh"}])
    made = [
        Windows(ref, Letters(), 3),
        Windows(ref, Letters(), 4),
        Windows(ref, Letters(digest="others"), 3),
        Windows(other, Letters(), 3),
    ]
    assert len({windows.fingerprint for windows in made}) == 4
    assert Windows(ref, Letters(), 3).fingerprint == made[0].fingerprint


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "a", "has 1 tokens, too few for one sample of 4"),
        ("a.txt", "   ", "has 0 tokens"),
        ("a.jsonl", "{}", r"a.jsonl: line 1 is no text: .*it has no names"),
        (
            "a.jsonl",
            '{"text": "abcdef"}\n\n{"source": "x"}',
            r"line 3 is no text: .*names are source",
        ),
        ("a.jsonl", '{"prompt": "x"}', "line 1 is no text"),
        ("a.jsonl", '{"text": 3}', "line 1 is no text"),
        ("a.jsonl", "[1]", "line 1 is no text"),
        ("a.jsonl", "{", "line 1 is no JSON"),
        ("a.md", "text", "there is no text"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(tmp_path, name, content, sentence):
    ref = written(tmp_path / name, content) if name != "a.md" else str(tmp_path / name)
    with pytest.raises(DataError, match=sentence):
        Windows(ref, Letters(), 4)


def test_a_file_that_is_no_utf_8_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        Windows(str(tmp_path / "a.txt"), Letters(), 4)


def test_a_data_set_of_the_hub_needs_its_split():
    with pytest.raises(DataError, match="names no split; write hfds/"):
        Windows("hfds/owner/name", Letters(), 4)
