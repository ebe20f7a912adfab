"""What a key is: everything that a result was made from, and the digest of that.

The keys of a study's results are made in :mod:`klas.results.keys`.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any


def canonical_json(value: Any) -> str:
    """One text per value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a result was made from.

    Attributes:
        stage: the kind of result.
        version: raised when its code gives other results from the same inputs.
        inputs: everything that it depends on, as JSON values.
        label: for people; not part of the identity.
    """

    stage: str
    version: int
    inputs: dict[str, Any]
    label: str = ""

    @property
    def digest(self) -> str:
        """64 hexadecimal digits."""
        text = canonical_json([self.stage, self.version, self.inputs])
        return hashlib.sha256(text.encode()).hexdigest()
