"""Small sets in the layouts that the readers know, with recordings of noise."""

import json
from pathlib import Path

import soundfile

from auricle.audio import SAMPLE_RATE
from fakes import noise

CHOICES = ["A. red", "B. green", "C. blue", "D. grey"]


def spiral_record(name: str, right: int = 1, **audio_data: object) -> dict:
    """A record as published; `audio_data` adds to its field of that name."""
    return {
        "transcript": [
            {"speaker": "spk_1", "text": ["We painted the shed.", "It is green now."]},
            {"speaker": "spk_2", "text": ["I liked the red."]},
        ],
        "original_key_sentence": "It is green now.",
        "test_question": {
            "question": "Which color is the shed?",
            "choices": CHOICES,
            "correct_answer": CHOICES[right],
        },
        "metadata": {
            "main_topic": "Home",
            "subtopic": "Paint",
            "transcript_type": "conversation" if int(name[-1]) % 2 else "meeting",
            "id": name,
        },
        "audio_data": {"combined": {"audio_files": [f"{name}.wav"], "audio_folder": "spiral/wavs"}, **audio_data},
    }


def write_spiral(folder: Path, count: int = 4, seconds: float = 40.0, wavs: str = "wavs") -> Path:
    """A set with evidence times, its recordings in `wavs`."""
    (folder / wavs).mkdir(parents=True)
    lines = []
    for i in range(count):
        name = f"set_{i}"
        span = [[seconds * (i % 3) / 3 + 1, seconds * (i % 3) / 3 + 4]]
        lines.append(json.dumps(spiral_record(name, i % 4, evidence=span)))
        soundfile.write(folder / wavs / f"{name}.wav", noise(seconds, i), SAMPLE_RATE)
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
    return folder
