"""How well auricle-mini hears: word errors, and recall of words that no training text has.

    python bench/ear.py --sentences 60 --seed 0 --voices-files DIR --work DIR [--llm] [--human WHEEL]
                        [--summarize 2 4 8 [--sst DIR]] [--set DIR]

The sentences are drawn from `data/sir/authored.jsonl`, which nothing is trained on; they are spoken by voices of
training and by voices never trained on, in recordings of 20 s and a sentence. Compared, after Whisper's English
normalizer: the connector's letters alone, what the LLM is given to read ("heard"), what it writes when it is asked
to transcribe (`--llm`) or to transcribe a summary of the recording (`--summarize`), and Whisper base with a beam
of 5. `--human` is the wheel `moonshine-voice`, whose `assets`
hold recordings of people; `--set` is a set in SPIRAL's layout, which is heard as it is. Prints Markdown.
"""

import argparse
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import get_args

import jiwer
import numpy as np
import soundfile
import torch
from scipy.stats import bootstrap

import auricle
from auricle import audio
from auricle.audio import SAMPLE_RATE, Waveform, windows_at_pauses
from auricle.benchmarks.spiral import Spiral
from auricle.models.mini.connector import ALPHABET, LETTERS
from auricle.models.mini.spelling import HALVES
from auricle.spiral import listening
from auricle.summarization import summarizer
from auricle.summarization.summarizer import Summarizer
from auricle.synthesis import voice
from auricle.synthesis.dialogue import resample, trim
from auricle.training.talks import Style, talks
from auricle.transcribing import INSTRUCTION

DATA = Path(__file__).parent.parent / "data/sir/authored.jsonl"
TRAINED = ("flite/slt", "flite/awb", "flite/rms", "flite/kal16", "piper/joe", "espeak/en-us")
UNSEEN = ("kokoro/jf_alpha", "kokoro/jm_kumo")
PAUSE = 0.4  # seconds between sentences
HUMAN = {  # what is said in the wheel's recordings whose text is known
    "two_cities": (
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of "
        "foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season of light, it "
        "was the season of darkness, it was the spring of hope, it was the winter of despair, we had everything "
        "before us, we had nothing before us, we were all going direct to heaven, we were all going direct the "
        "other way. In short, the period was so far like the present period, that some of its noisiest "
        "authorities insisted on its being received, for good or for evil, in the superlative degree of "
        "comparison only."
    ),
    "beckett": "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better.",
}


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


def recordings(texts: list[str], waveforms: list[np.ndarray]) -> Iterator[tuple[str, Waveform]]:
    """Sentences one after the other, 20 s and a sentence at a time, with what is said."""
    pause = np.zeros(round(PAUSE * SAMPLE_RATE), np.float32)
    said, parts, length = list[str](), list[np.ndarray](), 0
    for text, waveform in zip(texts, waveforms, strict=True):
        said.append(text)
        parts += [waveform, pause]
        length += len(waveform) + len(pause)
        if length > 20 * SAMPLE_RATE:
            yield " ".join(said), np.concatenate(parts)
            said, parts, length = [], [], 0
    if parts:
        yield " ".join(said), np.concatenate(parts)


@torch.inference_mode()
def heard(lm: auricle.SpeechLM, waveform: Waveform) -> tuple[str, str]:
    """The connector's likeliest letters, and what the LLM is given."""
    features, lengths = lm.processor.features(list(windows_at_pauses(waveform)))
    tower = lm.model.audio_tower
    states = tower(features.to(tower.conv1.weight)).last_hidden_state
    best = lm.model.connector(states).argmax(-1)
    rows = [row[: HALVES * int(length)].unique_consecutive() for row, length in zip(best, lengths, strict=True)]
    letters = "".join("".join(ALPHABET[i] for i in row.tolist() if i != LETTERS) + " " for row in rows)
    return letters, " ".join(speech.text for speech in lm.model.hear(states, lengths))


def from_summary(lm: auricle.SpeechLM, maker: Summarizer, waveform: Waveform, ratio: int) -> str:
    memory = maker.summarize(auricle.encode(lm, waveform, SAMPLE_RATE).tokens, options=maker.at(ratio))
    return lm.generate(maker.prompt(memory, lm.query(INSTRUCTION)), 256)


def hearers(
    lm: auricle.SpeechLM, waveform: Waveform, llm: bool, maker: Summarizer | None, ratios: list[int]
) -> dict[str, str]:
    letters, text = heard(lm, waveform)
    found = {"letters": letters, "heard": text}
    if llm:
        found["transcribed"] = auricle.transcribe(lm, waveform, sampling_rate=SAMPLE_RATE).text
    if maker:
        found |= {f"summary 1/{ratio}": from_summary(lm, maker, waveform, ratio) for ratio in ratios}
    return found | {"Whisper base": listening.transcribe(waveform)}


