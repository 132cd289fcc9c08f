"""Writing dialogues, over real HTTP; `test_dialogue` is the name of the tests of synthesis."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, Raw, serve
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.errors import DataError, EndpointError, OptionError
from auricle.spiral.chat import Chat, EndpointChat
from auricle.spiral.dialogue import (
    Rejection,
    load_dialogues,
    pending,
    rejections,
    write_dialogue,
    write_dialogues,
)
from auricle.spiral.outline import Item, outline
from auricle.spiral.reply import FEWEST_WORDS, MOST_WORDS, REASONS, ReplyError, instructions, parse_reply
from auricle.spiral.schema import SpiralSample, Topic, from_json, to_json

LECTURE = Item("lecture_0", Topic("lecture", "Metals and Glass", "metal foams", "Materials"), 2)
MEETING = Item("meeting_4", Topic("meeting", "Bakery", "a new oven", "Firms"), 0)
KEY = "The foam we cast in Lisbon floated for eleven hundred days."
CHOICES = ["eleven hundred days", "nine hundred days", "four hundred days", "two hundred days"]
FILLER = "Well, you pour the metal slowly and, um, you let the gas do its work inside."  # 16 words


def record(item: Item = LECTURE, sentences: int = 12) -> dict[str, Any]:
    """What a good model replies; 202 words."""
    filler = [f"{FILLER[:-1]} {number}." for number in ("once", "twice", "again", "then", "later", "slowly")]
    said = (filler * 3)[:sentences]
    turns = [{"speaker": "spk_1", "text": [*said[:4], KEY, *said[4:8]]}, {"speaker": "spk_2", "text": said[8:]}]
    if item.topic.transcript_type == "lecture":
        turns[1]["speaker"] = "spk_1"
    return {
        "transcript": turns,
        "original_key_sentence": KEY,
        "test_question": {
            "question": "How long did the foam from Lisbon float?",
            "choices": list(CHOICES),
            "correct_answer": CHOICES[0],
        },
    }


GOOD = json.dumps(record())


def parsed(change: dict[str, Any], item: Item = LECTURE) -> SpiralSample:
    return parse_reply(json.dumps(record(item) | change), item)


def asking(**change: Any) -> dict[str, Any]:
    return {"test_question": record()["test_question"] | change}


# -- the prompt ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", [LECTURE, MEETING], ids=["lecture", "meeting"])
@pytest.mark.parametrize(
    "part",
    [
        "natural-sounding transcript",
        "minute and a half to read aloud",
        "one specific, technical detail that is not common knowledge",
        "unique, such as a certain statistic, a recent event or a personal experience",
        "Surround it with related but different information",
        "Do not flag it",
        "pauses, fillers, brief repetitions) without overdoing",
        "conversational and engaging tone",
        "one JSON object",
        '"original_key_sentence"',
        "four distinct choices without letters, of the same kind",
        "neither by a label nor by a gender",
        "Begin directly with the",
        str(FEWEST_WORDS),
        str(MOST_WORDS),
        "word for word",
        "in words",
    ],
)
def test_the_prompt_holds_every_requirement(item, part):
    assert part in instructions(item.topic)


def test_the_prompt_names_its_topic():
    text = instructions(LECTURE.topic)
    assert 'a lecture about "metal foams" within "Metals and Glass" (category: "Materials")' in text
    assert "category" not in instructions(replace(LECTURE.topic, category=""))
    assert "a {foam}" in instructions(replace(LECTURE.topic, subtopic="a {foam}"))


def test_lectures_and_talks_of_many_are_asked_for_in_their_own_way():
    lecture, meeting = instructions(LECTURE.topic), instructions(MEETING.topic)
    conversation = instructions(replace(MEETING.topic, transcript_type="conversation"))
    assert 'One speaker, "spk_1"' in lecture
    assert "educational lecture" in lecture
    assert "spk_5" not in lecture
    for text in (meeting, conversation):
        assert 'Two to five speakers, labelled "spk_1" to "spk_5", each with several turns' in text
        assert "different views" in text
        assert "educational" not in text
    assert "The conversation\n" in conversation


def test_the_form_in_the_prompt_is_the_one_that_is_read():
    text = instructions(LECTURE.topic)
    form = json.loads(text[text.index("{") :])
    stored = to_json(parse_reply(GOOD, LECTURE))
    assert form.keys() == stored.keys() - {"metadata"}
    assert form["test_question"].keys() == stored["test_question"].keys()
    assert form["transcript"][0].keys() == stored["transcript"][0].keys()


# -- reading a reply -----------------------------------------------------------------------------------------------


def test_a_good_reply_is_a_sample():
    sample = parse_reply(GOOD, LECTURE)
    assert (sample.id, sample.topic, sample.key_sentence) == ("lecture_0", LECTURE.topic, KEY)
    assert sample.speakers == ("spk_1",)
    assert [list(turn.sentences) for turn in sample.turns] == [turn["text"] for turn in record()["transcript"]]
    assert sample.test.question == "How long did the foam from Lisbon float?"
    assert FEWEST_WORDS < sample.words < MOST_WORDS
    assert from_json(to_json(sample)) == sample
    assert parse_reply(json.dumps(record(MEETING)), MEETING).speakers == ("spk_1", "spk_2")


@pytest.mark.parametrize("correct", range(4))
def test_the_right_choice_stands_where_the_item_wants_it(correct):
    sample = parse_reply(GOOD, replace(LECTURE, correct=correct))
    assert sample.test.correct == correct
    assert sample.test.choices[correct] == CHOICES[0]
    assert sorted(sample.test.choices) == sorted(CHOICES)


def test_the_wrong_choices_are_shuffled_by_the_id():
    def wrong(item):
        return [choice for choice in parse_reply(GOOD, item).test.choices if choice != CHOICES[0]]

    assert wrong(LECTURE) == wrong(replace(LECTURE, correct=0))
    orders = {tuple(wrong(replace(LECTURE, id=f"lecture_{number}"))) for number in range(40)}
    assert len(orders) == 6


@pytest.mark.parametrize(
    "reply",
    [
        f"```json\n{GOOD}\n```",
        f"Here it is {{as asked}}:\n\n{GOOD}\n\nI hope it helps :-}}",
        f"<think>A detail... {{maybe}} {{}}</think>{GOOD}",
        json.dumps(record(), indent=4),
        json.dumps(record() | {"notes": {"unasked": 1}}),
        GOOD.replace(KEY, KEY.replace(" cast ", "\n cast\t")),  # line breaks within JSON texts
    ],
)
def test_what_stands_around_the_object_does_not_matter(reply):
    assert parse_reply(reply, LECTURE) == parse_reply(GOOD, LECTURE)


@pytest.mark.parametrize(
    "given",
    [
        KEY.removesuffix("."),
        KEY.upper(),
        f'"{KEY}"',
        f"\u201c{KEY}\u201d",
        f" {KEY.replace(' ', '  ')}\n",
        KEY.replace(".", "!"),
        KEY.replace("Lisbon", '"Lisbon"'),
    ],
)
def test_a_key_sentence_is_mended_to_the_words_of_the_transcript(given):
    assert parsed({"original_key_sentence": given}) == parse_reply(GOOD, LECTURE)


@pytest.mark.parametrize("letters", ["ABCD", "abcd"])
@pytest.mark.parametrize("pattern", ["{}", "{}.", "({})", "{})", "{}. {text}", "{}) {text}", "({}) {text}"])
def test_an_answer_may_be_a_letter_or_a_text_with_one(letters, pattern):
    given = pattern.format(letters[1], text=CHOICES[1])
    sample = parsed(asking(correct_answer=given))
    assert sample.test.choices[LECTURE.correct] == CHOICES[1]


def test_letters_before_choices_are_taken_off():
    lettered = [f"{letter}. {choice}" for letter, choice in zip("ABCD", CHOICES, strict=True)]
    for answer in ("C", CHOICES[2], lettered[2], "C) " + CHOICES[2], CHOICES[2].upper() + "."):
        sample = parsed(asking(choices=lettered, correct_answer=answer))
        assert sorted(sample.test.choices) == sorted(CHOICES)
        assert sample.test.choices[LECTURE.correct] == CHOICES[2]


def test_a_choice_that_is_a_letter_counts_as_its_text():
    sample = parsed(asking(choices=["D", "C", "B", "A"], correct_answer="A"))
    assert sample.test.choices[LECTURE.correct] == "A"


def said(*sentences: str) -> dict[str, Any]:
    """A transcript with these sentences beside what makes up its length."""
    filler = [turn["text"] for turn in record()["transcript"]][1] * 2
    return {"transcript": [{"speaker": "spk_1", "text": [*filler, *sentences, *filler]}]}


def labelled(*speakers: Any) -> dict[str, Any]:
    turns = record()["transcript"]
    return {"transcript": [turn | {"speaker": name} for turn, name in zip(turns, speakers, strict=True)]}


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("schema", {"transcript": []}, "not an array of turns"),
    ("schema", {"transcript": "spk_1: hello"}, "not an array of turns"),
    ("schema", {"transcript": ["hello"]}, "Turn 1 has no array"),
    ("schema", {"transcript": [{"speaker": "spk_1", "text": KEY}]}, "Turn 1 has no array"),
    ("schema", {"transcript": [{"speaker": "spk_1", "text": []}]}, "Turn 1 has no array"),
    ("schema", {"transcript": [{"speaker": "spk_1", "text": [KEY, 3]}]}, "A sentence of turn 1 is '3'"),
    ("schema", {"transcript": [{"speaker": "spk_1", "text": [KEY, " "]}]}, "A sentence of turn 1 is ' '"),
    ("schema", {"transcript": [{"speaker": "spk_1", "text": [KEY, "..."]}]}, "expected a text that can be spoken"),
    (
        "schema",
        {"transcript": [{"speaker": "spk_1", "text": ["\ud83d foam"]}]},
        "expected a text that can be spoken",
    ),
    ("schema", {"transcript": [{"text": [KEY]}]}, "The speaker of turn 1 is 'None'"),
    ("schema", {"original_key_sentence": None}, "original_key_sentence is 'None'"),
    ("schema", {"original_key_sentence": [KEY]}, "original_key_sentence is"),
    ("schema", {"test_question": None}, "'test_question' is no object"),
    ("schema", asking(choices=None), "array of choices"),
    ("schema", asking(choices=dict(zip("ABCD", CHOICES, strict=True))), "array of choices"),
    ("schema", asking(choices=[*CHOICES[:3], ""]), "A choice is ''"),
    ("schema", asking(choices=[*CHOICES[:3], 4]), "A choice is '4'"),
    ("schema", asking(question=""), "The question is ''"),
    ("schema", asking(correct_answer=0), "'correct_answer' is '0'"),
    ("speakers", labelled("spk_1", "spk_2"), "The speakers are spk_1, spk_2; expected only spk_1"),
    ("speakers", labelled("spk_2", "spk_2"), "expected only spk_1"),
    ("speakers", labelled("Ann", "Ann"), "The speakers are Ann; expected only spk_1"),
    ("speakers", said(KEY, "Thank you, spk_2, for that."), "The label spk_2"),
    ("speakers", asking(question="What did spk_1 say?"), "The label spk_1"),
    ("length", {"transcript": [{"speaker": "spk_1", "text": [KEY, FILLER]}]}, "has 27 words; expected 150 to 300"),
    ("length", {"transcript": [{"speaker": "spk_1", "text": [KEY] + [FILLER] * 20}]}, "has 331 words"),
    ("key-sentence", {"original_key_sentence": "Nobody says this."}, "is 0 times an element .* and 0 times a part"),
    ("key-sentence", {"original_key_sentence": KEY.replace("days", "nights")}, "is 0 times an element"),
    (
        "key-sentence",
        {"original_key_sentence": "The foam we cast in Lisbon"},
        "0 times an element .* and 1 times a part",
    ),
    ("key-sentence", {"original_key_sentence": KEY.replace(" in", ", in")}, "is 0 times an element"),
    ("key-sentence", said(KEY, KEY.upper()), "is 2 times an element"),
    ("key-sentence", said(KEY, f"As they say: {KEY} Right?"), "is 1 times an element .* and 1 times a part"),
    ("choices", asking(choices=CHOICES[:3]), "expected four distinct ones"),
    ("choices", asking(choices=[*CHOICES, "ten days"]), "expected four distinct ones"),
    ("choices", asking(choices=[*CHOICES[:3], "Four  hundred days."]), "expected four distinct ones"),
    ("choices", asking(choices=[f"{a}. {c}" for a, c in zip("BADC", CHOICES, strict=True)]), "have letters"),
    ("choices", asking(choices=[f"{a}) {c}" for a, c in zip("abcd", CHOICES, strict=True)]), "have letters"),
    ("choices", asking(choices=[*CHOICES[:3], "All of the above"]), "refer to each other"),
    ("choices", asking(choices=[*CHOICES[:3], "none of these"]), "refer to each other"),
    ("choices", asking(choices=[*CHOICES[:3], "Both A and B"]), "refer to each other"),
    ("answer", asking(correct_answer="ten days"), "'correct_answer' is 'ten days'"),
    ("answer", asking(correct_answer="E"), "'correct_answer' is 'E'"),
    ("answer", asking(correct_answer="B. " + CHOICES[0]), "'correct_answer' is 'B. eleven"),
    ("question", asking(question="Tell me how long it floated."), "end it with a question mark"),
    ("question", asking(question="Did it float for Eleven hundred days?"), "contains its answer"),
]


@pytest.mark.parametrize(("reason", "change", "message"), BAD)
def test_a_reply_that_breaks_a_rule_is_refused(reason, change, message):
    with pytest.raises(ReplyError, match=message) as caught:
        parsed(change)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("speakers", "message"),
    [
        (("spk_1", "spk_1"), "The speakers are spk_1; expected two to five of spk_1 to spk_5"),
        (("spk_1", "spk_6"), "The speakers are spk_1, spk_6"),
        (("spk_1", "Ann"), "The speakers are Ann, spk_1"),
    ],
)
@pytest.mark.parametrize("kind", ["meeting", "conversation"])
def test_speakers_of_a_talk_of_many_are_checked(kind, speakers, message):
    item = Item(f"{kind}_0", replace(MEETING.topic, transcript_type=kind), 0)
    with pytest.raises(ReplyError, match=message) as caught:
        parsed(labelled(*speakers), item)
    assert caught.value.reason == "speakers"


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I cannot do that.",
        GOOD[:-1],
        GOOD[:400],
        GOOD + GOOD,
        "[1, 2]",
        json.dumps({"sample": 1}),
        '{"a":' * 3000,
    ],
)
def test_a_reply_without_one_whole_object_is_refused(reply):
    with pytest.raises(
        ReplyError, match="complete JSON objects with a 'transcript'; expected exactly one"
    ) as caught:
        parse_reply(reply, LECTURE)
    assert caught.value.reason == "no-json"


def test_every_reason_comes_up():
    assert {reason for reason, _, _ in BAD} | {"no-json"} == set(REASONS)


@pytest.mark.parametrize(("words", "fits"), [(149, False), (150, True), (300, True), (301, False)])
def test_the_bounds_of_the_length_belong_to_it(words, fits):
    text = [KEY, " ".join(["so"] * (words - len(KEY.split())))]
    change = {"transcript": [{"speaker": "spk_1", "text": text}]}
    if fits:
        assert parsed(change).words == words
    else:
        with pytest.raises(ReplyError, match=f"has {words} words"):
            parsed(change)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([KEY, *CHOICES]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
PLACES = st.sampled_from(
    [
        ("transcript",),
        ("transcript", 0),
        ("transcript", 0, "text"),
        ("transcript", 0, "text", 4),
        ("transcript", 1, "speaker"),
        ("original_key_sentence",),
        ("test_question",),
        ("test_question", "question"),
        ("test_question", "choices"),
        ("test_question", "choices", 0),
        ("test_question", "correct_answer"),
    ]
)


@given(place=PLACES, value=JSON)
@settings(deadline=None, max_examples=200, database=None)
def test_whatever_a_model_puts_in_is_refused_or_holds_to_the_rules(place, value):
    changed: Any = record()
    inner = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    try:
        sample = parse_reply(json.dumps(changed), LECTURE)
    except ReplyError:
        return
    assert from_json(json.loads(json.dumps(to_json(sample)))) == sample
    assert [sentence for turn in sample.turns for sentence in turn.sentences].count(sample.key_sentence) == 1
    assert len(set(sample.test.choices)) == 4
    assert FEWEST_WORDS <= sample.words <= MOST_WORDS


@given(st.text())
@settings(deadline=None, max_examples=100, database=None)
def test_no_text_breaks_the_reading(text):
    with pytest.raises(ReplyError):
        parse_reply(text, LECTURE)


# -- asking --------------------------------------------------------------------------------------------------------


@contextmanager
def asked(respond: Any) -> Iterator[tuple[ChatServer, Chat]]:
    """A server, and a chat that asks it without patience."""
    with serve(respond) as server:
        yield server, EndpointChat("small", server.url, max_retries=1)


def subject(body: dict[str, Any]) -> str:
    """What a request is about."""
    return str(body["messages"][0]["content"].split('about "')[1].split('"')[0])


def writer(items: tuple[Item, ...]) -> Any:
    """A model that writes well."""
    by_topic = {item.topic.subtopic: item for item in items}
    return lambda body: json.dumps(record(by_topic[subject(body)]))


def test_a_good_reply_is_taken_at_once():
    with asked(lambda _: GOOD) as (server, chat):
        assert write_dialogue(LECTURE, chat) == parse_reply(GOOD, LECTURE)
    (body,) = server.bodies
    assert body["messages"] == [{"role": "user", "content": instructions(LECTURE.topic)}]


def test_a_bad_reply_is_asked_for_again_with_what_is_wrong():
    bad = json.dumps(record() | {"original_key_sentence": "Nobody says this."})
    replies = iter(["Sure!", bad, GOOD])
    with asked(lambda _: next(replies)) as (server, chat):
        assert write_dialogue(LECTURE, chat) == parse_reply(GOOD, LECTURE)
    first, second, third = (body["messages"] for body in server.bodies)
    assert second[0] == third[0] == first[0]
    assert [message["role"] for message in third] == ["user", "assistant", "user", "assistant", "user"]
    assert second == third[:3]
    assert third[1]["content"] == "Sure!"
    assert "holds 0 complete JSON objects" in third[2]["content"]
    assert third[3]["content"] == bad
    assert "'Nobody says this.' is 0 times an element" in third[4]["content"]
    assert all("Give the whole JSON object again" in third[place]["content"] for place in (2, 4))


def test_only_bad_replies_are_a_rejection():
    replies = iter(["Sure!", json.dumps(record() | asking(choices=CHOICES[:2])), "Well."])
    with asked(lambda _: next(replies)) as (server, chat):
        outcome = write_dialogue(LECTURE, chat)
    assert isinstance(outcome, Rejection)
    assert (outcome.item, outcome.reasons) == (LECTURE, ("no-json", "choices", "no-json"))
    assert "holds 0 complete JSON objects" in outcome.message
    assert len(server.bodies) == 3


def test_seeds_come_from_the_item_and_the_attempt():
    with asked(lambda _: "Sure!") as (server, chat):
        first = write_dialogue(LECTURE, chat, attempts=2)
        write_dialogue(LECTURE, chat, attempts=2)
        write_dialogue(MEETING, chat, attempts=2)
        later = write_dialogue(LECTURE, chat, 1, first.reasons)
    seeds = [body["seed"] for body in server.bodies]
    assert seeds[:2] == seeds[2:4]
    assert len({*seeds[:2], *seeds[4:]}) == 5
    assert later.reasons == ("no-json",) * 3


def test_a_failing_endpoint_is_not_the_samples_fault():
    with asked(lambda _: Raw(500)) as (server, chat), pytest.raises(EndpointError, match="status 500"):
        write_dialogue(LECTURE, chat)
    assert len(server.bodies) == 2


def test_at_least_one_attempt_is_needed(tmp_path):
    with asked(lambda _: GOOD) as (server, chat):
        with pytest.raises(OptionError, match="attempts is 0"):
            write_dialogue(LECTURE, chat, attempts=0)
        with pytest.raises(OptionError, match="attempts is 0"):
            list(write_dialogues([LECTURE], chat, tmp_path, attempts=0))
        with pytest.raises(OptionError, match="concurrency is 0"):
            write_dialogues([LECTURE], chat, tmp_path, 0)
    assert not server.bodies


# -- the whole outline ---------------------------------------------------------------------------------------------

ITEMS = outline(8, seed=2)


def test_every_item_is_written_and_read_in_the_order_of_the_outline(tmp_path):
    with asked(writer(ITEMS)) as (server, chat):
        done = list(write_dialogues(ITEMS, chat, tmp_path, 3))
        server.wait_until_left()
    assert sorted(done, key=ITEMS.index) == list(ITEMS)
    samples = load_dialogues(ITEMS, tmp_path)
    assert [sample.id for sample in samples] == [item.id for item in ITEMS]
    assert [(sample.topic, sample.test.correct) for sample in samples] == [
        (item.topic, item.correct) for item in ITEMS
    ]
    assert Counter(sample.test.correct for sample in samples) == {0: 2, 1: 2, 2: 2, 3: 2}
    assert sorted(path.name for path in (tmp_path / "dialogues").iterdir()) == sorted(
        f"{item.id}.json" for item in ITEMS
    )
    assert not rejections(tmp_path)
    assert pending(ITEMS, tmp_path) == ()


def test_requests_overlap_as_many_as_asked_for(tmp_path):
    together = threading.Barrier(4)
    good = writer(ITEMS)

    def respond(body):
        together.wait(30)  # breaks unless four are in work at a time
        return good(body)

    with asked(respond) as (server, chat):
        assert len(list(write_dialogues(ITEMS, chat, tmp_path, 4))) == 8
    assert server.most == 4


def test_a_run_that_failed_goes_on_without_asking_twice(tmp_path):
    good = writer(ITEMS)
    broken = [True]

    def respond(body):
        return Raw(401) if broken[0] and len(server.bodies) == 4 else good(body)

    with asked(respond) as (server, chat):
        done = []
        with pytest.raises(EndpointError, match="status 401"):
            done.extend(write_dialogues(ITEMS, chat, tmp_path))
        assert len(server.bodies) == 4  # nothing new was begun
        broken[0] = False
        assert pending(ITEMS, tmp_path) == ITEMS[3:]
        assert list(write_dialogues(ITEMS, chat, tmp_path)) == list(ITEMS[3:])
        assert list(write_dialogues(ITEMS, chat, tmp_path)) == []
    times = Counter(subject(body) for body in server.bodies)
    assert times == {item.topic.subtopic: 1 + (item == ITEMS[3]) for item in ITEMS}
    assert len(load_dialogues(ITEMS, tmp_path)) == 8


def test_what_was_begun_is_finished_and_kept_when_another_item_fails(tmp_path):
    failed = threading.Event()
    good = writer(ITEMS)

    def respond(body):
        if subject(body) == ITEMS[1].topic.subtopic:
            threading.Timer(0.3, failed.set).start()
            return Raw(401)
        assert failed.wait(30)
        return good(body)

    with asked(respond) as (server, chat), pytest.raises(EndpointError, match="status 401"):
        list(write_dialogues(ITEMS, chat, tmp_path, 2))
    assert len(server.bodies) == 2
    assert [sample.id for sample in load_dialogues(ITEMS, tmp_path)] == [ITEMS[0].id]


def test_nothing_is_begun_after_a_failure_while_the_caller_looks_away(tmp_path):
    good = writer(ITEMS)
    with asked(lambda body: Raw(401) if len(server.bodies) == 2 else good(body)) as (server, chat):
        run = write_dialogues(ITEMS, chat, tmp_path)
        assert next(run) == ITEMS[0]
        until = time.monotonic() + 30
        while len(server.bodies) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.3)
        assert len(server.bodies) == 2
        with pytest.raises(EndpointError, match="status 401"):
            next(run)


def test_a_caller_who_stops_loses_nothing(tmp_path):
    with asked(writer(ITEMS)) as (server, chat):
        run = write_dialogues(ITEMS, chat, tmp_path, 2)
        first = next(run)
        run.close()
        begun = len(server.bodies)
        assert begun < len(ITEMS)
        assert len(load_dialogues(ITEMS, tmp_path)) == begun
        assert first not in pending(ITEMS, tmp_path)
        list(write_dialogues(ITEMS, chat, tmp_path, 2))
    assert len(server.bodies) == len(ITEMS)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dialogue")]


def test_rejections_are_kept_counted_and_not_asked_again_unless_wanted(tmp_path):
    good, patience = writer(ITEMS), {ITEMS[1].topic.subtopic: 2, ITEMS[4].topic.subtopic: 4}
    asked_for = Counter()

    def respond(body):
        asked_for[subject(body)] += 1
        if asked_for[subject(body)] <= patience.get(subject(body), 0):
            return "Sure!" if asked_for[subject(body)] == 1 else json.dumps(record() | {"transcript": []})
        return good(body)

    with asked(respond) as (server, chat):
        assert len(list(write_dialogues(ITEMS, chat, tmp_path, attempts=2))) == 8
        assert rejections(tmp_path) == {"schema": 2}
        assert [sample.id for sample in load_dialogues(ITEMS, tmp_path)] == [
            item.id for item in ITEMS if item not in (ITEMS[1], ITEMS[4])
        ]
        assert list(write_dialogues(ITEMS, chat, tmp_path, attempts=2)) == []
        assert pending(ITEMS, tmp_path, retry_rejected=True) == (ITEMS[1], ITEMS[4])
        again = list(write_dialogues(ITEMS, chat, tmp_path, attempts=2, retry_rejected=True))
    assert again == [ITEMS[1], ITEMS[4]]
    assert asked_for == {item.topic.subtopic: {ITEMS[1]: 3, ITEMS[4]: 4}.get(item, 1) for item in ITEMS}
    assert [path.name for path in (tmp_path / "rejected").iterdir()] == [f"{ITEMS[4].id}.json"]
    stored = json.loads((tmp_path / "rejected" / f"{ITEMS[4].id}.json").read_text())
    assert stored["reasons"] == ["no-json", "schema", "schema", "schema"]
    assert "not an array of turns" in stored["message"]
    seeds = [body["seed"] for body in server.bodies if subject(body) == ITEMS[4].topic.subtopic]
    assert len(set(seeds)) == 4
    assert len(load_dialogues(ITEMS, tmp_path)) == 7


def damage(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"transcript": [', "is not JSON"),
        ("[]", "holds no dialogue: It is a list"),
        ("{}", "holds no dialogue: .*Delete it"),
        (json.dumps(to_json(parse_reply(GOOD, LECTURE))), "is of another outline"),
    ],
)
def test_a_damaged_or_foreign_dialogue_is_not_taken_for_one(tmp_path, text, message):
    item = replace(LECTURE, topic=replace(LECTURE.topic, subtopic="another"))
    damage(tmp_path / "dialogues" / "lecture_0.json", text)
    with asked(lambda _: GOOD) as (server, chat):
        with pytest.raises(DataError, match=rf"lecture_0.json' {message}"):
            write_dialogues([item], chat, tmp_path)
        with pytest.raises(DataError, match=rf"lecture_0.json' {message}"):
            load_dialogues([item], tmp_path)
    assert not server.bodies


@pytest.mark.parametrize(
    "foreign", [replace(LECTURE, id="lecture_1"), replace(LECTURE, correct=1)], ids=["id", "correct"]
)
def test_a_dialogue_of_another_id_or_letter_is_foreign(tmp_path, foreign):
    damage(tmp_path / "dialogues" / "lecture_0.json", json.dumps(to_json(parse_reply(GOOD, foreign))))
    with pytest.raises(DataError, match="of another outline than 'lecture_0'"):
        pending([LECTURE], tmp_path)


REFUSED = {
    "item": {
        "id": "lecture_0",
        "transcript_type": "lecture",
        "category": "Materials",
        "main_topic": "Metals and Glass",
        "subtopic": "metal foams",
        "correct": 2,
    },
    "reasons": ["schema"],
    "message": "No.",
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("[]", "holds no rejection: It is no object with an item"),
        (json.dumps(REFUSED | {"reasons": []}), "holds no rejection: Its reasons are"),
        (json.dumps(REFUSED | {"reasons": 5}), "holds no rejection: Its reasons are"),
        (json.dumps(REFUSED | {"reasons": ["taste"]}), "holds no rejection: Its reasons are"),
        (json.dumps(REFUSED | {"item": {}}), "holds no rejection: It is {}; expected an object"),
    ],
)
def test_a_damaged_rejection_is_not_taken_for_one(tmp_path, text, message):
    damage(tmp_path / "rejected" / "lecture_0.json", text)
    for retry in (False, True):
        with pytest.raises(DataError, match=rf"lecture_0.json' {message}"):
            pending([LECTURE], tmp_path, retry_rejected=retry)
    with pytest.raises(DataError, match=rf"lecture_0.json' {message}"):
        rejections(tmp_path)


def test_a_rejection_of_another_outline_is_foreign(tmp_path):
    damage(tmp_path / "rejected" / "lecture_0.json", json.dumps(REFUSED))
    assert pending([LECTURE], tmp_path) == ()
    with pytest.raises(DataError, match="of another outline than 'lecture_0'"):
        pending([replace(LECTURE, correct=1)], tmp_path)


def test_what_a_killed_run_left_half_written_is_passed_over(tmp_path):
    damage(tmp_path / "rejected" / "lecture_0.json", json.dumps(REFUSED))
    damage(tmp_path / "rejected" / ".lecture_1-ab12.json", '{"item"')
    assert rejections(tmp_path) == {"schema": 1}
    assert rejections(tmp_path / "none") == {}
