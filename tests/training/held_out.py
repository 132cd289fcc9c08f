"""What the evaluation data says, to be sure that nothing made for training shares it."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SIR = [ROOT / f"data/sir/{name}.jsonl" for name in ("authored", "paraphrased", "validation", "test")]
PATHS = [*SIR, ROOT.parent / "shared/data/spiral/dev.jsonl"]


def grams(text: str, size: int = 8) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z']+", text.lower().replace("-", " "))
    return set(zip(*(words[start:] for start in range(size)), strict=False))


def held_out_grams(path: Path) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for line in path.read_text().splitlines():
        sample = json.loads(line)
        found |= grams(" ".join(sentence for turn in sample.get("transcript", ()) for sentence in turn["text"]))
        found |= grams(sample.get("test_question", sample)["question"])
    return found
