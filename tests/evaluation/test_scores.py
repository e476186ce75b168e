"""Bad tables end in a named error or a named exclusion."""

import numpy as np
import pandas as pd
import pytest

from llnm.errors import InputError
from llnm.evaluation import check_scores, read_scores


@pytest.fixture
def a_table(tmp_path):
    """Writes columns as a CSV file; 100 good rows unless told otherwise."""

    def write(**columns):
        rng = np.random.default_rng(0)
        table = {"patient_id": [f"P{i:03}" for i in range(100)], "score": rng.random(100).round(3), "llnm": [0, 1] * 50}
        path = tmp_path / "scores.csv"
        pd.DataFrame({**table, **columns}).to_csv(path, index=False)
        return path

    return write


def read(path, **options):
    return read_scores(path, "llnm", "score", **options)


def test_a_good_table_loses_nothing(a_table):
    scores = read(a_table())
    assert len(scores.score) == scores.patients == 100
    assert scores.excluded == ()
    assert scores.warnings == ()


def test_an_empty_score_is_set_aside_and_named_with_its_row(a_table):
    score = [0.5] * 99 + [None]
    scores = read(a_table(score=score))
    assert len(scores.score) == 99
    assert str(scores.excluded[0]) == "score: empty: 1 row set aside (row 101)"


@pytest.mark.parametrize("corrupt", ["5.09e15", "-0.2", "1.0001", "n/a?"])
def test_an_answer_that_is_no_probability_counts_as_wrong(a_table, corrupt):
    from llnm.evaluation.cells import count
    from llnm.evaluation.discrimination import confusion

    label, score = [0, 1] * 50, ["0.9" if sick else "0.1" for sick in [0, 1] * 50]
    score[0], score[1] = corrupt, corrupt
    scores = read(a_table(score=score, llnm=label))
    assert scores.excluded[0].rows == 2
    assert "counted as wrongly classified" in str(scores.excluded[0])
    counts = confusion(count(scores), 0.5)
    assert {name: int(value) for name, value in counts.items()} == {"tp": 49, "tn": 49, "fp": 1, "fn": 1}
    assert len(scores.answered.score) == 98


def test_percentages_end_in_an_error_that_says_so(a_table):
    with pytest.raises(InputError, match="no percentage"):
        read(a_table(score=np.linspace(0, 100, 100)))


def test_labels_of_1_and_2_need_to_be_told_which_is_the_condition(a_table):
    path = a_table(llnm=[1, 2] * 50)
    with pytest.raises(InputError, match=r"holds 1, 2, not 0 and 1; .*--positive"):
        read(path)
    assert read(path, positive="2").label.sum() == 50


def test_words_are_labels_if_they_are_true_and_false(a_table):
    assert read(a_table(llnm=["True", "false"] * 50)).label.tolist() == [True, False] * 50


def test_one_class_is_an_error(a_table):
    with pytest.raises(InputError, match="100 patients with the condition and 0 without"):
        read(a_table(llnm=[1] * 100))


def test_the_same_row_again_is_set_aside_and_other_rows_of_a_patient_stay_together(a_table):
    patient = [f"P{i // 2:03}" for i in range(100)]
    score = np.random.default_rng(1).random(100)
    score[1] = score[0]
    scores = read(a_table(patient_id=patient, score=score, llnm=[i // 2 % 2 for i in range(100)]))
    assert str(scores.excluded[0]) == "patient_id: the same row again: 1 row set aside (row 3)"
    assert scores.clustered
    assert scores.patients == 50
    assert "49 patients have several rows" in scores.warnings[0]


def test_patients_01_and_1_are_two_patients(a_table):
    patient = [f"{i}" for i in range(98)] + ["01", "001"]
    assert read(a_table(patient_id=patient)).patients == 100


def test_ten_rows_are_measured_with_a_warning():
    scores = check_scores(np.linspace(0, 1, 10), [0, 1] * 5)
    assert "intervals are rough" in scores.warnings[0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"score": [None] * 50 + [0.5] * 50}, "50% of the rows cannot be used"),
        ({"llnm": [0, 1, None, "maybe"] * 25}, "not 0 and 1"),
        ({"llnm": [1] + [0] * 99}, "1 patients with the condition"),
    ],
)
def test_a_table_that_cannot_be_used_ends_in_an_error(a_table, columns, message):
    with pytest.raises(InputError, match=message):
        read(a_table(**columns))


def test_a_missing_column_is_named_with_those_that_are_there(a_table):
    with pytest.raises(InputError, match="no column 'risk'; its columns are patient_id, score, llnm"):
        read_scores(a_table(), "llnm", "risk")


@pytest.mark.parametrize("content", ["", "score,llnm\n", "\x00\x01\x02"])
def test_a_file_that_is_no_table_ends_in_an_error(tmp_path, content):
    path = tmp_path / "scores.csv"
    path.write_text(content)
    with pytest.raises(InputError):
        read(path)


def test_parquet_gives_what_csv_gives(a_table, tmp_path):
    path = a_table()
    pd.read_csv(path).to_parquet(tmp_path / "scores.parquet")
    one, other = read(path), read(tmp_path / "scores.parquet")
    assert np.array_equal(one.score, other.score)
    assert np.array_equal(one.label, other.label)
