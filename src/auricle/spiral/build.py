"""A set being built: what a folder holds after each step, and what it was begun with.

```
outline.jsonl       what is to be written            `outline`
dialogues/          one transcript a file            `dialogue`
rejected/           replies that could not be used
transcripts.jsonl   instead of the three above, where the transcripts were given
voices.json         voices and seed                  `synthesize`
speech/             recordings and times
checks/             quality of every sample          `check`
report.json         quality of the set
package/            the set                          `package`
```
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auricle.benchmarks.spiral import read_samples
from auricle.errors import DataError, OptionError
from auricle.files import write_json, write_text
from auricle.spiral.dialogue import load_dialogues
from auricle.spiral.outline import Item, load_items, outline, read_json, save_items
from auricle.spiral.schema import SpiralSample, to_json

OUTLINE, TRANSCRIPTS, VOICES = "outline.jsonl", "transcripts.jsonl", "voices.json"


def begin(folder: Path, count: int, seed: int, tree: Any = None) -> tuple[Item, ...]:  # noqa: ANN401 - see `outline`
    """Makes the outline, or finds the same one there.

    Raises:
        OptionError: the folder holds another outline, or given transcripts.
        DataError: the tree, or the outline that is there, is damaged.
    """
    items = outline(count, seed, tree)
    path = folder / OUTLINE
    if (folder / TRANSCRIPTS).exists():
        raise OptionError(
            f"'{folder}' holds given transcripts; name another folder for a set that is written anew."
        )
    if path.exists() and load_items(path) != items:
        raise OptionError(
            f"'{folder}' holds another outline of {len(load_items(path))} samples; give the count, seed and topics"
            " that it was begun with, or name another folder."
        )
    if not path.exists():
        save_items(path, items)
    return items


def begin_with(folder: Path, transcripts: Sequence[SpiralSample]) -> None:
    """Takes transcripts that are there instead of writing them.

    Raises:
        OptionError: the folder holds others.
    """
    text = "".join(json.dumps(to_json(sample), ensure_ascii=False) + "\n" for sample in transcripts)
    path = folder / TRANSCRIPTS
    there = path.read_text(encoding="utf-8") if path.exists() else None
    if (folder / OUTLINE).exists() or there not in (None, text):
        raise OptionError(f"'{folder}' holds another set; name another folder.")
    if there is None:
        write_text(path, text)


def samples_of(folder: Path) -> tuple[SpiralSample, ...]:
    """The transcripts that the folder holds, in the outline's order.

    Raises:
        DataError: there are none yet, or one is damaged.
    """
    if (folder / TRANSCRIPTS).exists():
        return read_samples(folder / TRANSCRIPTS)
    if not (folder / OUTLINE).exists():
        raise DataError(
            f"'{folder}' holds no set; begin one with 'auricle spiral outline' or 'auricle spiral voice'."
        )
    samples = load_dialogues(load_items(folder / OUTLINE), folder)
    if not samples:
        raise DataError(f"'{folder}' holds no dialogues yet; write them with 'auricle spiral dialogue'.")
    return samples


def use_voices(folder: Path, voices: Sequence[str], seed: int) -> None:
    """Notes with which voices and seed the set is voiced.

    Raises:
        OptionError: it was begun with others, so that a voice could change in the middle of the set.
    """
    path, wanted = folder / VOICES, {"voices": list(voices), "seed": seed}
    if not path.exists():
        write_json(path, wanted)
        return
    there = read_json(path)
    if not isinstance(there, dict) or there.keys() != wanted.keys() or not isinstance(there["voices"], list):
        raise DataError(f"'{path}' does not say with which voices the set is voiced; remove it.")
    if there != wanted:
        raise OptionError(
            f"'{folder}' is voiced by {', '.join(there['voices'])} with seed {there['seed']}; go on with these, or"
            f" remove '{path.name}' and 'speech' to begin again."
        )