def interval(errors: list[int], words: list[int]) -> str:
    def rate(e: np.ndarray, w: np.ndarray, axis: int = -1) -> np.ndarray:
        return e.sum(axis) / w.sum(axis)

    wer = f"{sum(errors) / sum(words):.3f}"
    if len(errors) == 1 or not sum(errors):
        return wer
    found = bootstrap((errors, words), rate, paired=True, n_resamples=2000, method="percentile", random_state=0)
    return f"{wer} ({found.confidence_interval.low:.3f} to {found.confidence_interval.high:.3f})"


def recall(references: list[str], found: list[str], wanted: set[str]) -> tuple[int, int]:
    """How often the `wanted` words were heard right where they stand."""
    right = total = 0
    out = jiwer.process_words(list(map(normal, references)), list(map(normal, found)))
    for reference, chunks in zip(out.references, out.alignments, strict=True):
        equal = {i for c in chunks if c.type == "equal" for i in range(c.ref_start_idx, c.ref_end_idx)}
        total += sum(word in wanted for word in reference)
        right += sum(word in wanted and i in equal for i, word in enumerate(reference))
    return right, total


def normal(text: str) -> str:
    return listening._normalizer()(text)


def trained_words(folder: Path) -> set[str]:
    """Of the written talks and of everything that was spoken for the connector."""
    known = {word for style in get_args(Style) for talk in talks(style) for word in normal(talk.text).split()}
    for file in folder.glob("shard-*.json"):
        for window in json.loads(file.read_text()):
            known |= {word for said in window for word in normal(said["text"]).split()}
    return known


def row(
    name: str,
    trained: str,
    given: list[tuple[str, Waveform]],
    new: set[str],
    hear: Callable[[Waveform], dict[str, str]],
) -> None:
    found = [hear(waveform) for _, waveform in given]
    for hearer in found[0]:
        texts = [each[hearer] for each in found]
        counts = [listening.word_errors(said, text) for (said, _), text in zip(given, texts, strict=True)]
        right, total = recall([said for said, _ in given], texts, new)
        share = f"{right}/{total} = {right / total:.3f}" if total else "-"
        wer = interval([errors for _, errors in counts], [words for words, _ in counts])
        print(f"| {name} | {trained} | {hearer} | {wer} | {share} |", flush=True)


def human(wheel: Path) -> Iterator[tuple[str, tuple[str, Waveform]]]:
    with zipfile.ZipFile(wheel) as archive:
        for name, said in HUMAN.items():
            samples, rate = soundfile.read(
                BytesIO(archive.read(f"moonshine_voice/assets/{name}.wav")), dtype="float32"
            )
            yield name, (said, audio.load(samples, sampling_rate=rate))


def whole(folder: Path) -> list[tuple[str, Waveform]]:
    """The recordings of a set in SPIRAL's layout, with what is said."""
    return [(sample.transcript, sample.load()) for sample in Spiral(folder).samples()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--voices-files", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where the spoken sentences are kept")
    parser.add_argument("--training-text", type=Path, help="`features` of a run, for words never trained on")
    parser.add_argument("--voices", nargs="*", default=[*TRAINED, *UNSEEN])
    parser.add_argument("--llm", action="store_true", help="also have the LLM transcribe")
    parser.add_argument("--summarize", type=int, nargs="*", default=[], help="also from summaries at these ratios")
    parser.add_argument("--sst", type=Path, help="for the summaries; by default the package's")
    parser.add_argument("--human", type=Path, help="the wheel moonshine-voice")
    parser.add_argument("--set", type=Path, help="a set in SPIRAL's layout, to be heard as well")
    options = parser.parse_args()

    lm = auricle.load("mini")
    maker = summarizer.load(lm, options.sst) if options.summarize else None
    hear = partial(hearers, lm, llm=options.llm, maker=maker, ratios=options.summarize)
    drawn = np.random.default_rng(options.seed).permutation(sentences())[: options.sentences]
    texts = [str(text) for text in drawn]
    given = whole(options.set) if options.set else []
    new = set[str]()
    if options.training_text:
        known = trained_words(options.training_text)
        said = (*texts, *(text for text, _ in given))
        new = {word for text in said for word in normal(text).split() if word not in known}
    words = sum(len(normal(text).split()) for text in texts)
    print(f"{len(texts)} sentences, {words} words, {len(new)} different words never trained on")
    print("| voice | trained on | hearer | word error (95 %) | recall of new words |\n|---|---|---|---|---|")
    for name in options.voices:
        sentence_by_sentence = list(recordings(texts, spoken(name, options.voices_files, texts, options.work)))
        row(name, "yes" if name in TRAINED else "no", sentence_by_sentence, new, hear)
    if given:
        row(f"set {options.set.name}", "", given, new, hear)
    for name, one in human(options.human) if options.human else ():
        row(f"human, {name}", "no", [one], set(), hear)


if __name__ == "__main__":
    main()
