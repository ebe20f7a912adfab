"""``klas catalogue``."""

import json

import pytest

from klas.storage.store import Store
from tests.small_catalogue import put_catalogue


@pytest.fixture
def catalogued(tmp_path):
    store = Store(tmp_path / "catalogued")
    put_catalogue(store)
    store.close()
    return tmp_path / "catalogued"


def test_the_catalogue_is_searched_by_text_family_and_cost(klas, catalogued):
    done = klas("catalogue", cache=catalogued)
    assert done.returncode == 0
    assert "4 of 4 pretrained networks" in done.stdout
    assert done.stdout.index("levit_128s") < done.stdout.index("swin_tiny")
    searches = [
        (["--search", "swin"], ["swin_tiny.ms_in1k"]),
        (["--gmacs", 0, 1], ["levit_128s.fb_dist_in1k"]),
        (["--family", "odd", "--family", "resnet"], ["odd.in1k", "resnet50.a1_in1k"]),
    ]
    for arguments, tags in searches:
        done = klas("catalogue", *arguments, "--json", cache=catalogued)
        assert [n["tag"] for n in json.loads(done.stdout)["networks"]] == tags
    done = klas("catalogue", "--family", "restnet", cache=catalogued)
    assert done.returncode == 1
    assert "the nearest are resnet" in done.stderr
