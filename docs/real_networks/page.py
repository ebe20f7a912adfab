"""The page, from what is in the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from docs.pages import (
    CURVE_CAPTION,
    budget_table,
    machine,
    pair_curves,
    pair_named,
    percent,
    section,
    table,
)
from docs.real_networks.forecast import (
    LEVEL,
    MODELS,
    Measured,
    foretell,
    shown_rows,
    single_scores,
)
from docs.real_networks.maps import draw_maps
from docs.real_networks.parts import alone_key, alone_stitches
from docs.real_networks.readings import READINGS, Oracle, judge, left_out
from docs.real_networks.studies import (
    ALONE_STEPS,
    CIFAR_PAIRS,
    ORACLE_PAIR,
    SEEDS,
    TINY_PAIR,
    Zoos,
    seeded,
)
from docs.real_networks.task_alone import task_alone_key
from docs.real_networks.variants import POSTER, variants
from klas.results.accuracies import by_row
from klas.results.choice_notes import before_resolution_changes
from klas.results.comparison import compare
from klas.results.comparison_view import anchors_alone
from klas.results.documents.comparison import ComparedPair, Comparison
from klas.results.formatting import METHODS
from klas.results.keys import Keys
from klas.results.pair import Document, of_pairs, pairs_of
from klas.results.refs import stored_scores
from klas.results.result import Fit
from klas.results.selections import choose
from klas.results.trainings import method_trainings
from klas.storage.store import Store
from klas.study import DIGITS, Study

if TYPE_CHECKING:
    from klas.pipeline.context import Context

OUT = Path(__file__).resolve().parents[1] / "real-networks.md"
DISCUSSION = Path(__file__).with_name("discussion.md")


def page(zoos: Zoos, store: Store) -> str:
    """Every section."""
    from klas.pipeline.context import Context

    cifar, tiny = zoos.cifar(), zoos.tiny()
    documents = {study.name: stored_scores(store, study) for study in (cifar, tiny, DIGITS)}
    published = stored_scores(store, zoos.cifar(published=True))
    oracles = [
        *oracles_of("digits", documents["digits"], DIGITS),
        *oracles_of("CIFAR-10", documents["cifar10"], cifar),
        *oracles_of("Tiny-ImageNet", documents["tinyimagenet"], tiny),
    ]
    strong = alone_oracle(store, cifar, documents["cifar10"])
    made = documents["cifar10"]["made_with"]
    sections = [
        "# Results on real networks",
        f"Made by `python -m docs.real_networks FOLDER` with klas {made['klas']}, torch "
        f"{made['torch']}, timm {made['timm']} on {machine()}, one thread a part.",
        DISCUSSION.read_text(encoding="utf-8").strip(),
        anchors_section(published, documents["cifar10"], documents["tinyimagenet"]),
        maps_section([documents["cifar10"], documents["tinyimagenet"]]),
        readings_section(oracles, strong),
        misses_section(oracles, strong),
        strong_section(store, cifar, documents["cifar10"], strong),
        joint_section(store, cifar, documents["cifar10"], CIFAR_PAIRS, SEEDS),
        joint_section(store, tiny, documents["tinyimagenet"], (TINY_PAIR,), SEEDS[:1]),
        variants_section(
            [
                ("digits", DIGITS, documents["digits"], Context(DIGITS, store)),
                ("CIFAR-10", cifar, documents["cifar10"], Context(cifar, store, allow_code=True)),
            ]
        ),
        forecast_section(
            [
                *measured_jointly("digits", store, DIGITS, documents["digits"], SEEDS),
                *measured_jointly("CIFAR-10", store, cifar, documents["cifar10"], SEEDS),
            ]
        ),
    ]
    return "\n\n".join(sections) + "\n"


# -- oracles -----------------------------------------------------------------------------------


def oracles_of(zoo: str, document: Document, study: Study) -> list[Oracle]:
    """Tuned stitch layers, of every pair."""
    return [
        Oracle(
            name=f"{zoo}, {pair.name}",
            pair=pair,
            accuracy=pair.accuracy("tuned"),
            bucket=choose(pair, study.selection).bucket,
        )
        for pair in pairs_of(document)
        if np.isfinite(pair.accuracy("tuned")).any()
    ]


def alone_oracle(store: Store, study: Study, document: Document) -> Oracle:
    """Candidates of a pair, each fine-tuned on its own."""
    pair = pair_named(document, ORACLE_PAIR)
    fit = Keys.of_document(document, study).of(Fit(source=pair.names[0], target=pair.names[1]))
    accuracy = np.full(len(pair.macs), np.nan)
    rows = {place: row for row, place in enumerate(pair.everywhere)}
    for stitch in alone_stitches(pair):
        measured = store.get(alone_key(fit.digest, stitch, study.finetuning.lr))
        accuracy[rows[stitch]] = np.nan if measured is None else measured
    return Oracle(
        name=f"{pair.name}, each alone",
        pair=pair,
        accuracy=accuracy,
        bucket=choose(pair, study.selection).bucket,
    )


# -- sections ----------------------------------------------------------------------------------


def anchors_section(published: Document, cifar: Document, tiny: Document) -> str:
    """The anchors, as published and as they are used."""
    before = {a["name"]: a["accuracy"] for a in published["anchors"]}
    rows = [
        (
            f"`{a['name']}`",
            data,
            a["blocks"],
            f"{a['macs'] / 1e6:.0f}",
            f"{a['params'] / 1e6:.2f} M",
            f"{100 * before[a['name']]:.1f}" if a["name"] in before else "",
            f"{100 * a['accuracy']:.1f}",
        )
        for data, document in (("CIFAR-10", cifar), ("Tiny-ImageNet", tiny))
        for a in document["anchors"]
    ]
    return section(
        "Anchors",
        "Validation top-1. The copy of CIFAR-10 is JPEG, which the published networks never saw: "
        "they are trained for two more epochs. Networks of ImageNet are used as published, at 128 "
        "pixels, on images of 64; each answers with its 1,000 classes, of which 200 occur.",
        table(
            (
                "anchor",
                "images",
                "blocks",
                "MMACs",
                "parameters",
                "as published (%)",
                "as used here (%)",
            ),
            rows,
        ),
    )


def maps_section(documents: Sequence[Document]) -> str:
    """Γ over source and target block."""
    names = [
        (pair, draw_maps(pair, OUT.parent / "images"))
        for document in documents
        for pair in pairs_of(document)
        if pair.raw["theta"] is not None
    ]
    return section(
        "Γ and Σ",
        "Dark is low, which is good; Σ is the line below. Where Σ leaps, a block changes the "
        "resolution, and Γ has a dark column, whatever the source.",
        *(f"![Γ of {pair.name}](images/{name})" for pair, name in names),
    )


def readings_section(oracles: Sequence[Oracle], strong: Oracle) -> str:
    """Every reading before every oracle."""
    zoos = list(dict.fromkeys(oracle.name.split(",")[0] for oracle in oracles))
    groups = [[o for o in oracles if o.name.startswith(zoo)] for zoo in zoos] + [[strong]]
    judged = {
        name: [[judge(reading(o.pair), o) for o in group] for group in groups]
        for name, reading in READINGS.items()
    }
    head = ["score"]
    for zoo in (*zoos, strong.name):
        head += [f"{zoo}: hits", "ρ within", "points lost"]
    rows = []
    for name, by_group in judged.items():
        cells: list[object] = [name]
        for group in by_group:
            hits, buckets = sum(j.hits for j in group), sum(j.buckets for j in group)
            cells += [
                f"{hits:.0f} of {buckets}",
                f"{np.nanmean([j.within for j in group]):.2f}",
                f"{np.nanmean([j.lost for j in group]):.1f}",
            ]
        rows.append(cells)
    losses = {
        name: [j.lost for group in by_group[:-1] for j in group]
        for name, by_group in judged.items()
    }
    out = left_out(losses)
    names = [oracle.name for oracle in oracles]
    fixed = {name: float(np.mean(values)) for name, values in losses.items()}
    return section(
        "Which reading holds",
        "Before the `tuned` accuracies of every pair, zoo by zoo, and before a stronger oracle. "
        "*Hits*: buckets whose lowest score is the best stitch. *ρ within*: Spearman's ρ within "
        "buckets, mean over pairs. *Points lost*: how far the stitch that a score takes lies below "
        "its bucket's best, mean over buckets and pairs.",
        table(head, rows),
        "Chosen without the pair that it is judged on: the reading that loses least on the other "
        "pairs, and what it loses on this one. Always "
        f"Γ loses {fixed['Γ']:.1f}, always Ω {fixed['Ω']:.1f}, always "
        f"{min(fixed, key=lambda n: fixed[n])} (the best in hindsight) {min(fixed.values()):.1f}, "
        f"this {np.mean([lost for _, lost in out]):.1f}, chance {fixed['random']:.1f}.",
        table(
            ("left out", "taken", "points lost", "Γ loses", "Ω loses"),
            [
                (name, taken, f"{lost:.1f}", f"{losses['Γ'][k]:.1f}", f"{losses['Ω'][k]:.1f}")
                for k, (name, (taken, lost)) in enumerate(zip(names, out))
            ],
        ),
    )


def misses_section(oracles: Sequence[Oracle], strong: Oracle) -> str:
    """What Γ's misses have in common."""
    rows = []
    for oracle in (*oracles, strong):
        pair, judged, gamma = oracle.pair, oracle.judged, oracle.pair.scores("kl")
        depth = pair.stitches / [pair.source["blocks"], pair.target["blocks"]]
        entered = before_resolution_changes(pair)
        taken, best = [], []
        for b in np.unique(judged[judged >= 0]):
            members = np.flatnonzero(judged == b)
            if len(members) > 1:
                mine = members[np.argmin(gamma[members])]
                top = members[np.argmax(oracle.accuracy[members])]
                if mine != top:
                    taken.append(mine)
                    best.append(top)
        if not taken:
            continue
        rows.append(
            (
                oracle.name,
                len(taken),
                *(
                    f"{depth[rows_of, side].mean():.2f}"
                    for side in (0, 1)
                    for rows_of in (taken, best)
                ),
                f"{entered[taken].sum()}",
                f"{entered[best].sum()}",
            )
        )
    return section(
        "What Γ's misses have in common",
        "In the buckets that Γ misses, what it takes beside what is best there: how deep the "
        "source is left and the target entered (shares of their blocks), and how many enter right "
        "before a change of resolution.",
        table(
            (
                "oracle",
                "misses",
                "Γ leaves at",
                "the best leaves at",
                "Γ enters at",
                "the best enters at",
                "Γ before a change",
                "the best before a change",
            ),
            rows,
        ),
    )


