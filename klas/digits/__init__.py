"""The built-in study: data made of digit scans, and four networks trained on them.

Importing this package registers both, the networks with timm and the scenes with
:mod:`klas.data`. After that nothing in KLAS treats them specially. It is imported wherever a
study is opened.
"""

import klas.digits.zoo  # noqa: F401 - registers the networks with timm
from klas.data.images import register_collection
from klas.digits.images import PREFIX, open_digits

register_collection(PREFIX, open_digits)
