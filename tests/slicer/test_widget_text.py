"""The panel's sentences: pure functions of plain values."""

import pytest
from panel_fixtures import application  # noqa: F401


@pytest.fixture
def text(application):  # noqa: F811
    from LLNMLib import panel_text

    return panel_text


def test_the_permanent_line_says_research_only_and_simulated_patients(text):
    assert "Research use only; not a medical device." in text.notice()
    assert "simulated patients" in text.notice()


def test_the_next_step_is_the_logics_sentence_or_what_can_be_done_while_something_runs(text):
    assert text.next_line("Choose a view.", None) == "Next: Choose a view."
    assert "Cancel" in text.next_line("Choose a view.", "Masks") and "Masks" in text.next_line("", "Masks")


def test_what_comes_from_outside_is_not_taken_for_markup(text):
    from LLNMLib.interfaces import Problem

    assert "<img" not in text.result_text(["<img src=x>"], stale=False)
    assert "<img" not in text.problem_text(Problem("x", "<img>", "<img>"))
    assert "<img" not in text.lines_text(["<img>"])
    assert "<img" not in text.contributions_text({"<img>": 0.1})
    assert "<img" not in text.next_line("<img>", None)


def test_a_stale_result_is_marked(text):
    assert "predict again" in text.result_text(["Risk 10 %"], stale=True)
    assert "predict again" not in text.result_text(["Risk 10 %"], stale=False)
    assert text.result_text([], stale=True) == ""


def test_contributions_are_bars_by_size_with_their_sign(text):
    page = text.contributions_text({"age": -0.05, "texture": 0.2, "sex": 0.0, "report": None})

    assert page.index("texture") < page.index("age") < page.index("sex")
    assert "report" not in page
    assert "+20.0" in page and "-5.0" in page
    assert f'width="90" bgcolor="{text.FOR}"' in page
    assert f'width="22" bgcolor="{text.AGAINST}"' in page


@pytest.mark.parametrize("contributions", [None, {}, {"age": None}, {"age": 0.0}])
def test_without_contributions_there_is_no_chart(text, contributions):
    assert text.contributions_text(contributions) == ""