def strong_section(store: Store, study: Study, document: Document, strong: Oracle) -> str:
    """How the cheap tiers do before the strong oracle."""
    pair = strong.pair
    places = alone_stitches(pair)
    fit = Keys.of_document(document, study).of(Fit(source=pair.names[0], target=pair.names[1]))
    by_task = store.get(task_alone_key(fit.digest, places, study.tuning)) or {}
    rows = []
    for name, score in (
        ("zero_shot", -pair.accuracy("zero_shot")),
        ("tuned: features matched first, then the task", -pair.accuracy("tuned")),
        ("tuned by the task alone", -by_row(pair, by_task)),
        ("cost alone", -pair.macs),
    ):
        verdict = judge(score, strong)
        rows.append(
            (
                name,
                f"{verdict.hits:.0f} of {verdict.buckets}",
                f"{verdict.rho:.2f}",
                f"{verdict.within:.2f}",
                f"{verdict.lost:.1f}",
            )
        )
    return section(
        "A stronger oracle",
        f"{len(places)} candidates of {pair.name}, drawn evenly over cost and Γ, each fine-tuned "
        f"on its own for {ALONE_STEPS} steps of 64 images. How well the cheap tiers foretell that:",
        table(("by", "hits", "ρ", "ρ within", "points lost"), rows),
    )


