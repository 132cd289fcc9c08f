"""How well auricle-mini's connector hears: word error of greedy CTC, and recall of words that training never had.

    python bench/ear.py --sentences 200 --seed 0 --voices-files DIR --work DIR [--training-text FOLDER]

The sentences are drawn from `data/sir/authored.jsonl`, which nothing is trained on. Voices of training and voices
never trained on stand apart. Prints Markdown.
"""

import argparse
import hashlib
import json
from pathlib import Path

import jiwer
import numpy as np
import soundfile
import torch
from scipy.stats import bootstrap

import auricle
from auricle.audio import SAMPLE_RATE
from auricle.models.mini.connector import greedy
from auricle.models.mini.pieces import Pieces, normalize
from auricle.synthesis import voice
from auricle.synthesis.dialogue import resample, trim
from auricle.training.speech import load_shard

DATA = Path(__file__).parent.parent / "data/sir/authored.jsonl"
TRAINED = ("flite/slt", "flite/awb", "flite/rms", "flite/kal16", "piper/joe", "espeak/en-us")
UNSEEN = ("kokoro/jf_alpha", "kokoro/jm_kumo")


def sentences() -> list[str]:
    samples = [json.loads(line) for line in DATA.read_text().splitlines()]
    return [s for sample in samples for turn in sample["transcript"] for s in turn["text"]]


def spoken(name: str, files: Path, texts: list[str], work: Path) -> list[np.ndarray]:
    """The texts in a voice, at 16 kHz; what was spoken before is in `work`."""
    folder = work / name.replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    wavs = [folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.wav" for text in texts]
    missing = [(text, wav) for text, wav in zip(texts, wavs, strict=True) if not wav.exists()]
    if missing:
        speeches = voice(name, files).speak_all([text for text, _ in missing])
        for (_, wav), speech in zip(missing, speeches, strict=True):
            partial = wav.with_suffix(".part")
            waveform = resample(trim(speech), SAMPLE_RATE).waveform
            soundfile.write(partial, waveform, SAMPLE_RATE, format="WAV", subtype="FLOAT")
            partial.replace(wav)
    return [soundfile.read(wav, dtype="float32")[0] for wav in wavs]


def transcribe(lm: "auricle.SpeechLM", pieces: Pieces, waveforms: list[np.ndarray]) -> list[str]:
    heard = []
    for waveform in waveforms:
        features, lengths = lm.processor.features([waveform])
        with torch.inference_mode():
            logits = lm.model.hear(features)[0, : int(lengths[0])]
        heard.append(pieces.decode(greedy(logits)))
    return heard


def interval(errors: list[int], words: list[int]) -> tuple[float, float]:
    def rate(e: np.ndarray, w: np.ndarray, axis: int = -1) -> np.ndarray:
        return e.sum(axis) / w.sum(axis)

    found = bootstrap((errors, words), rate, paired=True, n_resamples=2000, method="percentile", random_state=0)
    return found.confidence_interval.low, found.confidence_interval.high


def recall(references: list[str], heard: list[str], wanted: set[str]) -> tuple[int, int]:
    """How often the `wanted` words were heard right where they stand."""
    right = total = 0
    out = jiwer.process_words(references, heard)
    for reference, chunks in zip(out.references, out.alignments, strict=True):
        equal = {i for c in chunks if c.type == "equal" for i in range(c.ref_start_idx, c.ref_end_idx)}
        total += sum(word in wanted for word in reference)
        right += sum(word in wanted and i in equal for i, word in enumerate(reference))
    return right, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--voices-files", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where the spoken sentences are kept")
    parser.add_argument(
        "--training-text", type=Path, help="folder of the speech shards, for words never trained on"
    )
    parser.add_argument("--voices", nargs="*", default=[*TRAINED, *UNSEEN])
    parser.add_argument("--show", type=int, default=0)
    options = parser.parse_args()

    lm = auricle.load("mini")
    pieces = Pieces.load(Path(auricle.__file__).parent / "models/mini/weights/pieces.json")
    drawn = np.random.default_rng(options.seed).permutation(sentences())[: options.sentences]
    texts = [str(text) for text in drawn]
    references = [normalize(text) for text in texts]
    known: set[str] = set()
    if options.training_text:
        for file in options.training_text.glob("*.safetensors"):
            known |= {word for recording in load_shard(file) for word in normalize(recording.text).split()}
    new = {w for text in references for w in text.split() if w not in known} if known else set()
    words = sum(len(reference.split()) for reference in references)
    unheard = f"{len(new)} words never trained on" if known else "words never trained on not looked for"
    print(f"{len(texts)} sentences, {words} words, {unheard}")
    print("| voice | trained on | word error (95 %) | recall of new words |\n|---|---|---|---|")
    for name in options.voices:
        heard = transcribe(lm, pieces, spoken(name, options.voices_files, texts, options.work))
        counts = [jiwer.process_words(r, h) for r, h in zip(references, heard, strict=True)]
        errors = [c.substitutions + c.deletions + c.insertions for c in counts]
        low, high = interval(errors, [len(r.split()) for r in references])
        right, total = recall(references, heard, new)
        share = f"{right}/{total} = {right / total:.3f}" if total else "-"
        wer = sum(errors) / sum(len(r.split()) for r in references)
        print(
            f"| {name} | {'yes' if name in TRAINED else 'no'} | {wer:.3f} ({low:.3f} to {high:.3f}) | {share} |",
            flush=True,
        )
        for r, h in list(zip(references, heard, strict=True))[: options.show]:
            print("  ref", r, "\n  hyp", h)


if __name__ == "__main__":
    main()
