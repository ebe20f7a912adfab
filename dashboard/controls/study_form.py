"""The form of a new study: its name, its images, and the settings that are often changed."""

from collections.abc import Mapping
from typing import Any, get_args

import streamlit as st

from dashboard.controls.heading import open_study
from dashboard.session import draft
from dashboard.session.resources import store, without_place
from dashboard.text.markup import plain
from klas.errors import KlasError
from klas.jobs.data_roots import refuse_elsewhere
from klas.storage.saved_studies import make_study, save_study
from klas.study import DataSpec, SelectionSpec, TaskName
from klas.tasks.task import task_named

TASKS: dict[TaskName, str] = {
    "classification": "the class of an image",
    "segmentation": "the class of every pixel",
    "language": "the next token of a text",
}
FOLDERS: dict[TaskName, str] = {
    "classification": "A folder with one folder of images per class.",
    "segmentation": "A folder that holds the folders images and labels: pictures of the same "
    "names, those in labels of class numbers.",
    "language": "A .txt or .jsonl file, a folder of such, or hfds/owner/name:split. Lines of "
    ".jsonl are texts, or prompts with references.",
}
PLACES: dict[TaskName, str] = {
    "classification": "imagenet",
    "segmentation": "street",
    "language": "texts",
}
VOID = DataSpec.model_fields["void"].default
PAIR_RULES = {
    "cheaper-first": "from the cheaper anchor into the costlier one",
    "both-directions": "in both directions",
}


def study_form() -> None:
    """The form; a study that can be made of it is saved and opened."""
    base = draft.base()
    data = base.get("data", {})
    st.subheader("The study")
    if base:
        left, right = st.columns([3, 2], vertical_alignment="center")
        left.caption(f"Every setting starts as in {plain(base['name'])}.")
        right.button("Start from defaults", on_click=draft.start_from, args=({},), type="tertiary")
    kinds = list(TASKS)
    task: TaskName = st.selectbox(
        "The networks predict",
        kinds,
        index=kinds.index(base.get("task", kinds[0])),
        format_func=TASKS.__getitem__,
        key=f"task:{draft.key('form')}",
    )
    with st.form(draft.key("form"), border=False):
        name = st.text_input(
            "Name",
            value=f"{base['name']} 2" if base else "",
            placeholder="swin zoo",
            help="Letters, digits, spaces and . + - _",
        )
        train = st.text_input(
            f"Training {task_named(task).samples}",
            value=data.get("train", ""),
            placeholder=f"/data/{PLACES[task]}/train",
            help=FOLDERS[task],
        )
        val = st.text_input(
            f"Validation {task_named(task).samples}",
            value=data.get("val", ""),
            placeholder=f"/data/{PLACES[task]}/val",
            help="Of the same kind as the training texts."
            if task == "language"
            else "The same classes as in the training images.",
        )
        labels = _label_maps(data) if task == "segmentation" else {"classes": None, "void": VOID}
        with st.expander("Samples, pairs" if task == "language" else "Samples, geometry, pairs"):
            settings = _settings(base, task)
        replace = st.checkbox("Replace a saved study of the same name")
        done = st.form_submit_button("Make study", type="primary", icon=":material/save:")
    if not done:
        return
    changes: dict[str, Any] = {
        **settings,
        "name": name.strip(),
        "task": task,
        "anchors": draft.anchors(),
        "data": {**settings["data"], **labels, "train": train.strip(), "val": val.strip()},
    }
    try:
        # Before anything is looked up: what there is outside is nobody's business.
        refuse_elsewhere({**changes, "data": {**data, **changes["data"]}}, store())
        study = make_study(base, changes)
        save_study(store(), study, replace=replace)
    except KlasError as error:
        st.error(without_place(str(error)), icon=":material/error:")
        return
    draft.start_from({})
    open_study(study.name)
    st.switch_page("views/study.py")


def _label_maps(data: Mapping[str, Any]) -> dict[str, Any]:
    """What the numbers in label maps mean."""
    left, right = st.columns(2)
    classes = left.text_input(
        "Class names",
        value=data.get("classes") or "",
        placeholder=f"/data/{PLACES['segmentation']}/classes.txt",
        help="A text file with a class per line, the first being number 0.",
    )
    void = right.number_input(
        "Void",
        min_value=0,
        max_value=VOID,
        value=data.get("void", VOID),
        help="The number of the pixels that count nowhere.",
    )
    return {"classes": classes.strip() or None, "void": void}


def _geometry(
    task: TaskName, data: Mapping[str, Any], left: Any, right: Any, *, usual: bool
) -> dict[str, Any]:
    """How images are taken.

    Args:
        usual: whether the study starts from the defaults.
    """
    fields = DataSpec.model_fields
    crop = left.number_input(
        "Central crop",
        # The usual for segmentation is whole images.
        value=1.0 if task == "segmentation" and usual else data.get("crop", fields["crop"].default),
        step=0.05,
        help="The part of each side that is kept, up to 1. One geometry for all anchors.",
    )
    kinds = get_args(fields["interpolation"].annotation)
    chosen = data.get("interpolation", fields["interpolation"].default)
    interpolation = right.selectbox("Resize by", kinds, index=kinds.index(chosen))
    return {"crop": crop, "interpolation": interpolation}


def _settings(base: Mapping[str, Any], task: TaskName) -> dict[str, Any]:
    """The settings that are often changed; the others stay as they are."""
    data, choice = base.get("data", {}), base.get("selection", {})

    def start(section: Any, values: Mapping[str, Any], name: str) -> Any:
        return values.get(name, section.model_fields[name].default)

    samples = task_named(task).samples
    left, right = st.columns(2)
    train_samples = left.number_input(
        f"Training {samples} to use",
        min_value=1,
        value=start(DataSpec, data, "train_samples"),
        help="For the probes; the same number of each class."
        if task == "classification"
        else "For the probes.",
    )
    val_samples = right.number_input(
        f"Validation {samples} to use",
        min_value=1,
        value=start(DataSpec, data, "val_samples"),
        help="Θ, Γ and accuracies are measured on these.",
    )
    if task == "language":
        taken = {
            "length": left.number_input(
                "Tokens of a sample",
                min_value=1,
                value=start(DataSpec, data, "length"),
                help="Texts are cut into pieces of this length.",
            )
        }
    else:
        taken = _geometry(task, data, left, right, usual=not base)
    class_map = data.get("class_map")
    is_table = isinstance(class_map, dict)
    if task == "classification" and not is_table:  # a table stays as it is
        class_map = st.text_input(
            "Class map",
            value=class_map or "",
            placeholder="/data/classes.txt",
            help="Needed where the folders are not named by WordNet ids: a .txt file with one "
            "class per line, in the order of the anchors' outputs, or a .csv or .json file.",
        )
    buckets = left.number_input(
        "Buckets of cost",
        min_value=1,
        value=start(SelectionSpec, choice, "buckets"),
        help="The best stitch of each is chosen. You can change this later at no cost.",
    )
    settings: dict[str, Any] = {
        "data": {
            "train_samples": train_samples,
            "val_samples": val_samples,
            **taken,
            "class_map": class_map if is_table else (class_map or "").strip() or None,
        },
        "selection": {"buckets": buckets},
    }
    rule = base.get("pairs", "cheaper-first")
    if isinstance(rule, str):
        rules = list(PAIR_RULES)
        settings["pairs"] = st.selectbox(
            "Stitch", rules, index=rules.index(rule), format_func=PAIR_RULES.__getitem__
        )
    else:
        st.caption(f"The {len(rule)} pairs that the study names are stitched.")
    return settings
