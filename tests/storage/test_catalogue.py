import pytest

from klas.errors import SelectionError
from klas.storage.catalogue import (
    Network,
    catalogue_key,
    check_families,
    families_of,
    find_networks,
    read_catalogue,
)


def network(tag, family, macs, *, kind="Net", size=224):
    return Network(
        tag=tag,
        family=family,
        kind=kind,
        params=None if macs is None else 10,
        macs=macs,
        input_size=(3, size, size),
        classes=1000,
        licence=None,
        problem=None if macs is not None else "ValueError: no",
    )


NETWORKS = [
    network("odd.in1k", "odd", None, kind=None),
    network("resnet18.a1_in1k", "resnet", 1_800_000_000, kind="ResNet", size=288),
    network("swin_small.ms_in1k", "swin_transformer", 8_000_000_000),
    network("swin_tiny.ms_in1k", "swin_transformer", 4_000_000_000),
]


@pytest.mark.parametrize(
    ("wanted", "tags"),
    [
        ({}, ["odd.in1k", "resnet18.a1_in1k", "swin_small.ms_in1k", "swin_tiny.ms_in1k"]),
        ({"text": "TINY swin"}, ["swin_tiny.ms_in1k"]),
        ({"text": "ResNet"}, ["resnet18.a1_in1k"]),
        ({"text": "transformer"}, ["swin_small.ms_in1k", "swin_tiny.ms_in1k"]),
        ({"text": "nothing"}, []),
        ({"families": ["resnet", "odd"]}, ["odd.in1k", "resnet18.a1_in1k"]),
        ({"low": 4e9}, ["swin_small.ms_in1k", "swin_tiny.ms_in1k"]),
        ({"high": 4e9}, ["resnet18.a1_in1k", "swin_tiny.ms_in1k"]),
        ({"low": 2e9, "high": 5e9, "text": "swin"}, ["swin_tiny.ms_in1k"]),
        ({"size": 288}, ["resnet18.a1_in1k"]),
    ],
)
def test_a_search_keeps_what_fits_all_it_names(wanted, tags):
    assert [n.tag for n in find_networks(NETWORKS, **wanted)] == tags


def test_families_are_listed_once_and_a_misspelt_one_is_refused_with_the_nearest():
    assert families_of(NETWORKS) == ["odd", "resnet", "swin_transformer"]
    check_families(NETWORKS, ["odd", "resnet"])
    with pytest.raises(SelectionError, match=r"'swin_transformr' is not a.*swin_transformer"):
        check_families(NETWORKS, ["swin_transformr"])


def test_the_store_gives_back_what_was_put_or_says_that_there_is_nothing(store):
    assert read_catalogue(store) is None
    store.put(catalogue_key(), [{**vars(n), "input_size": list(n.input_size)} for n in NETWORKS])
    assert read_catalogue(store) == NETWORKS


def test_another_timm_has_another_catalogue(monkeypatch):
    before = catalogue_key().digest
    monkeypatch.setattr("klas.storage.catalogue.version", lambda name: "99")
    assert catalogue_key().digest != before
