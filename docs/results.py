"""Make docs/results.md: the comparison on the digits zoo, every table of it.

``python -m docs.results`` computes what is missing, two parts at a time with a thread each, and
writes the page. Everything is kept in the store, so it can be stopped and started at any time;
once all is there the page takes a minute.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from rich.progress import Progress

from docs.alone import train_alone
from docs.pages import (
    CURVE_CAPTION,
    budget_table,
    curve_pairs,
    curve_table,
    jaccard,
    machine,
    others,
    pair_curves,
    pair_named,
    percent,
    plain,
    section,
    table,
    with_interval,
    within_pairs,
)
from klas.errors import DivergedError
from klas.results.comparison import compare
from klas.results.comparison_view import entry_of, ranked_candidates
from klas.results.formatting import METHODS, duration, whole
from klas.results.keys import Keys
from klas.results.pair import Document, Pair, of_pairs, pairs_of
from klas.results.refs import stored_scores
from klas.results.resampling import ResampledStudy
from klas.results.result import Fit
from klas.results.selections import choose
from klas.results.trainings import budget_steps, method_trainings
from klas.selection.agreement import (
    overlap,
    overlap_buckets,
    spearman,
    spearman_within,
)
from klas.selection.scores import candidate_scores
from klas.storage.key import Key
from klas.storage.store import Store
from klas.study import DIGITS, METRICS, SETS, AnchorSpec, Study, change

OUT = Path(__file__).with_suffix(".md")
DISCUSSION = Path(__file__).with_name("results-discussion.md")
SECOND_ZOO = Path(__file__).parent / "second-zoo"

TUNING_SEEDS = (0, 1, 2)
FINETUNING_SEEDS = (0, 1)
FINETUNED_PAIRS = (
    ("digits_vit_tiny", "digits_vit_base"),
    ("digits_vit_small", "digits_vit_base"),
    ("digits_convnet", "digits_vit_base"),
)
ALONE_PAIR = FINETUNED_PAIRS[0]
ALONE_STEPS = 500
TAUS = (0.01, 0.03, 0.05, 0.10)
BUCKETS = (10, 15, 20)
SHARES = (5, 10, 20, 50)  # blocks of a hundred
REDRAWS = 50

# The poster's figures: ImageNet, DeiT, fine-tuned for 50 epochs.
POSTER_OVERLAP = {"cka": 5.5, "mse": 27.8, "ce": 22.2, "dm": 33.3, "snnet": 61.1, "kl": 88.9}
POSTER_AUC = {"kl": 0.8950, "snnet": 0.8345}
POSTER_TAU = {0.01: (83.72, 0.8934), 0.03: (83.74, 0.8942), 0.05: (83.76, 0.8950)}
POSTER_TAU |= {0.10: (83.69, 0.8931)}
POSTER_BUCKETS = {10: (83.65, 0.8902), 15: (83.75, 0.8947), 20: (83.76, 0.8950)}

# -- the studies -------------------------------------------------------------------------------


def tuned_with(seed: int) -> Study:
    """Another order of images in the tuning."""
    return change(DIGITS, "tuning", seed=seed)


def finetuned_with(seed: int) -> Study:
    """Another order of images and members in the joint training."""
    return change(DIGITS, "finetuning", seed=seed)


HALF = change(DIGITS, "tuning", steps=DIGITS.tuning.steps // 2)
FITTED = change(DIGITS, "probes", temperature="fitted")
SECOND = DIGITS.model_copy(
    update={
        "name": "digits, second training",
        "anchors": tuple(
            AnchorSpec(
                name=a.name, model=a.model, weights=str(SECOND_ZOO / f"{a.name}.safetensors")
            )
            for a in DIGITS.anchors
        ),
    }
)


# -- computing: each part is a process ---------------------------------------------------------


def _run(study: Study, until: Any) -> Callable[[Store], None]:
    def part(store: Store) -> None:
        from klas.pipeline.run import Pipeline

        Pipeline(study, store, device="cpu").run(until)

    return part


def _finetune(seed: int, names: tuple[str, str]) -> Callable[[Store], None]:
    """Every method of a pair; at every budget with the first seed, at the whole with others.

    What diverges is left out and said; the others go on.
    """

    def part(store: Store) -> None:
        from klas.pipeline.run import Pipeline

        study = finetuned_with(seed)
        pipeline = Pipeline(study, store, device="cpu")
        pair = pair_named(pipeline.run("scores"), names)
        for training in method_trainings(pair, study):
            if seed == FINETUNING_SEEDS[0] or training.steps == study.finetuning.steps:
                try:
                    pipeline.train(training.result)
                except DivergedError as error:
                    said = f"{pair.name}, {training.metric}, seed {seed}: {error}"
                    print(said, file=sys.stderr)

    return part


def alone_key(digest: str, stitch: tuple[int, int]) -> Key:
    """A stitch fine-tuned on its own; ``digest`` is of the fitted layers that it starts from."""
    i, j = stitch
    return Key(
        stage="finetuned",
        version=1,
        inputs={
            "alone": digest,
            "stitch": [i, j],
            "steps": ALONE_STEPS,
            "lr": DIGITS.finetuning.lr,
        },
        label=f"{' → '.join(ALONE_PAIR)}: {i} → {j} alone",
    )


def _alone(half: int) -> Callable[[Store], None]:
    """Every second candidate of a pair, each fine-tuned from the pretrained anchors alone."""

    def part(store: Store) -> None:
        from klas.pipeline.run import Pipeline

        pipeline = Pipeline(DIGITS, store, device="cpu")
        pair, context = pair_named(pipeline.run("tuned"), ALONE_PAIR), pipeline.context
        fit = context.keys.of(Fit(source=ALONE_PAIR[0], target=ALONE_PAIR[1])).digest
        settings = DIGITS.finetuning.model_copy(update={"steps": ALONE_STEPS})
        for stitch in pair.places(pair.in_space)[half::2]:
            key = alone_key(fit, stitch)
            store.compute(key, lambda s=stitch, k=key: train_alone(context, pair, s, settings, k))

    return part


def cost_key() -> Key:
    """How long each stage of selecting takes here, from nothing."""
    return Key(stage="timings", version=1, inputs={"machine": machine()}, label="cost of selecting")


def _cost(store: Store) -> None:
    """Select for one pair in an empty store, on an otherwise idle machine."""

    def measure() -> dict[str, float]:
        from klas.pipeline.run import Pipeline

        study = DIGITS.model_copy(update={"pairs": (FINETUNED_PAIRS[1],)})
        seconds = {}
        with TemporaryDirectory() as folder:
            empty = Store(folder)
            pipeline = Pipeline(study, empty, device="cpu")
            for stage in ("anchors", "probes", "scores", "zero_shot", "tuned"):
                start = time.perf_counter()
                pipeline.run(stage)
                seconds[stage] = time.perf_counter() - start
            pair = pair_named(pipeline.run("tuned"), FINETUNED_PAIRS[1])
            start = time.perf_counter()
            pipeline.finetune(pair, choose(pair, study.selection).chosen)
            seconds["finetuned"] = time.perf_counter() - start
            empty.close()
        return seconds

    store.compute(cost_key(), measure)


STUDY_PARTS: dict[str, Callable[[Store], None]] = {
    "the study": _run(DIGITS, "tuned"),
    "the second zoo": _run(SECOND, "tuned"),
}
PARTS: dict[str, Callable[[Store], None]] = {
    "half the tuning": _run(HALF, "tuned"),
    "fitted temperatures": _run(FITTED, "scores"),
    **{f"tuning, seed {s}": _run(tuned_with(s), "tuned") for s in TUNING_SEEDS[1:]},
    **{f"each alone, {h + 1} of 2": _alone(h) for h in range(2)},
    **{
        f"joint training, {' → '.join(names)}, seed {s}": _finetune(s, names)
        for s in FINETUNING_SEEDS
        for names in FINETUNED_PAIRS
    },
}
LAST_PARTS = {"cost": _cost}


def compute() -> None:
    """Every part that is not in the store, two at a time; the cost alone, at the end."""

    def work(name: str) -> None:
        command = [sys.executable, "-m", "docs.results", "--part", name]
        start = time.monotonic()
        done = subprocess.run(
            command, env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=OUT.parents[1]
        )
        if done.returncode:
            raise SystemExit(f"{name}: failed with status {done.returncode}")
        bar.console.print(f"{name}: {duration(time.monotonic() - start)}")
        bar.advance(total)

    with Progress() as bar:
        total = bar.add_task("parts", total=len(STUDY_PARTS) + len(PARTS) + len(LAST_PARTS))
        for parts, workers in ((STUDY_PARTS, 2), (PARTS, 2), (LAST_PARTS, 1)):
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(work, parts))


# -- the page ----------------------------------------------------------------------------------


def page(store: Store) -> str:
    """The page, from what is in the store."""
    documents = {
        study.results_key(): stored_scores(store, study)
        for study in (DIGITS, SECOND, HALF, FITTED, *map(tuned_with, TUNING_SEEDS))
    }

    def document(study: Study) -> Document:
        return documents[study.results_key()]

    tuned = [compare(document(s), s, store) for s in map(tuned_with, TUNING_SEEDS)]
    second = compare(document(SECOND), SECOND, store)
    ours = [pair_named(document(DIGITS), names) for names in FINETUNED_PAIRS]
    trained = of_pairs(document(DIGITS), ours)
    finetuned = [compare(trained, finetuned_with(s), store) for s in FINETUNING_SEEDS]
    made = document(DIGITS)["made_with"]
    sections = [
        "# Results on the digits zoo",
        f"Made by `python -m docs.results` with klas {made['klas']}, torch {made['torch']}, timm "
        f"{made['timm']} on {machine()}. Intervals are 95 % percentile intervals of 1,000 "
        "bootstrap replicates over 100 blocks of samples; what each seed varies is said with it. "
        "The poster's figures stand beside ours for orientation: they are ImageNet's, for other "
        "networks, and its AUC has an unpublished normalisation.",
        DISCUSSION.read_text(encoding="utf-8").strip(),
        anchors_section(finetuned[0]),
        overlap_section(tuned),
        tuned_section(tuned),
        second_section(second),
        oracle_section(store, document),
        matrix_section(store, document(DIGITS), document(SECOND)),
        joint_section(finetuned),
        budget_section(finetuned[0]),
        ablation_section(document(DIGITS), store),
        temperature_section(document(DIGITS), document(FITTED), store),
        samples_section(document(DIGITS), store),
        far_section(document(DIGITS)),
        cost_section(store, document(DIGITS)),
    ]
    return "\n\n".join(sections) + "\n"


def anchors_section(comparison: Mapping[str, Any]) -> str:
    """The anchors on both splits."""
    rows = [
        (
            f"`{a['name']}`",
            f"{a['macs'] / 1e6:#.3g}",
            f"{a['params']:,}",
            percent(a["val"]),
            percent(a["test"]),
        )
        for a in comparison["anchors"]
    ]
    return section(
        "Anchors",
        "",
        table(("anchor", "MMACs", "parameters", "validation top-1 (%)", "test top-1 (%)"), rows),
    )


def overlap_section(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Agreement with the oracle over all pairs, for every tuning seed."""
    buckets = sum(p["buckets"] for p in comparisons[0]["pairs"])
    chance = ", ".join(
        f"{100 * f['all_pairs']['chance']['value'] / buckets:.1f}" for f in comparisons
    )
    rows = []
    for metric in METRICS:
        each = [f["all_pairs"]["methods"][metric] for f in comparisons]
        rows.append(
            (
                METHODS[metric],
                with_interval(each[0]["overlap"], 100 / buckets, 1),
                others([e["overlap"] for e in each[1:]], 100 / buckets, 1),
                with_interval(each[0]["containment"], 100 / buckets, 1),
                with_interval(each[0]["spearman"], 1, 2),
                with_interval(each[0]["spearman_within"], 1, 2),
                others([e["spearman_within"] for e in each[1:]], 1, 2),
                ranked_candidates(each[0]),
                POSTER_OVERLAP.get(metric, ""),
            )
        )
    scored = [metric for metric in METRICS if metric not in SETS]
    by_pair = [
        (
            f"{p['source']} → {p['target']}",
            p["buckets"],
            f"{p['chance']['value']:.1f}",
            *(whole(p["methods"][m]["overlap"]["value"]) for m in scored),
            plain(p["methods"]["snnet"]["containment"], 1, 0),
        )
        for p in comparisons[0]["pairs"]
    ]
    return section(
        "Does the best score find the best stitch?",
        f"All {len(comparisons[0]['pairs'])} pairs, {buckets} buckets that hold at least two "
        "candidates. *Hits*: in how many of them the lowest score is the candidate with the "
        f"highest `tuned` accuracy; by chance {chance} % (seeds 0, 1, 2). *Holds the best*: in how "
        "many the method's set contains it, every scored set being as large as KLAS's in every "
        "bucket. "
        "Other seeds vary the order of images in the tuning alone. ρ is Spearman's of score and "
        "−accuracy, the mean over pairs; *within buckets* it is of the buckets of all pairs "
        "together, weighted by their candidates, of which only those in buckets of at least three "
        "count.",
        table(
            (
                "method",
                "hits (%)",
                "seeds 1, 2",
                "holds the best (%)",
                "ρ",
                "ρ within buckets",
                "seeds 1, 2",
                "candidates",
                "poster: hits (%), ImageNet",
            ),
            rows,
        ),
        "Hits pair by pair (seed 0; of SN-Net's set, how often it holds the best):",
        table(
            ("pair", "buckets", "chance", *(METHODS[m] for m in (*scored, "snnet"))),
            by_pair,
        ),
    )


