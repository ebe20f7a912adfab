"""Images and labels, or texts: folders, files, the hub's data sets, or what is built in.

Samples are visited in a seeded order, never in the folder's, and subsets are class-balanced.
"""

from klas.data.images import Images, open_images
from klas.data.label_maps import LabelMaps, open_label_maps
from klas.data.loading import batches
from klas.data.readable import (
    Unreadable,
    find_unreadable,
    passed_over_sentence,
    unreadable_sentence,
)
from klas.data.rows import balanced_order, subset
from klas.data.texts import Windows, text_batches

__all__ = [
    "Images",
    "LabelMaps",
    "Unreadable",
    "Windows",
    "balanced_order",
    "batches",
    "find_unreadable",
    "open_images",
    "open_label_maps",
    "passed_over_sentence",
    "subset",
    "text_batches",
    "unreadable_sentence",
]
