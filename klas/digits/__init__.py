"""The built-in studies: data made of digit scans, and networks trained on them.

Importing this package registers all of them, the networks with timm and the scenes with
:mod:`klas.data`. After that nothing in KLAS treats them specially. It is imported wherever a
study is opened.
"""

import klas.digits.segmenters
import klas.digits.zoo  # noqa: F401 - both register networks with timm
from klas.data.images import register_collection
from klas.digits.images import LABEL_PREFIX, PREFIX, open_digits, open_labelled_digits

register_collection(PREFIX, open_digits)
register_collection(LABEL_PREFIX, open_labelled_digits)
