"""Step two of the builder: a language model writes the dialogues; one file each, so that a run can go on."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event

from auricle.errors import DataError, OptionError
from auricle.files import write_json
from auricle.spiral.chat import Chat, Message
from auricle.spiral.outline import Item, item_from_json, item_to_json, read_json
from auricle.spiral.reply import REASONS, Reason, ReplyError, instructions, parse_reply
from auricle.spiral.schema import SpiralSample, from_json, to_json


@dataclass(frozen=True)
class Rejection:
    """An item for which a model gave no usable reply.

    Attributes:
        item: what it was asked for.
        reasons: what was wrong with each reply, in order.
        message: what was wrong with the last one, as a sentence.
    """

    item: Item
    reasons: tuple[Reason, ...]
    message: str


def write_dialogue(
    item: Item, chat: Chat, attempts: int = 3, earlier: tuple[Reason, ...] = ()
) -> SpiralSample | Rejection:
    """Asks a model for a sample; while its reply breaks a rule, says which and asks again.

    Args:
        item: what to ask for.
        chat: the model.
        attempts: replies after which the item is rejected, at least 1.
        earlier: reasons of an earlier rejection of the item; those of another follow them. The seeds go on after
            theirs, too, because the same seeds may give the same replies.

    Raises:
        OptionError: no attempts.
        EndpointError, ModelError, MissingDependencyError: from the model; none is the sample's fault.
    """
    if attempts < 1:
        raise OptionError(f"attempts is {attempts}; expected at least 1.")
    messages = [Message("user", instructions(item.topic))]
    reasons, problem = list(earlier), ""
    for _ in range(attempts):
        reply = chat.reply(messages, Random(f"{item.id} {len(reasons)}").getrandbits(31))
        try:
            return parse_reply(reply, item)
        except ReplyError as error:
            reasons.append(error.reason)
            problem = str(error)
        again = f"{problem} Give the whole JSON object again, corrected, and nothing else."
        messages += [Message("assistant", reply), Message("user", again)]
    return Rejection(item, tuple(reasons), problem)


def write_dialogues(
    items: Sequence[Item],
    chat: Chat,
    folder: Path,
    concurrency: int = 1,
    *,
    attempts: int = 3,
    retry_rejected: bool = False,
) -> Iterator[Item]:
    """Has a model write the items that are pending, several at a time; a run that was stopped goes on.

    A sample goes to `dialogues/<id>.json` of the folder, a rejection to `rejected/<id>.json`, each when it is
    finished. After an exception, or when the caller stops, nothing new is begun; what was begun is finished and
    kept.

    Args:
        items: the outline.
        chat: the model.
        folder: of the benchmark.
        concurrency: how many are asked for at a time, at least 1.
        attempts: as for `write_dialogue`.
        retry_rejected: asks again for items that were rejected, with other seeds.

    Returns:
        Each item when it is finished, in that order; those that were before are left out.

    Raises:
        OptionError: no attempts, or a concurrency below 1.
        DataError: as for `pending`.
        EndpointError, ModelError, MissingDependencyError: from the model.
    """
    if concurrency < 1:
        raise OptionError(f"concurrency is {concurrency}; expected at least 1.")
    waiting = pending(items, folder, retry_rejected=retry_rejected)
    return _work(waiting, lambda item: _finish(item, chat, folder, attempts), concurrency)


def pending(items: Sequence[Item], folder: Path, *, retry_rejected: bool = False) -> tuple[Item, ...]:
    """The items that `write_dialogues` would ask for: without a dialogue and, unless retried, not rejected.

    Raises:
        DataError: a file in the folder is damaged, or of another outline.
    """
    found = list[Item]()
    for item in items:
        written, refused = _dialogue_file(folder, item), _rejected_file(folder, item)
        if written.exists():
            _read_dialogue(written, item)
            continue
        if refused.exists():
            _read_rejection(refused, item)
        if retry_rejected or not refused.exists():
            found.append(item)
    return tuple(found)


def load_dialogues(items: Sequence[Item], folder: Path) -> tuple[SpiralSample, ...]:
    """The samples that are written, in the order of the items; those rejected or pending are left out.

    Raises:
        DataError: a file in the folder is damaged, or of another outline.
    """
    files = ((_dialogue_file(folder, item), item) for item in items)
    return tuple(_read_dialogue(path, item) for path, item in files if path.exists())


def rejections(folder: Path) -> Counter[Reason]:
    """Why items were rejected: how often each reason was that of an item's last reply. The total is their number.

    Raises:
        DataError: a file of a rejection is damaged.
    """
    paths = sorted((folder / "rejected").glob("[!.]*.json"))  # a dot begins what a killed run left half-written
    return Counter(_read_rejection(path).reasons[-1] for path in paths)


def _work(items: Sequence[Item], finish: Callable[[Item], None], concurrency: int) -> Iterator[Item]:
    stopped = Event()

    def one(item: Item) -> bool:
        if stopped.is_set():
            return False
        try:
            finish(item)
        except BaseException:
            stopped.set()
            raise
        return True

    with ThreadPoolExecutor(concurrency, thread_name_prefix="dialogue") as pool:
        try:
            running = {pool.submit(one, item): item for item in items}
            for future in as_completed(running):
                if future.result():
                    yield running[future]
        finally:
            stopped.set()


def _finish(item: Item, chat: Chat, folder: Path, attempts: int) -> None:
    refused = _rejected_file(folder, item)
    earlier = _read_rejection(refused, item).reasons if refused.exists() else ()
    outcome = write_dialogue(item, chat, attempts, earlier)
    if isinstance(outcome, Rejection):
        record = {"item": item_to_json(item), "reasons": list(outcome.reasons), "message": outcome.message}
        write_json(refused, record)
    else:
        refused.unlink(missing_ok=True)
        write_json(_dialogue_file(folder, item), to_json(outcome))


def _dialogue_file(folder: Path, item: Item) -> Path:
    return folder / "dialogues" / f"{item.id}.json"


def _rejected_file(folder: Path, item: Item) -> Path:
    return folder / "rejected" / f"{item.id}.json"


def _read_dialogue(path: Path, item: Item) -> SpiralSample:
    record = read_json(path)
    try:
        if not isinstance(record, dict):
            raise DataError(f"It is a {type(record).__name__}.")
        sample = from_json(record)
    except DataError as error:
        raise DataError(f"'{path}' holds no dialogue: {error} Delete it to have it written again.") from error
    if (sample.id, sample.topic, sample.test.correct) != (item.id, item.topic, item.correct):
        raise DataError(
            f"'{path}' is of another outline than '{item.id}' about '{item.topic.subtopic}'; choose another folder."
        )
    return sample


def _read_rejection(path: Path, item: Item | None = None) -> Rejection:
    record = read_json(path)
    try:
        if not isinstance(record, dict) or record.keys() != {"item", "reasons", "message"}:
            raise DataError("It is no object with an item, reasons and a message.")
        reasons = record["reasons"]
        if not isinstance(reasons, list) or not reasons or not all(reason in REASONS for reason in reasons):
            raise DataError(f"Its reasons are {reasons}; expected some of {', '.join(REASONS)}.")
        found = Rejection(item_from_json(record["item"]), tuple(reasons), str(record["message"]))
    except DataError as error:
        raise DataError(f"'{path}' holds no rejection: {error} Delete it to have it written again.") from error
    if item is not None and found.item != item:
        raise DataError(
            f"'{path}' is of another outline than '{item.id}' about '{item.topic.subtopic}'; choose another folder."
        )
    return found
