"""The built-in study of texts: tales that a generator tells, and decoders trained on them.

Importing this package registers both: the tales with :mod:`klas.data`, the decoders with
:mod:`klas.networks.decoders`. After that nothing in KLAS treats them specially. It is imported
wherever a study is opened.
"""

from klas.data.texts import register_texts
from klas.networks.decoders.load import register_decoders
from klas.tales.stories import PREFIX, open_tales
from klas.tales.zoo import WEIGHTS, ZOO

register_texts(PREFIX, open_tales)
register_decoders({name: WEIGHTS / name.rpartition("/")[2] for name in ZOO})
