import itertools
import json
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from auricle.errors import DataError, OptionError
from auricle.spiral.outline import (
    Item,
    item_from_json,
    item_to_json,
    load_items,
    outline,
    own_tree,
    read_tree,
    save_items,
)
from auricle.spiral.schema import TYPES, Topic

TREE = {
    "lecture": {"Science": {"Stones": ["granite", "slate", "chalk"], "Stars": ["giants", "dwarfs", "pulsars"]}},
    "meeting": {"Work": {"Shop": ["rent", "hours"]}},
}


def spread(counts) -> int:
    return max(counts) - min(counts)


def test_there_are_enough_topics_of_every_type():
    tree = own_tree()
    assert list(tree) == list(TYPES)
    for kind, categories in tree.items():
        mains = [name for category in categories.values() for name in category]
        assert len(mains) == len(set(mains)) >= 14, kind
    lists = [topics for kind in tree.values() for category in kind.values() for topics in category.values()]
    assert min(len(set(topics)) for topics in lists) >= 5
    everything = list(itertools.chain(*lists))
    assert len(everything) == len(set(everything)) >= 210


@pytest.mark.parametrize("count", [1, 2, 7, 48, 288, 1000])
@pytest.mark.parametrize("seed", [0, 1])
def test_an_outline_is_balanced(count, seed):
    items = outline(count, seed)
    assert len(items) == count == len({item.id for item in items})
    types = Counter(dict.fromkeys(TYPES, 0))
    types.update(item.topic.transcript_type for item in items)
    assert spread(types.values()) <= 1
    letters = Counter(dict.fromkeys(range(4), 0))
    letters.update(item.correct for item in items)
    assert spread(letters.values()) <= 1
    for kind in TYPES:
        of_type = [item for item in items if item.topic.transcript_type == kind]
        mains = Counter({main: 0 for mains in own_tree()[kind].values() for main in mains})
        mains.update(item.topic.main_topic for item in of_type)
        assert spread(mains.values()) <= 1
        of_type_letters = Counter(dict.fromkeys(range(4), 0))
        of_type_letters.update(item.correct for item in of_type)
        assert spread(of_type_letters.values()) <= 1
        assert [item.id for item in of_type] == [f"{kind}_{number}" for number in range(len(of_type))]


def test_a_subtopic_comes_again_only_when_all_of_its_main_topic_came():
    for count in (100, 288, 700):
        times = defaultdict(Counter)
        for item in outline(count, seed=5):
            times[item.topic.transcript_type, item.topic.main_topic][item.topic.subtopic] += 1
        for subtopics in times.values():
            counts = [*subtopics.values(), *[0] * (6 - len(subtopics))]
            assert spread(counts) <= 1


def test_equal_seeds_give_equal_outlines_and_others_do_not():
    assert outline(50, seed=3) == outline(50, seed=3)
    assert outline(50, seed=3) != outline(50, seed=4)


def test_types_and_letters_come_in_no_order():
    items = outline(600, seed=0)
    pairs = Counter((a.topic.transcript_type, b.topic.transcript_type) for a, b in itertools.pairwise(items))
    assert min(pairs[pair] for pair in itertools.product(TYPES, TYPES)) > 30
    assert min(Counter((a.correct, b.correct) for a, b in itertools.pairwise(items)).values()) > 15


def test_letters_are_even_in_every_main_topic():
    letters = defaultdict(lambda: Counter(dict.fromkeys(range(4), 0)))
    for item in outline(600, seed=0):
        letters[item.topic.transcript_type, item.topic.main_topic][item.correct] += 1
    assert max(spread(counts.values()) for counts in letters.values()) == 1


def test_a_users_tree_is_drawn_from():
    items = outline(10, seed=0, tree=TREE)
    assert Counter(item.topic.transcript_type for item in items) == {"lecture": 5, "meeting": 5}
    assert {item.topic for item in items if item.id.startswith("meeting")} == {
        Topic("meeting", "Shop", "rent", "Work"),
        Topic("meeting", "Shop", "hours", "Work"),
    }


