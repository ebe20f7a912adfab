"""Everything that KLAS refuses. One sentence each: what was wrong, where, and what to do."""


class KlasError(Exception):
    """The root of the family; the command exits with status 1 on any of them."""


class StudyError(KlasError):
    """A study (its file, its anchors' names, its pairs, its settings) makes no sense."""


class DataError(KlasError):
    """The data cannot be found or does not suit the anchors."""


class AnchorError(KlasError):
    """A network cannot be built, loaded or cut, or two of them cannot be stitched."""


class SelectionError(KlasError):
    """A selection was asked for that the scores at hand cannot answer."""


class DivergedError(KlasError):
    """A training's loss is no longer a number."""


class FormatError(KlasError):
    """A file of ours is cut off, of another version, or contradicts itself."""


class StoreError(KlasError):
    """The cache folder cannot be read or written."""


class JobError(KlasError):
    """A background job cannot be started, watched or cancelled."""
