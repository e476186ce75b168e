"""Deep features, Cli-DLR, early and late fusion: on columns whose worth is known, and on simulated patients."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special
from sklearn.metrics import roc_auc_score

from llnm.baselines import MODELS, score_baselines
from llnm.baselines.multimodal import _stacked, columns_of
from llnm.cohort import read_patient
from llnm.errors import InputError
from llnm.simulate import write_cohort
from llnm.training.patients import patient_split


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(40, seed=8, out=tmp_path_factory.mktemp("forty") / "cohort")


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


def test_late_fusion_of_independent_parts_is_worth_more_than_each_and_noise_adds_nothing():
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=(4000, width)) for name, width in (("a", 3), ("b", 2), ("noise", 200))}
    logit = columns["a"] @ [1.0, -0.5, 0.0] + columns["b"] @ [0.8, 0.8]
    label = rng.random(4000) < special.expit(logit)
    first, second = ({name: rows[part] for name, rows in columns.items()} for part in (slice(2000), slice(2000, None)))

    def area(parts):
        scores = _stacked(first, second, label[:2000], parts, [], seed=0)
        assert ((scores > 0) & (scores < 1)).all()
        return roc_auc_score(label[2000:], scores)

    best = roc_auc_score(label[2000:], logit[2000:])
    assert area([["a"], ["b"]]) == pytest.approx(best, abs=0.01)
    assert area([["a"], ["b"]]) > max(area([["a"]]), area([["b"]])) + 0.03
    assert area([["a"], ["b"], ["noise"]]) == pytest.approx(best, abs=0.015)


def test_a_patient_is_described_by_what_was_measured(cohort, features):
    items = patient_split(cohort, folds=1, validation_share=0).training[:2]
    columns = columns_of(items, features)
    truth = pd.read_csv(cohort).iloc[:2]
    assert columns["clinic"][:, 0].tolist() == truth["age"].tolist()
    assert columns["clinic"][:, 1].tolist() == (truth["sex"] == "M").astype(float).tolist()
    for row, item in enumerate(items):
        views = read_patient(item.cells, item.folder).case.views.values()
        sizes = [
            max(np.ptp(places) + 1 for places in np.nonzero(view.masks["nodule"])) * view.image.spacing_mm[0]
            for view in views
        ]
        assert columns["clinic"][row, 2] == pytest.approx(max(sizes))


def test_every_model_scores_the_held_back_patients_of_the_split(llnm, cohort, features, tmp_path):
    options = ["--data", cohort, "--cache", features, "--folds", 5, "--fold", 1, "--out", tmp_path]
    code, _, err = llnm("train", "baselines", *options)
    assert code == 0, err
    scores = pd.read_csv(tmp_path / "held_back.csv")
    held_back = patient_split(cohort, fold=1, folds=5).held_back
    assert scores["patient_id"].tolist() == [item.cells["patient_id"] for item in held_back]
    assert scores[list(MODELS)].apply(lambda column: column.between(0, 1).all()).all()


def test_a_split_that_holds_nobody_back_is_refused(cohort, features):
    with pytest.raises(InputError, match="nobody is held back"):
        score_baselines(patient_split(cohort, folds=1), features)


def test_too_few_patients_of_a_class_are_refused(cohort, features):
    split = patient_split(cohort)
    few = replace(split, training=[item for item in split.training if item.label], validation=[])
    with pytest.raises(InputError, match="fewer than 10"):
        score_baselines(few, features)
