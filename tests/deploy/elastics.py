"""Elastic networks of the built-in anchors with random stitch layers: nothing is trained."""

from copy import deepcopy
from functools import cache

import torch

from klas.deploy.elastic import Elastic
from klas.digits.zoo import ZOO
from klas.measures.normalisation import has_statistics
from klas.networks.load import load_anchor
from klas.networks.stitch import StitchLayer
from klas.study import AnchorSpec

TINY, SMALL, CONVNET, BASE = ZOO
STITCHES = {
    (TINY, CONVNET): [(1, 1), (2, 3), (3, 2)],  # tokens to maps, with batch normalisation
    (SMALL, CONVNET): [(4, 2)],
    (CONVNET, BASE): [(2, 2), (3, 5)],
    (TINY, BASE): [(3, 4)],
}


@cache
def pretrained(name):
    """Who changes it takes a copy."""
    spec = AnchorSpec(name=name, model=name)
    return load_anchor(spec, crop=1.0, interpolation="bilinear")


def elastic(stitches=STITCHES, **given):
    """Layers and statistics of every stitch are nobody else's."""
    generator = torch.Generator().manual_seed(3)
    names = [name for name in ZOO if any(name in pair for pair in stitches)]
    anchors = {name: deepcopy(pretrained(name)) for name in names}
    states = {
        (f, g): {(i, j): values(anchors[f], i, anchors[g], j, generator) for i, j in places}
        for (f, g), places in stitches.items()
    }
    made = Elastic(anchors, states, **given)
    for family in made.families.values():
        if has_statistics(family.source) or has_statistics(family.target):
            for place in family.places:
                own = family.stitch(place).state_dict()
                family.statistics[place] = {
                    name: torch.rand(value.shape, generator=generator) + 0.5
                    for name, value in own.items()
                    if name.rpartition(".")[2] in ("running_mean", "running_var")
                }
    return made


def values(source, i, target, j, generator):
    layer = StitchLayer(source.info.layouts[i], target.info.layouts[j])
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return layer.state_dict()


def images(count=3):
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(5))
