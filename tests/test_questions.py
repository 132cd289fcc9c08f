import pytest

from auricle.errors import QueryError
from auricle.questions import check_choices, check_question, list_choices, parse_letter

CHOICES = ("A harbor", "the old mill", "the new mill", "a mill")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(b)", "B"),
        ("B.", "B"),
        ("**B.** the old mill", "B"),
        ("B: the old mill", "B"),
        ("B the old mill, I think", "B"),
        ("The answer is B", "B"),
        ("the correct answer is: (b).", "B"),
        ("Answer: B", "B"),
        ("Option B, because they said so", "B"),
        ("The correct choice is option B.", "B"),
        # A choice's own text, also where it begins with an article that looks like a letter.
        ("A harbor", "A"),
        ("a mill", "D"),
        ("A mill.", "D"),
        ("The Old Mill", "B"),
        ("They meet at the old mill.", "B"),
        ("The answer is a mill", "D"),
        # Neither is clear.
        ("", None),
        ("   ", None),
        ("Because of the weather", None),
        ("Definitely not", None),
        ("I do not know", None),
        ("A boat", None),
        ("A's boat", None),
        ("Z", None),
        ("E", None),
        ("Either the old mill or the new mill", None),
        ("milliner", None),
    ],
)
def test_a_letter_is_read_or_not(answer, expected):
    assert parse_letter(answer, CHOICES) == expected


def test_of_choices_that_contain_each_other_the_longest_counts():
    assert parse_letter("It is 100 meters.", ("10", "100", "1000")) == "B"
    assert parse_letter("At the old harbor of course", ("harbor", "old harbor")) == "B"


def test_a_choice_that_looks_like_a_letter_is_read_as_the_text_it_repeats():
    assert parse_letter("C major", ("C minor", "C major", "D major")) == "B"


def test_question_and_choices_lose_surrounding_space():
    assert check_question("  What? \n") == "What?"
    assert check_choices([" a ", "b\n"]) == ("a", "b")
    assert check_choices([]) == ()


@pytest.mark.parametrize("question", ["", "  ", "\n\t"])
def test_an_empty_question_is_refused(question):
    with pytest.raises(QueryError, match="question is empty"):
        check_question(question)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (["one"], "2 to 26 choices, given 1"),
        ([str(i) for i in range(27)], "given 27"),
        (["a", " ", "c"], "Choice B is empty"),
        (["a", "b", " a"], "Two choices are the same"),
    ],
)
def test_unusable_choices_are_refused(choices, message):
    with pytest.raises(QueryError, match=message):
        check_choices(choices)


def test_choices_are_listed_with_letters_after_the_question():
    lines = list_choices("Where?", ["a harbor", "a mill"]).splitlines()
    assert lines[:3] == ["Where?", "A. a harbor", "B. a mill"]
    assert "letter" in lines[3]
