"""Makes `lecture.wav` from the first sample of `data/sir/authored.jsonl`, in piper's voice joe.

Run `auricle models pull voices` and `python examples/voice.py`.
"""

import json
from pathlib import Path

import numpy as np
import soundfile

from auricle.models.mini.wheels import wheels_folder
from auricle.synthesis import Turn, voice, voice_dialogue

HERE = Path(__file__).parent
sample = json.loads((HERE.parent / "data/sir/authored.jsonl").read_text().splitlines()[0])
turns = [Turn(turn["speaker"], tuple(turn["text"])) for turn in sample["transcript"]]
joe = voice("piper/joe", wheels_folder())
spoken = voice_dialogue(turns, {"spk_1": joe}, np.random.default_rng(0), sampling_rate=16_000)
soundfile.write(HERE / "lecture.wav", spoken.waveform, spoken.sampling_rate)
