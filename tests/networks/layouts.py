"""Layouts of every form, and activations that have them."""

import torch

from klas.networks.layout import Layout

LAYOUTS = [
    Layout(channels=6, grid=(4, 4), prefix=1),
    Layout(channels=5, grid=(4, 4), prefix=1),
    Layout(channels=7, grid=(7, 7), prefix=2),
    Layout(channels=4, grid=(3, 5), prefix=0),
    Layout(channels=8, grid=(7, 7), prefix=0, form="NHWC"),
    Layout(channels=3, grid=(4, 4), prefix=0, form="NCHW"),
    Layout(channels=9, grid=(2, 2), prefix=0, form="NCHW"),
]


def activation(layout, batch=2):
    return torch.randn(batch, *shape(layout))


def shape(layout):
    return {
        "NLC": (layout.positions, layout.channels),
        "NHWC": (*layout.grid, layout.channels),
        "NCHW": (layout.channels, *layout.grid),
    }[layout.form]