def tuned_section(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Curves over all pairs where only the stitch layers are trained, for every tuning seed."""
    each = [f["all_pairs"]["methods"] for f in comparisons]
    return section(
        "What the chosen stitches are worth before joint training",
        f"Tier `tuned`: the stitch layers trained for {DIGITS.tuning.steps} steps, the anchors "
        f"frozen; a mean over {curve_pairs(each[0], 'tuned')} of {len(comparisons[0]['pairs'])} "
        "pairs, those where every method chooses something. Other seeds vary the order of images "
        f"in the tuning alone. {CURVE_CAPTION}",
        curve_table(each, "tuned"),
    )


def second_section(comparison: Mapping[str, Any]) -> str:
    """The cheap tables on a second training of the zoo."""
    buckets = sum(p["buckets"] for p in comparison["pairs"])
    rows = [
        (
            METHODS[metric],
            with_interval(m["overlap"], 100 / buckets, 1),
            with_interval(m["containment"], 100 / buckets, 1),
            with_interval(m["spearman"], 1, 2),
            with_interval(m["spearman_within"], 1, 2),
            ranked_candidates(m),
        )
        for metric, m in comparison["all_pairs"]["methods"].items()
    ]
    accuracies = ", ".join(f"{a['name']} {percent(a['val'])}" for a in comparison["anchors"])
    return section(
        "The same on a second training of the zoo",
        "All anchors trained again from another initialisation and in another order of images "
        f"(`python -m klas.digits.train --seed 1`): {accuracies} % on validation. {buckets} "
        f"buckets, chance {100 * comparison['all_pairs']['chance']['value'] / buckets:.1f} %.",
        table(
            ("method", "hits (%)", "holds the best (%)", "ρ", "ρ within buckets", "candidates"),
            rows,
        ),
    )


def oracle_section(store: Store, document: Callable[[Study], Document]) -> str:
    """How stable the oracle is, and a stronger one for one pair."""
    rows = []
    for k, pair in enumerate(pairs_of(document(DIGITS))):
        full = pair.accuracy("tuned")[pair.in_space]
        versions = {
            "half": HALF,
            **{f"seed {s}": tuned_with(s) for s in TUNING_SEEDS[1:]},
        }
        cells = []
        for study in versions.values():
            other = pairs_of(document(study))[k].accuracy("tuned")[pair.in_space]
            # Of score and −accuracy: the sign turns two accuracies into agreement.
            cells.append(f"{float(spearman(-full, other)):.3f}")
        rows.append((pair.name, int(pair.in_space.sum()), *cells))
    pair = pair_named(document(DIGITS), ALONE_PAIR)
    alone = alone_accuracies(store, document(DIGITS), pair)
    inside = pair.in_space
    bucket = choose(pair, DIGITS.selection).bucket
    against = np.full(len(pair.macs), np.nan)
    against[inside] = alone
    stronger = []
    tuned = pair.accuracy("tuned")
    for name, scores in (
        *((METHODS[m], pair.scores(m)) for m in METRICS if m not in SETS),
        ("tuned accuracy", -tuned),
    ):
        within, candidates = spearman_within(scores, against, bucket)
        stronger.append(
            (
                name,
                whole(float(overlap(scores, against, bucket))),
                f"{float(spearman(scores[inside], alone)):.2f}",
                f"{float(within):.2f}",
                int(candidates),
            )
        )
    return section(
        "How far the oracle can be trusted",
        f"Rank correlation of the `tuned` accuracies ({DIGITS.tuning.steps} steps) with those "
        "after half the steps, and with other orders of images:",
        table(("pair", "candidates", "half the steps", "seed 1", "seed 2"), rows),
        f"A stronger oracle for {pair.name}: every candidate fine-tuned on its own, all weights, "
        f"from the pretrained anchors for {ALONE_STEPS:,} steps. Hits are of "
        f"{overlap_buckets(bucket)} buckets; ρ within buckets rests on few candidates, those of "
        "its buckets of at least three:",
        table(("score", "hits", "ρ", "ρ within buckets", "candidates"), stronger),
    )


def matrix_section(store: Store, first: Document, second: Document) -> str:
    """Other scores from the same Θ matrix, against the cheap oracle and the strong one."""
    alone = pair_named(first, ALONE_PAIR)
    strong = np.full(len(alone.macs), np.nan)
    strong[alone.in_space] = alone_accuracies(store, first, alone)
    against = [
        *([(pair, pair.accuracy("tuned")) for pair in pairs_of(zoo)] for zoo in (first, second)),
        [(alone, strong)],
    ]
    rows = []
    for name in matrix_scores(alone):
        cells: list[object] = []
        for judged in against:
            hits, ranked = 0.0, []
            for pair, oracle in judged:
                bucket, scores = choose(pair, DIGITS.selection).bucket, matrix_scores(pair)[name]
                hits += float(overlap(scores, oracle, bucket))
                ranked.append(spearman_within(scores, oracle, bucket))
            cells += [whole(hits), within_pairs(ranked)]
        rows.append((name, *cells))
    counts = [
        sum(overlap_buckets(choose(pair, DIGITS.selection).bucket) for pair, _ in judged)
        for judged in against
    ]
    return section(
        "Other scores from the same Θ",
        "Ωₙ is Θ(P_i, P_n), how far the source's probe is from the target's last. Hits are of "
        f"{counts[0]} buckets against the `tuned` oracle of the zoo, of {counts[1]} against that "
        f"of its second training, and of {counts[2]} of {alone.name} against the strong oracle "
        "above. Behind each ρ stands how many candidates it rests on; each pair weighs by them.",
        table(
            (
                "score",
                "hits",
                "ρ within buckets",
                "second zoo: hits",
                "ρ within buckets",
                "strong oracle: hits",
                "ρ within buckets",
            ),
            rows,
        ),
    )


def matrix_scores(pair: Pair) -> dict[str, np.ndarray]:
    """(N,) each: what the paper makes of Θ, and what else could be made of it."""
    i, j = pair.stitches.T
    theta = np.array(pair.raw["theta"])
    return {
        "Γ = Ω / Σ": pair.scores("kl"),
        "Ω": theta[i, j],
        "Ωₙ": theta[i, -1],
        "Ω + Ωₙ": theta[i, j] + theta[i, -1],
        "CE = Ω + the source's entropy": pair.scores("ce"),
    }


def joint_section(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Every method's selection trained jointly."""
    steps = DIGITS.finetuning.steps
    together = [f["all_pairs"]["methods"] for f in comparisons]
    pairs = [curve_pairs(methods, "finetuned") for methods in together]
    parts = [
        f"**Mean over {pairs[0]} of {len(FINETUNED_PAIRS)} pairs (seed 1: {pairs[1]})**. The "
        "poster's AUC is ImageNet's, after 50 epochs, and its normalisation is not published: it "
        "is no measure for ours.",
        curve_table(together, "finetuned", poster=POSTER_AUC),
    ]
    for names in FINETUNED_PAIRS:
        parts += pair_curves(comparisons, names)[1]
    return section(
        "After joint training",
        f"Each method's stitches and both anchors trained jointly for {steps:,} steps in total, a "
        "sixth of the anchors' own training, the same for every method however many stitches it "
        "chose. Top-1 on the test split, which nothing was chosen by. Seed 1 varies the order of "
        "images and members; intervals are seed 0's. An empty cell is a method that chose nothing "
        f"or whose training diverged. {CURVE_CAPTION}",
        *parts,
    )


def budget_section(comparison: Mapping[str, Any]) -> str:
    """What a choice is worth when there is little fine-tuning."""
    budgets = budget_steps(DIGITS)
    every = comparison["all_pairs"]["methods"]
    shown = [(every["kl"]["budgets"][str(b)] or {}).get("pairs", 0) for b in budgets]
    joined = f"mean over {max(shown)} of {len(FINETUNED_PAIRS)} pairs"
    places = [(joined, every)]
    places += [
        (" → ".join(names), entry_of(comparison, names)["methods"]) for names in FINETUNED_PAIRS
    ]
    parts = []
    for place, methods in places:
        for figure, title, scale, digits in (
            ("mean_top1", "mean top-1 (%)", 100, 1),
            ("auc_stitches", "auc_stitches", 1, 2),
        ):
            parts += [
                f"**{place}, {title}**",
                budget_table(methods, budgets, figure, scale, digits),
            ]
    return section(
        "What a good choice saves",
        "The same with less fine-tuning: no steps at all (T by least squares), a sixteenth, a "
        "quarter, and the whole; seed 0.",
        *parts,
    )


def ablation_section(document: Document, store: Store) -> str:
    """τ and the number of buckets."""
    rows = []
    for tau, buckets in [(t, 20) for t in TAUS] + [(0.05, b) for b in BUCKETS[:-1]]:
        study = change(DIGITS, "selection", tau=tau, buckets=buckets)
        result = compare(document, study, store, metrics=("kl",))
        klas = result["all_pairs"]["methods"]["kl"]
        count = sum(p["buckets"] for p in result["pairs"])
        poster = POSTER_TAU[tau] if buckets == 20 else POSTER_BUCKETS[buckets]
        rows.append(
            (
                f"{100 * tau:.0f} %",
                buckets,
                sum(len(p["chosen"]["kl"]) for p in result["pairs"]),
                with_interval(klas["overlap"], 100 / count, 1),
                with_interval(klas["containment"], 100 / count, 1),
                with_interval(klas["tuned"]["mean_top1"], 100, 1),
                with_interval(klas["tuned"]["auc_stitches"], 1, 2),
                f"{poster[0]:.2f} / {poster[1]:.4f}",
            )
        )
    return section(
        "τ and the number of buckets",
        f"KLAS alone over all {len(document['pairs'])} pairs, at tier `tuned`, seed 0. Hits and "
        "what the set holds are shares of the buckets with at least two candidates. With so few "
        "candidates 20 buckets hold one or two each, so the choice takes nearly everything.",
        table(
            (
                "τ",
                "buckets",
                "chosen",
                "hits (%)",
                "holds the best (%)",
                "mean top-1 (%)",
                "auc_stitches",
                "poster: Avg Top-1 / AUC, ImageNet",
            ),
            rows,
        ),
    )


def temperature_section(plain_document: Document, fitted: Document, store: Store) -> str:
    """Calibrated probes."""
    rows = []
    for metric in ("kl", "theta", "theta_ce", "mse", "ce"):
        cells: list[object] = []
        for document in (plain_document, fitted):
            hits = count = 0.0
            ranked = []
            for scored, measured in zip(pairs_of(document), pairs_of(plain_document)):
                bucket = choose(scored, DIGITS.selection).bucket
                oracle = measured.accuracy("tuned")
                hits += float(overlap(scored.scores(metric), oracle, bucket))
                count += overlap_buckets(bucket)
                ranked.append(spearman_within(scored.scores(metric), oracle, bucket))
            cells += [f"{100 * hits / count:.1f}", within_pairs(ranked)]
        rows.append((METHODS[metric], *cells))
    same = [
        jaccard(choose(a, DIGITS.selection).chosen, choose(b, DIGITS.selection).chosen)
        for a, b in zip(pairs_of(plain_document), pairs_of(fitted))
    ]
    return section(
        "Calibration of the probes",
        "A temperature for every probe, fitted on held-out training images (Guo et al., 2017), "
        f"instead of 1. KLAS's choice of the two agrees by {np.mean(same):.2f} (Jaccard, mean "
        f"over pairs; {min(same):.2f} at least). Behind each ρ stands how many candidates it "
        "rests on.",
        table(
            (
                "score",
                "hits (%)",
                "ρ within buckets",
                "fitted: hits (%)",
                "fitted: ρ within buckets",
            ),
            rows,
        ),
    )


def samples_section(document: Document, store: Store) -> str:
    """How many validation samples a stable choice takes."""
    resampled = ResampledStudy(document, DIGITS, store)
    rng = np.random.default_rng(0)
    rows = []
    for share in SHARES:
        overlaps, rhos = [], []
        for pair in pairs_of(document):
            sums = resampled.sums(pair)
            blocks = len(resampled.val.sizes)
            taken = np.zeros((REDRAWS, blocks))
            for row in taken:
                row[rng.permutation(blocks)[: blocks * share // 100]] = 1
            scores = candidate_scores(sums, pair.stitches, taken)["kl"]
            whole = choose(pair, DIGITS.selection).chosen
            overlaps += [
                jaccard(choose(rescored(pair, few), DIGITS.selection).chosen, whole)
                for few in scores
            ]
            inside = pair.in_space
            rhos.append(spearman(scores[:, inside], -pair.scores("kl")[inside]).mean())
        samples = document["data"]["val"]["samples"] * share // 100
        rows.append((f"{samples:,}", f"{np.mean(overlaps):.3f}", f"{np.mean(rhos):.4f}"))
    return section(
        "How many validation samples it takes",
        f"KLAS's choice from some of the {document['data']['val']['samples']:,} validation samples "
        f"({REDRAWS} draws of blocks for every pair) against that from all: the Jaccard index of "
        "the two sets, and the rank correlation of Γ.",
        table(("samples", "Jaccard index", "ρ of Γ"), rows),
    )


def far_section(document: Document) -> str:
    """Do stitches between distant depths pay?"""
    rows = []
    for pair in pairs_of(document):
        depth = np.array([pair.source["blocks"], pair.target["blocks"]])
        relative = pair.stitches / depth
        far = np.abs(relative[:, 0] - relative[:, 1]) > 1 / depth.min()
        selection = choose(pair, DIGITS.selection)
        tuned, bucket = pair.accuracy("tuned"), selection.bucket
        best = [
            rows_of[np.argmax(tuned[rows_of])]
            for b in np.unique(bucket[bucket >= 0])
            if len(rows_of := np.flatnonzero(bucket == b)) > 1
        ]
        inside = pair.in_space
        rows.append(
            (
                pair.name,
                f"{far[inside].sum()} of {inside.sum()}",
                f"{100 * tuned[inside & far].mean():.1f}" if (inside & far).any() else "",
                f"{100 * tuned[inside & ~far].mean():.1f}" if (inside & ~far).any() else "",
                f"{far[best].sum()} of {len(best)}",
                f"{far[selection.chosen].sum()} of {selection.chosen.sum()}",
            )
        )
    return section(
        "Far against near stitches",
        "A stitch is *far* where i / n_f and j / n_g differ by more than a block of the shallower "
        "network.",
        table(
            (
                "pair",
                "far candidates",
                "mean `tuned` of far (%)",
                "of near (%)",
                "far among the buckets' best",
                "far among KLAS's choice",
            ),
            rows,
        ),
    )


def cost_section(store: Store, document: Document) -> str:
    """What selecting costs, against what it saves."""
    seconds = store.get(cost_key())
    pair = pair_named(document, FINETUNED_PAIRS[1])
    selecting = seconds["anchors"] + seconds["probes"] + seconds["scores"]
    every = int(pair.in_space.sum()) * seconds["finetuned"]
    rows = [
        ("one pass over the validation images, each anchor", f"{seconds['anchors']:.1f}"),
        ("features of the training images, probes", f"{seconds['probes']:.1f}"),
        ("all scores", f"{seconds['scores']:.1f}"),
        ("**selecting, together**", f"**{selecting:.1f}**"),
        ("zero_shot accuracy of every candidate", f"{seconds['zero_shot']:.1f}"),
        ("tuning every candidate", f"{seconds['tuned']:.1f}"),
        ("joint training of one selection", f"{seconds['finetuned']:.1f}"),
        (
            f"fine-tuning all {pair.in_space.sum()} candidates one by one, extrapolated",
            f"{every:.0f}",
        ),
    ]
    return section(
        "What selecting costs",
        f"{pair.name} from an empty store, seconds on {machine()}, one thread.",
        table(("stage", "seconds"), rows),
    )


def rescored(pair: Pair, gamma: np.ndarray) -> Pair:
    """The pair with other Γ."""
    raw = deepcopy(pair.raw)
    for candidate, score in zip(raw["candidates"], gamma):
        candidate["scores"]["kl"] = "inf" if np.isinf(score) else float(score)
    document = {**pair.document, "pairs": [raw]}
    return Pair(document=document, index=0)


def alone_accuracies(store: Store, document: Document, pair: Pair) -> np.ndarray:
    """(candidates in the space,) of the stronger oracle."""
    fitted = Fit(source=pair.names[0], target=pair.names[1])
    fit = Keys.of_document(document, DIGITS).of(fitted).digest
    return np.array([store.get(alone_key(fit, stitch)) for stitch in pair.places(pair.in_space)])


def main() -> None:
    """Compute what is missing and write the page, or compute one part."""
    parser = argparse.ArgumentParser(prog="python -m docs.results", description=__doc__)
    parser.add_argument("--part", choices=[*STUDY_PARTS, *PARTS, *LAST_PARTS], help="only this")
    part = parser.parse_args().part
    if part is not None:
        store = Store()
        ({**STUDY_PARTS, **PARTS, **LAST_PARTS})[part](store)
        store.close()
        return
    compute()
    store = Store()
    OUT.write_text(page(store), encoding="utf-8")
    store.close()
    print(f"wrote {OUT}")


if __name__ == "__main__":
    main()
