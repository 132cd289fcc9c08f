"""Talks with a question about one fact: training samples for speech information retrieval.

Every talk holds, beside the asked fact, others with the same kind of answer about other things or in other roles,
so that a model has to bind the fact to what the question names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

from auricle.errors import OptionError
from auricle.synthesis.dialogue import Turn
from auricle.training.facts import SPEAKER, Fact, FactMaker, Kind, Subject, kinds, kinds_by_answer, overlaps
from auricle.training.grammar import Deck, finish, lexicon, rules
from auricle.training.spoken import ordinal

WORDS = (30, 260)
TYPES = ("lecture", "meeting", "conversation")
FIRST_PERSON = 0.4  # part of the facts about people that are about whoever speaks
JOINED = 0.15  # part of the key sentences that hold a second fact
DENIED = 0.1  # part of the facts said after a wrong value is denied
MOST_VALUES = 6  # of one kind of answer in a talk: there are seven weekdays
OTHER_FACTS = 0.35  # part of the filler that states facts with other kinds of answer
DOMAINS = (
    "animal plant instrument vehicle tool household clothing building land space science computing music art sport "
    "medical law finance farm sea travel school math craft energy past"
)


@dataclass(frozen=True)
class Sample:
    """A talk, a question about it and four answers.

    Attributes:
        id: unique within a seed and a length.
        transcript_type: lecture, meeting or conversation.
        turns: who says what; `spk_1` speaks first, `spk_2` is the second to speak, and so on.
        key_sentence: the one sentence of the turns that holds the answer.
        question: asks for it in other words.
        choices: four distinct answers of one kind.
        correct: the index of the right one.
        others: questions about the other facts of the same kind of answer, with their answers.
    """

    id: str
    transcript_type: str
    turns: tuple[Turn, ...]
    key_sentence: str
    question: str
    choices: tuple[str, str, str, str]
    correct: int
    others: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(sentence for turn in self.turns for sentence in turn.sentences)

    @property
    def asked(self) -> tuple[tuple[str, str], ...]:
        """The question and those about the other facts, with their answers."""
        return ((self.question, self.choices[self.correct]), *self.others)


@dataclass(frozen=True)
class _Told:
    """A sentence with the facts in it: none in filler."""

    text: str
    facts: tuple[Fact, ...] = ()


def samples(seed: int, *, words: int | None = None) -> Iterator[Sample]:
    """Endless samples, the same for the same seed and length.

    Args:
        seed: of every choice.
        words: about how long the talk is, in words; drawn from 30 to 260 for every sample without it.

    Raises:
        OptionError: a length that does not hold the facts.
    """
    if words is not None and words < WORDS[0]:
        raise OptionError(f"a talk of {words} words does not hold its facts: give at least {WORDS[0]}")
    rng = Random(seed)
    composer = _Composer(rng)
    for number in count():
        length = words or rng.randint(*WORDS)
        sample = None
        while sample is None:
            sample = composer.sample(f"{seed}_{number}", length)
        yield sample


class _Composer:
    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._maker = FactMaker()
        self._kinds = Deck([kind.name for kind in kinds()])
        self._by_name = {kind.name: kind for kind in kinds()}
        self._filler = {talk: Deck((*rules("filler")["any"], *rules("filler")[talk])) for talk in TYPES}
        self._shapes = {talk: Deck(lexicon(f"shapes.{talk}")) for talk in TYPES}

    def sample(self, name: str, words: int) -> Sample | None:
        """One sample, or none where two facts came out that the question cannot tell apart."""
        rng, kind = self._rng, self._by_name[self._kinds.draw(self._rng)]
        talk = rng.choice(TYPES)
        key = self._fact(kind, self._subject(rng.choice(kind.groups)))
        facts = [key]
        for _ in range(rng.randint(2, min(MOST_VALUES - 1, 2 + words // 45))):
            facts.append(self._distractor(key, [fact.value for fact in facts]))
        told, denied = self._tell(facts)
        told += self._fill(key, talk, words - _length(told))
        key_told, others = told[0], told[1:]
        rng.shuffle(others)
        place = rng.randrange(len(told))
        told = [*others[:place], key_told, *others[place:]]
        speakers = self._speakers(talk, told)
        if not _clear(key, told, speakers) or _length(told) > words + 20:
            return None
        said_by = _speaker_name(speakers, place)
        question = key.question.replace(SPEAKER, said_by)
        if talk != "lecture" and SPEAKER not in key.question and rng.random() < 0.1:
            question = f"According to {said_by}, {question[0].lower()}{question[1:]}"
        choices, correct = self._choices(kind, key.value, [*(fact.value for fact in facts[1:]), *denied])
        turns = _turns([one.text for one in told], speakers)
        asked = _others(facts[1:], told, speakers)
        return Sample(f"{talk}_{name}", talk, turns, key_told.text, finish(question), choices, correct, asked)

    def _subject(self, group: str, template: str = "") -> Subject:
        if group == "person" and not template and self._rng.random() < FIRST_PERSON:
            return self._maker.first_person()
        return self._maker.subject(group, self._rng, template)

    def _fact(self, kind: Kind, subject: Subject, taken: Sequence[str] = ()) -> Fact:
        return self._maker.fact(kind, subject, self._maker.value(kind, self._rng, taken), self._rng)

    def _distractor(self, key: Fact, taken: Sequence[str]) -> Fact:
        """A fact of the same kind of answer: the same role of another subject, or another role."""
        rng, subject = self._rng, key.subject
        roles = [kind for kind in kinds_by_answer()[key.kind.answer] if kind is not key.kind]
        same_subject = [kind for kind in roles if subject.group in kind.groups]
        chance = rng.random()
        if chance < 0.35 and same_subject:
            return self._fact(rng.choice(same_subject), subject, taken)
        if chance < 0.8 or not roles:
            alike = rng.random() < 0.4 and subject.said != "I" and "{" in subject.template
            return self._fact(key.kind, self._subject(subject.group, subject.template if alike else ""), taken)
        role = rng.choice(roles)
        return self._fact(role, self._subject(rng.choice(role.groups)), taken)

    def _tell(self, facts: Sequence[Fact]) -> tuple[list[_Told], list[str]]:
        """The facts as sentences, the key first, and the values that were denied."""
        rng, rest = self._rng, list(facts)
        told: list[_Told] = []
        denied: list[str] = []
        while rest:
            fact = rest.pop(0)
            inside, clause, lead = [fact], fact.clause, "{lead}"
            if rng.random() < DENIED and len(facts) + len(denied) < MOST_VALUES:
                taken = [*(one.value for one in facts), *denied]
                denied.append(self._maker.value(fact.kind, rng, taken))
                lead = self._maker.grammar.fill("{wrong}", rng, {"b": denied[-1]})
            elif rest and (told or rng.random() < JOINED) and rng.random() < (JOINED if told else 1):
                other = rest.pop(0)
                inside, clause = [fact, other], f"{clause}{{join}} {other.clause}"
            told.append(_Told(finish(self._maker.grammar.fill(f"{lead} {clause}{{after}}.", rng)), tuple(inside)))
        return told, denied

    def _fill(self, key: Fact, talk: str, words: int) -> list[_Told]:
        """Filler of about so many words, of two domains and with other kinds of fact."""
        rng, found = self._rng, list[_Told]()
        domains = rng.sample(DOMAINS.split(), 2)
        while words > 4:
            one = self._filler_sentence(key, talk, rng.choice(domains))
            if len(one.text.split()) > words + 4 or any(one.text == other.text for other in found):
                words -= 1
                continue
            words -= len(one.text.split())
            found.append(one)
        return found

    def _filler_sentence(self, key: Fact, talk: str, domain: str) -> _Told:
        rng, chance = self._rng, self._rng.random()
        if chance < OTHER_FACTS:
            other = rng.choice([kind for kind in kinds() if kind.cluster != key.kind.cluster])
            same = key.subject.group in other.groups and rng.random() < 0.7
            subject = key.subject if same else self._subject(rng.choice(other.groups))
            return self._tell([self._fact(other, subject)])[0][0]
        template = (self._filler if chance < 0.75 else self._shapes)[talk].draw(rng)
        return _Told(finish(self._maker.grammar.fill(template, rng, {"thing": f"{{thing.{domain}}}"})))

    def _choices(self, kind: Kind, right: str, others: Sequence[str]) -> tuple[tuple[str, str, str, str], int]:
        """Four choices; two or three of the wrong ones were heard."""
        rng = self._rng
        heard = [value for value in others if not overlaps(value, right)]
        wrong = rng.sample(heard, min(len(heard), rng.choice((2, 3))))
        while len(wrong) < 3:
            wrong.append(self._maker.value(kind, rng, [right, *wrong]))
        rng.shuffle(wrong)
        correct = rng.randrange(4)
        first, second, third, fourth = (
            value[0].upper() + value[1:] for value in (*wrong[:correct], right, *wrong[correct:])
        )
        return (first, second, third, fourth), correct

    def _speakers(self, talk: str, told: Sequence[_Told]) -> list[tuple[int, int]]:
        """The turn and the speaker of every sentence, both counted from zero; speakers in order of appearance."""
        rng, found = self._rng, list[tuple[int, int]]()
        if talk == "lecture":
            cuts = sorted(rng.sample(range(1, len(told)), min(rng.randrange(3), len(told) - 1)))
            return [(sum(cut <= place for cut in cuts), 0) for place in range(len(told))]
        number, known, speaker, turn = rng.randint(2, 5), 1, 0, 0
        while len(found) < len(told):
            found += [(turn, speaker)] * rng.choice((1, 1, 2, 2, 3, 4))
            others = [one for one in range(min(known + 1, number)) if one != speaker]
            speaker = known if known < number and rng.random() < 0.6 else rng.choice(others)
            known, turn = max(known, speaker + 1), turn + 1
        return found[: len(told)]


def _length(told: Sequence[_Told]) -> int:
    return sum(len(one.text.split()) for one in told)


def _speaker_name(speakers: Sequence[tuple[int, int]], place: int) -> str:
    if all(speaker == 0 for _, speaker in speakers):
        return "the speaker"
    return f"the {ordinal(speakers[place][1] + 1)} speaker"


def _clear(key: Fact, told: Sequence[_Told], speakers: Sequence[tuple[int, int]]) -> bool:
    """Whether only one sentence answers the question, and only once."""
    asked = [
        fact.subject.asked.replace(SPEAKER, _speaker_name(speakers, place)).lower()
        for place, one in enumerate(told)
        for fact in one.facts
        if fact.kind == key.kind
    ]
    texts = [one.text for one in told]
    key_text = next(one.text for one in told if key in one.facts)
    return len(asked) == len(set(asked)) and texts.count(key_text) == 1


def _others(
    facts: Sequence[Fact], told: Sequence[_Told], speakers: Sequence[tuple[int, int]]
) -> tuple[tuple[str, str], ...]:
    """Questions about facts that have one answer only, with it."""
    places = {fact: place for place, one in enumerate(told) for fact in one.facts}
    return tuple(
        (
            finish(fact.question.replace(SPEAKER, _speaker_name(speakers, places[fact]))),
            fact.value[0].upper() + fact.value[1:],
        )
        for fact in facts
        if _clear(fact, told, speakers)
    )


def _turns(texts: Sequence[str], speakers: Sequence[tuple[int, int]]) -> tuple[Turn, ...]:
    turns: dict[tuple[int, int], list[str]] = {}
    for text, speaker in zip(texts, speakers, strict=True):
        turns.setdefault(speaker, []).append(text)
    return tuple(Turn(f"spk_{speaker + 1}", tuple(said)) for (_, speaker), said in turns.items())
