"""The grammar of questions: what is read out of them, and what is refused."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sab3r_ros.query.questions import COLOURS, MAX_LENGTH, QuestionError, Relation, parse_question


@pytest.mark.parametrize(("text", "understood"), [
    ("mug", "mug"), ("game controller", "game controller"), ("a black office chair", "black office chair"),
    ("Where is the red mug on the table left of the door?", "red mug on (table left of door)"),
    ("the mug on the table and left of the laptop and near the plate", "mug on table and left of laptop and next to plate"),
    ("find the nearest chair", "nearest chair"), ("chair nearest the door", "chair nearest to door"),
    ("the mug which is standing on the counter", "mug on counter"), ("show me the biggest gray box!", "largest grey box"),
    ("red cabinet, not the door or window", "red cabinet, not door, not window"), ("the cup in front of the tv", "cup in front of tv"),
    ("bottle on top of the fridge", "bottle on fridge"), ("the cup to the left of the plate on the table", "cup left of (plate on table)"),
    ("trash can next to the red cabinet", "trash can next to red cabinet"), ("is there a bathtub?", "bathtub"),
    ("orange", "orange"), ("the orange", "orange"), ("lamp on", "lamp on"), ("in", "in"),
])  # fmt: skip
def test_what_is_understood(text, understood):
    assert str(parse_question(text)) == understood


def test_parts_of_a_question():
    question = parse_question("the smallest red mug on the white table, not the teapot")
    assert (question.name, question.colour, question.superlative) == ("mug", "red", "smallest")
    assert question.negatives == ("teapot",)
    ((relation, anchor),) = question.places
    assert relation == Relation.ON
    assert (anchor.name, anchor.colour) == ("table", "white")
    assert not question.is_plain
    assert parse_question("a mug").is_plain


@pytest.mark.parametrize(("text", "why"), [
    ("", "what to look for"), ("  ?", "what to look for"), ("the", "what to look for"), ("where is the?", "what to look for"),
    ("x" * (MAX_LENGTH + 1), "at most 300 characters"), ("the mug on and under the table", "exclude each other"),
    ("the mug left of the door and right of the door", "exclude each other"), ("the table on the table", "itself"),
    ("mug, not mug", "excludes it"), ("mug on box on book on bag on bed on rug on floor", "more than 4 relations"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(text, why):
    with pytest.raises(QuestionError, match=why):
        parse_question(text)


@pytest.mark.slow
@given(st.text(max_size=400))
def test_any_text_is_a_question_or_refused(text):
    with contextlib.suppress(QuestionError):
        assert parse_question(text).name.strip()


_NAMES = st.sampled_from(["mug", "office chair", "game controller", "trash can", "kettle"])


@given(
    _NAMES,
    st.sampled_from(["", *COLOURS]),
    st.sampled_from(list(Relation)),
    st.sampled_from(["table", "red cabinet", "door"]),
)
def test_what_is_said_is_read_back(name, colour, relation, anchor):
    question = parse_question(f"where is the {colour} {name} {relation.value} the {anchor}?")
    assert (question.name, question.colour) == (name, colour)
    assert question.places[0][0] == relation
    assert question.places[0][1].label == anchor
    assert parse_question(str(question)) == question
