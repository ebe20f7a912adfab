"""What a stitch for segmentation does: its IoU of every class, and pictures of what it predicts."""

import streamlit as st

from dashboard.charts.label_maps import coloured, enlarged, legend
from dashboard.controls.jobs import start_button
from dashboard.model.exports import Exportable
from dashboard.session.resources import store, study
from dashboard.tables.class_iou import class_iou_table
from dashboard.text.markup import plain
from klas.jobs.kinds import PicturesJob
from klas.results.pair import Pair
from klas.results.per_class import (
    anchor_class_iou,
    stitch_class_iou,
    stored_pictures,
)
from klas.results.result import layers_at


def classes(pair: Pair, row: int, stitch: Exportable) -> None:
    """The table and the pictures, at the last tier at which the stitch is measured.

    Nothing is shown of a study whose images have one class each.

    Args:
        row: the stitch, in the pair's arrays.
        stitch: the same, with the tiers whose layers are stored.
    """
    names = pair.document.get("class_names")
    if names is None or not stitch.tiers:
        return
    *_, tier = stitch.tiers
    at_hand, place = study(), pair.everywhere[row]
    jointly = tier == "finetuned"
    trained, racing = (stitch.trained, stitch.racing) if jointly else ((), ())
    layers = layers_at(pair.names, tier, at_hand.finetuning, trained, racing)
    networks = {
        "source": plain(pair.names[0]),
        "target": plain(pair.names[1]),
        "stitch": f"The stitch at {tier}",
    }
    columns = {
        "source": anchor_class_iou(store(), pair, at_hand, pair.names[0]),
        "target": anchor_class_iou(store(), pair, at_hand, pair.names[1]),
        "stitch": stitch_class_iou(store(), pair, at_hand, layers, place),
    }
    known = {kind: iou for kind, iou in columns.items() if iou is not None}
    class_iou_table(
        names, {kind: iou for kind, iou in known.items() if len(iou) == len(names)}, networks
    )
    shown = stored_pictures(store(), pair, at_hand, layers, place)
    if shown is None:
        start_button(
            "Show pictures",
            at_hand,
            PicturesJob(pair=pair.names, place=place, tier=tier, trained=trained, racing=racing),
            icon=":material/image:",
            kind="secondary",
            help="A few validation images with their labels, and what both anchors and the stitch "
            "predict.",
        )
        return
    kinds = [kind for kind in ("image", "label", *networks) if kind in shown]
    for column, kind in zip(st.columns(len(kinds), gap="small"), kinds):
        column.caption(kind, help=networks.get(kind))
        pictures = shown[kind] if kind == "image" else coloured(shown[kind], len(names))
        for picture in pictures:
            column.image(enlarged(picture), width="stretch")
    st.html(legend(names))
