from pathlib import Path

import pytest
import timm

from klas.study import load_study

STUDIES = sorted((Path(__file__).resolve().parents[2] / "docs" / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_recipe_is_a_study_of_networks_that_timm_knows_with_weights(path):
    study = load_study(path)
    for anchor in study.anchors:
        assert anchor.model in timm.list_pretrained()
    assert study.data.train.startswith("hfds/")