def joint_section(
    store: Store,
    study: Study,
    document: Document,
    names: Sequence[tuple[str, str]],
    seeds: Sequence[int],
) -> str:
    """Every method's selection trained jointly, pair by pair."""
    trained = of_pairs(document, [pair_named(document, pair) for pair in names])
    comparisons = [compare(trained, seeded(study, seed), store) for seed in seeds]
    steps = study.finetuning.steps
    parts = []
    for pair in names:
        each, curves = pair_curves(comparisons, pair)
        parts += [*curves, alone_sentence(each[0], comparisons[0], steps)]
        if steps // 4 in budgets_trained(each[0]):
            parts += [
                "Mean top-1 (%) with less training, seed 0.",
                budget_table(each[0]["methods"], (steps // 4, steps), "mean_top1", 100, 1),
            ]
    return section(
        f"After joint training: {study.name}",
        f"{steps} steps of {study.finetuning.batch} images in total, the same for every method. "
        f"Top-1 on test images that no choice saw. {CURVE_CAPTION}",
        *parts,
    )


def budgets_trained(pair: ComparedPair) -> set[int]:
    """The steps after which any method's curve is known."""
    return {
        int(steps)
        for method in pair["methods"].values()
        for steps, curve in method["budgets"].items()
        if curve is not None
    }


def alone_sentence(pair: ComparedPair, comparison: Comparison, steps: int) -> str:
    """What the same training makes of the anchors without stitches."""
    pretrained = {a["name"]: a["test"] for a in comparison["anchors"]}
    alone = ", ".join(
        f"{name} {percent(figure)} % (before {percent(pretrained[name])} %)"
        for name, figure in anchors_alone(pair, steps).items()
    )
    return f"Each anchor trained alone for as many steps: {alone}." if alone else ""


def variants_section(zoos: Sequence[tuple[str, Study, Document, Context]]) -> str:
    """What the paper leaves open, in other readings."""
    hits: dict[tuple[str, str], dict[str, float]] = {}
    buckets = {}
    for zoo, study, document, context in zoos:
        judged = oracles_of(zoo, document, study)
        buckets[zoo] = sum(judge(o.pair.scores("kl"), o).buckets for o in judged)
        for oracle in judged:
            for metric, readings in variants(oracle.pair, context).items():
                for name, score in readings.items():
                    here = hits.setdefault((metric, name), dict.fromkeys((z[0] for z in zoos), 0.0))
                    here[zoo] += judge(score, oracle).hits
    rows = [
        (
            METHODS[metric],
            name,
            *(f"{100 * by_zoo[zoo] / buckets[zoo]:.0f}" for zoo, *_ in zoos),
            f"{POSTER[metric]:.0f}",
        )
        for (metric, name), by_zoo in hits.items()
    ]
    return section(
        "Other readings of what the paper leaves open",
        "Hits in percent of the buckets, before the `tuned` oracle, beside the poster's, which are "
        "ImageNet's after 50 epochs.",
        table(("score", "reading", *(zoo for zoo, *_ in zoos), "poster"), rows),
    )


def forecast_section(measured: Sequence[Measured]) -> str:
    """Whether accuracies after joint training can be foretold."""
    rows = []
    for own in measured:
        others = [m for m in measured if m is not own]
        other_zoos = [m for m in others if m.zoo != own.zoo]
        alone = single_scores(own, shown_rows(own, 0))
        best = max(alone, key=lambda name: alone[name])
        for what, known, count in (
            ("other pairs", others, 0),
            ("other zoos", other_zoos, 0),
            ("other pairs and five of its own", others, 5),
        ):
            if not known:
                continue
            cells: list[object] = []
            for model in MODELS.values():
                told = foretell(model, known, own, shown_rows(own, count))
                cells += [f"{told.rho:.2f}", f"{told.error:.1f}", f"{100 * told.covered:.0f}"]
            rows.append((own.pair.name, what, *cells, f"{alone[best]:.2f} ({best})"))
    head = ["pair left out", "known"]
    for name in MODELS:
        head += [f"{name}: ρ", "error (points)", "covered (%)"]
    return section(
        "Can the front be foretold?",
        "Accuracy after joint training (validation, the mean over the trainings that had a stitch) "
        "from all that is known before: cost, depths, Γ, Ω, Σ, Ωₙ, CKA, DM, both cheap tiers. "
        f"Intervals are meant to cover {100 * LEVEL:.0f} %. Beside it the single score that "
        "ranks this pair best, in hindsight.",
        table((*head, "best single score: ρ"), rows),
    )


def measured_jointly(
    zoo: str, store: Store, study: Study, document: Document, seeds: Sequence[int]
) -> list[Measured]:
    """The pairs of a zoo of which any selection was trained jointly for all steps."""
    found = []
    for pair in pairs_of(document):
        trained = []
        for seed in seeds:
            own = seeded(study, seed)
            keys = Keys.of_document(document, own)
            for training in method_trainings(pair, own):
                result = store.get(keys.of(training.result))
                if training.steps == own.finetuning.steps and result is not None:
                    trained.append(by_row(pair, result["accuracy"]))
        if trained:
            known = np.array(trained)
            counts = np.isfinite(known).sum(axis=0)
            sums = np.nansum(known, axis=0)
            accuracy = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
            found.append(Measured(zoo=zoo, pair=pair, accuracy=accuracy))
    return found
