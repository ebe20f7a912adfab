"""``klas_network``: an exported network as a model of timm.

``timm.create_model("local-dir:FOLDER", pretrained=True)`` finds it once klas is imported, which
registers it (:mod:`klas.timm_hook`). Light: what it needs is imported when a network is made.
"""

import json
from typing import TYPE_CHECKING, Any

from timm.models import build_model_with_cfg, register_model

from klas.errors import ExportError, FormatError
from klas.foreign import reading

if TYPE_CHECKING:
    from torch import Tensor

    from klas.deploy.network import Network

NAME = "klas_network"
_DECIDED = ("num_classes", "global_pool", "in_chans", "img_size")
"""What timm tells every model and a saved network has decided."""


@register_model
def klas_network(pretrained: bool = False, **kwargs: Any) -> "Network":
    """A network with the weights of its folder if it is to be pretrained, in eval mode.

    Args:
        pretrained: whether to load the weights.
        kwargs: of timm. ``config`` is the network's own ``klas-network`` document, and
            ``allow_code`` says whether the Python functions that make its anchors may be run.

    Raises:
        ExportError: no folder was named, or another number of classes is asked for.
        FormatError: the document is damaged or from a newer klas.
        AnchorError: timm has no such anchor here, or it is code that is not allowed.
    """
    config = kwargs.get("config")
    if config is None:
        raise ExportError(
            f'{NAME}: nothing says which network; name its folder, "local-dir:FOLDER"'
        )
    wrong = f"{NAME}: the folder holds no network that can be loaded"
    with reading(FormatError, wrong, "copy or export it again"):
        return _made(config, pretrained, kwargs)


def _made(config: Any, pretrained: bool, kwargs: dict[str, Any]) -> "Network":
    classes, asked = config["anchors"][-1]["classes"], kwargs.get("num_classes")
    if asked not in (None, classes):
        raise ExportError(
            f"{NAME}: has {classes} classes, not {asked}; load it as it is and give it another head"
        )
    network: Network = build_model_with_cfg(
        _blank,
        NAME,
        pretrained,
        pretrained_filter_fn=_filled,
        kwargs_filter=_DECIDED,
        **kwargs,
    )
    return network.refreshed()


def _blank(*, config: dict[str, Any], allow_code: bool = False) -> "Network":
    from klas.deploy.network import Network
    from klas.results.formats import parse

    where = f"{NAME}: its config"
    document = parse(json.dumps(config).encode(), where, "klas-network")
    network = Network.blank(document, where, allow_code=allow_code)
    # What timm looks for when it saves a model, or gives it to the hub.
    last = document["anchors"][-1]
    features = last["layouts"][-1]["channels"]
    network.num_classes, network.num_features = last["classes"], features  # type: ignore[assignment]
    return network


def _filled(state: dict[str, "Tensor"], network: "Network") -> dict[str, "Tensor"]:
    """The tensors of a file that names those with two names once."""
    from klas.networks.checkpoint import shared_filled

    return shared_filled(state, network)
