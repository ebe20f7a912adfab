"""What a reader of a study's results should know before trusting them, in sentences. No torch."""

from collections.abc import Iterator

from klas.results.documents.scores import ScoresDocument
from klas.results.pair import Pair, pairs_of
from klas.selection.scores import CKA_SAMPLES


def notes(document: ScoresDocument) -> list[str]:
    """A sentence for each thing that is not as it should be, with what to do about it."""
    no_cka = why_no_cka(document)
    return [*_probes(document), *([no_cka] if no_cka else []), *_diverged(pairs_of(document))]


def _probes(document: ScoresDocument) -> Iterator[str]:
    for anchor in document["anchors"]:
        converged = anchor["probe_converged"] or []
        if not all(converged):
            yield (
                f"{anchor['name']}: {converged.count(False)} of {len(converged)} probes did not "
                "converge, so Γ of its stitches is approximate; raise [probes] l2 or "
                "[data] train_samples"
            )


def why_no_cka(document: ScoresDocument) -> str | None:
    """Why the pairs that have scores have no CKA, and what to do; None where they have it."""
    samples = document["data"]["val"]["samples"]
    if samples >= CKA_SAMPLES or all(pair["theta"] is None for pair in document["pairs"]):
        return None
    return (
        f"CKA needs {CKA_SAMPLES} validation samples or more, but there "
        f"{'is' if samples == 1 else 'are'} {samples}; raise [data] val_samples"
    )


def _diverged(pairs: list[Pair]) -> Iterator[str]:
    for pair in pairs:
        stitches = ["{} → {}".format(*place) for place in pair.places(pair.diverged)]
        if stitches:
            named = ", ".join(stitches[:5]) + (", …" if len(stitches) > 5 else "")
            yield (
                f"{pair.name}: the tuning of {len(stitches)} of {len(pair.macs)} stitches diverged "
                f"({named}), so {'it has' if len(stitches) == 1 else 'they have'} no accuracy at "
                "tuned; lower [tuning] lr"
            )
