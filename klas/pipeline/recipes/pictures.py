"""The first validation images of a study with label maps: what each network makes of them."""

import torch

from klas.measures.sweep import Tick
from klas.networks.device import autocast
from klas.pipeline.context import Context
from klas.pipeline.recipes.recipe import Cost, Recipe, undivided
from klas.pipeline.speed import Speed
from klas.results.result import SHOWN_PICTURES, Pictures
from klas.storage.arrays import Arrays


@torch.inference_mode()
def _predict(result: Pictures, context: Context, tick: Tick) -> Arrays:
    """``image`` (n, H, W, C) in bytes, and maps (n, H, W) of classes.

    These are ``label``, with void as :data:`klas.data.label_maps.VOID`, and what ``source``,
    ``target`` and ``stitch`` predict; a headless source has none.
    """
    source, target = (context.anchors[name] for name in result.names)
    family = context.family(result.names, context.layers(result.layers), [result.place])
    networks = {"target": target, "source": source, "stitch": family.use(result.place)}
    arrays: Arrays = {}
    for called, network in networks.items():
        if called == "source" and result.source in context.headless:
            continue
        viewer = result.target if called == "target" else result.source
        rows = context.val.rows[:SHOWN_PICTURES]
        views, targets = next(context.batches(context.val.images, rows, viewer, batch=len(rows)))
        with autocast(context.device, context.precision):
            guess = context.objective.hard_targets(network(views))
        arrays[called] = guess.cpu().numpy()
        tick(len(rows))
        if called == "target":
            transform = target.info.images
            mean, std = (torch.tensor(v)[:, None, None] for v in (transform.mean, transform.std))
            pixels = (views.cpu() * std + mean).mul(255).round().clamp(0, 255)
            arrays["image"] = pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
            arrays["label"] = targets.cpu().numpy()
    return arrays


def _images(result: Pictures, context: Context) -> int:
    networks = 3 - (result.source in context.headless)
    return networks * min(SHOWN_PICTURES, context.val.samples)


def _cost(result: Pictures, context: Context, speed: Speed) -> Cost:
    each = speed.loading + speed.forward[result.source] + speed.forward[result.target]
    return Cost(seconds=_images(result, context) * each)


PICTURES = Recipe[Pictures](units=_images, shares=undivided(_predict), cost=_cost)