def test_no_samples_are_refused():
    with pytest.raises(OptionError, match="outline of 0 samples"):
        outline(0, seed=0)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "The tree of topics holds '{}'"),
        ({"speech": TREE["meeting"]}, "transcript type 'speech'"),
        ({"lecture": ["Stones"]}, "The type 'lecture' holds"),
        ({"lecture": {"Science": {}}}, "The category 'Science' of 'lecture' holds"),
        ({"lecture": {"Science": {" ": ["granite"]}}}, "The category 'Science' of 'lecture' has an entry without"),
        ({"lecture": {"Science": {"Stones": []}}}, "The main topic 'Stones' holds"),
        ({"lecture": {"Science": {"Stones": "granite"}}}, "The main topic 'Stones' holds 'granite'"),
        ({"lecture": {"Science": {"Stones": ["granite", " "]}}}, "'Stones' has a subtopic without text"),
        ({"lecture": {"Science": {"Stones": ["granite", 3]}}}, "'Stones' has a subtopic without text"),
        ({"lecture": {"Science": {"Stones": ["granite", "Granite "]}}}, "'Stones' has a subtopic twice"),
        ({"lecture": {"A": {"Stones": ["granite"]}, "B": {"Stones": ["slate"]}}}, "main topic 'Stones' twice"),
    ],
)
def test_a_tree_of_another_shape_is_refused(tree, message):
    with pytest.raises(DataError, match=message):
        outline(3, seed=0, tree=tree)


def test_a_tree_is_read_from_a_file(tmp_path):
    path = tmp_path / "topics.json"
    path.write_text(json.dumps(TREE))
    assert outline(6, 1, read_tree(path)) == outline(6, 1, TREE)
    path.write_text("[]")
    with pytest.raises(DataError, match="holds a list; expected a tree"):
        read_tree(path)
    path.write_text("{")
    with pytest.raises(DataError, match=r"topics.json' is not JSON"):
        read_tree(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_tree(tmp_path / "none.json")


def test_items_are_stored_and_read(tmp_path):
    # A line separator is none to a file of JSON lines.
    items = (*outline(20, seed=1), Item("lecture_90", Topic("lecture", "Größe", "\u2028", "Maß"), 2))
    path = tmp_path / "made" / "outline.jsonl"
    save_items(path, items)
    assert load_items(path) == items
    assert len(path.read_text(encoding="utf-8").split("\n")) == 22
    assert [each.name for each in path.parent.iterdir()] == ["outline.jsonl"]


ITEM = outline(1, seed=0)[0]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "expected an object with the fields id, "),
        ({"id": "lecture_0"}, "expected an object with the fields id, "),
        (item_to_json(ITEM) | {"extra": 1}, "expected an object with the fields id, "),
        (item_to_json(ITEM) | {"correct": "1"}, "The field 'correct' is '1'; expected int"),
        (item_to_json(ITEM) | {"correct": True}, "The field 'correct' is True; expected int"),
        (item_to_json(ITEM) | {"correct": 4}, "number 4; expected 0 to 3"),
        (item_to_json(ITEM) | {"subtopic": None}, "The field 'subtopic' is None; expected str"),
        (item_to_json(ITEM) | {"transcript_type": "speech"}, "The transcript type is 'speech'"),
        (item_to_json(ITEM) | {"id": "../../etc"}, "The id is '../../etc'"),
        (item_to_json(ITEM) | {"id": "lecture_x"}, "The id is 'lecture_x'"),
        (item_to_json(ITEM) | {"id": "debate_0"}, "The id is 'debate_0'"),
    ],
)
def test_a_record_that_is_no_item_is_refused(record, message):
    with pytest.raises(DataError, match=message):
        item_from_json(record)


def test_a_damaged_outline_is_refused_with_its_line(tmp_path):
    path = tmp_path / "outline.jsonl"
    save_items(path, outline(3, seed=0))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:20]]))
    with pytest.raises(DataError, match=r"Line 3 of '.*outline.jsonl' is not JSON"):
        load_items(path)
    path.write_text("\n".join([lines[0], "{}"]))
    with pytest.raises(DataError, match=r"Line 2 of '.*' is no item"):
        load_items(path)
    path.write_text("")
    with pytest.raises(DataError, match="Line 1 of"):
        load_items(path)
    path.write_bytes(b"\xff")
    with pytest.raises(DataError, match="cannot be read"):
        load_items(path)
    with pytest.raises(DataError, match="cannot be read"):
        load_items(tmp_path / "none.jsonl")


def test_an_id_twice_is_refused(tmp_path):
    items = outline(3, seed=0)
    save_items(tmp_path / "outline.jsonl", [*items, replace(items[1])])
    with pytest.raises(DataError, match=f"the id '{items[1].id}' twice"):
        load_items(tmp_path / "outline.jsonl")
