"""A catalogue of four networks, one of which could not be built."""

from klas.storage.catalogue import Network, catalogue_key

NETWORKS = [
    Network(
        tag=tag,
        family=family,
        kind=kind,
        params=params,
        macs=macs,
        input_size=(3, size, size),
        classes=1000,
        licence="apache-2.0",
        problem=problem,
    )
    for tag, family, kind, params, macs, size, problem in [
        ("levit_128s.fb_dist_in1k", "levit", "Levit", 7_800_000, 305_000_000, 224, None),
        ("odd.in1k", "odd", None, None, None, 224, "ValueError: no"),
        ("resnet50.a1_in1k", "resnet", "ResNet", 25_600_000, 4_090_000_000, 288, None),
        ("swin_tiny.ms_in1k", "swin_transformer", "Swin", 28_300_000, 4_490_000_000, 224, None),
    ]
]


def put_catalogue(store):
    """Store four networks as if timm had no others."""
    store.put(catalogue_key(), [{**vars(n), "input_size": list(n.input_size)} for n in NETWORKS])
