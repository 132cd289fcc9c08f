"""Voices transcripts: one recording a sample, with the times of its sentences and of its evidence.

```
speech/<id>.wav    24 kHz, 16 bit, -23 LUFS
speech/<id>.json   `Voiced`; written last, so that what is there is whole
```
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soundfile

from auricle.cluster import on_ray
from auricle.errors import DataError, OptionError, SynthesisError
from auricle.files import whole, write_json
from auricle.spiral.evidence import locate
from auricle.spiral.schema import SpiralSample
from auricle.synthesis import reading
from auricle.synthesis.base import Gender, Speech
from auricle.synthesis.dialogue import SpokenSentence, Turn, level, loudness, voice_dialogue
from auricle.synthesis.voices import voice

SAMPLING_RATE = 24_000  # Hz (appendix B.3)
FOLDER = "speech"

Casting = Mapping[str, str]  # voice name by speaker
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Voiced:
    """What is known of a voiced sample.

    Attributes:
        id: of the sample.
        seconds: duration.
        sampling_rate: Hz.
        loudness: integrated, in LUFS.
        voices: voice name by speaker.
        sentences: what is said when.
        evidence: when the key sentence is said, start and end in seconds.
    """

    id: str
    seconds: float
    sampling_rate: int
    loudness: float
    voices: Mapping[str, str]
    sentences: tuple[SpokenSentence, ...]
    evidence: tuple[tuple[float, float], ...]

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(sentence.text for sentence in self.sentences)

    @staticmethod
    def load(path: Path) -> "Voiced":
        """Reads `speech/<id>.json`.

        Raises:
            DataError: it is missing, or not of this kind.
        """
        try:
            fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return Voiced(
                id=str(fields["id"]),
                seconds=float(fields["seconds"]),
                sampling_rate=int(fields["sampling_rate"]),
                loudness=float(fields["loudness"]),
                voices={str(speaker): str(name) for speaker, name in fields["voices"].items()},
                sentences=tuple(SpokenSentence(**sentence) for sentence in fields["sentences"]),
                evidence=tuple((float(start), float(end)) for start, end in fields["evidence"]),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"'{path}' does not describe a voiced sample ({error}); remove it and voice the sample again."
            ) from error


def cast(
    samples: Sequence[SpiralSample], voices: Sequence[str], seed: int, files: Path | None = None
) -> dict[str, dict[str, str]]:
    """Gives every speaker a voice: another one for each speaker of a sample, drawn anew for each sample.

    Half of the speakers of a sample are women; where their number is odd, one more is of the gender that was cast
    less before (appendix B.4). Where the voices of a gender are too few for that, the other one stands in. Further
    samples behind the given ones do not change the casting of these.

    Args:
        samples: in an order that stays.
        voices: names (see `auricle.synthesis.voice`).
        seed: of the drawing.
        files: where the voices' wheels are unpacked; Piper and Kokoro need it.

    Returns:
        Voice name by sample id and speaker.

    Raises:
        OptionError: a sample has more speakers than there are voices.
        UnknownNameError, MissingDependencyError: a voice does not exist, or needs `files`.
    """
    names = list(dict.fromkeys(voices))
    genders: dict[str, Gender] = {name: voice(name, files).gender for name in names}
    women = [name for name in names if genders[name] == "female"]
    men = [name for name in names if genders[name] == "male"]
    surplus = 0  # of women over men so far
    casting = {}
    for sample in samples:
        speakers = sample.speakers
        if len(speakers) > len(names):
            needed = max(len(each.speakers) for each in samples)
            raise OptionError(
                f"Sample '{sample.id}' has {len(speakers)} speakers, but there are {len(names)} voices; name at"
                f" least {needed} different ones."
            )
        rng = _rng(seed, sample.id)
        half, coin = len(speakers) // 2, rng.random() < 0.5
        if len(speakers) % 2 and (surplus < 0 or (surplus == 0 and coin)):
            half += 1
        count = min(max(half, len(speakers) - len(men)), len(women))
        drawn = [*rng.permutation(women)[:count], *rng.permutation(men)[: len(speakers) - count]]
        surplus += 2 * count - len(speakers)
        casting[sample.id] = {s: str(name) for s, name in zip(speakers, rng.permutation(drawn), strict=True)}
    return casting


def synthesize(sample: SpiralSample, casting: Casting, seed: int, folder: Path, files: Path | None = None) -> None:
    """Voices a sample and writes its two files.

    The recording is at -23 LUFS, or as near as it can be without clipping; `Voiced.loudness` tells. The pauses
    depend on the seed and the sample's id only, so that equal arguments give equal files.

    Args:
        sample: the transcript.
        casting: voice name of each of its speakers.
        seed: of the pauses.
        folder: of the set; the files go to `speech/`.
        files: where the voices' wheels are unpacked.

    Raises:
        DataError: the key sentence is not in the transcript, or the id cannot name a file.
        OptionError: a speaker has no voice.
        SynthesisError, MissingDependencyError: from the engine, or a package of the extra `synthesis` is missing.
    """
    turns = [Turn(turn.speaker, tuple(_sentences(turn))) for turn in sample.turns]
    turns = [turn for turn in turns if turn.sentences]
    place = locate([sentence for turn in turns for sentence in turn.sentences], sample.key_sentence)
    voices = {speaker: voice(name, files) for speaker, name in casting.items() if speaker in sample.speakers}
    spoken = voice_dialogue(turns, voices, _rng(seed, sample.id), sampling_rate=SAMPLING_RATE)
    pcm = np.round(level(Speech(spoken.waveform, SAMPLING_RATE)).waveform * 32_768).astype(np.int16)
    voiced = Voiced(
        id=sample.id,
        seconds=len(pcm) / SAMPLING_RATE,
        sampling_rate=SAMPLING_RATE,
        loudness=loudness(Speech((pcm / 32_768).astype(np.float32), SAMPLING_RATE)),
        voices={speaker: one.name for speaker, one in voices.items()},
        sentences=spoken.sentences,
        evidence=((spoken.sentences[place.start].start, spoken.sentences[place.stop - 1].end),),
    )
    wav, about = paths(folder, sample.id)
    with whole(wav) as part:
        soundfile.write(part, pcm, SAMPLING_RATE, subtype="PCM_16")
    write_json(about, asdict(voiced))


def paths(folder: Path, sample_id: str) -> tuple[Path, Path]:
    """The recording of a sample and the file that describes it, as `Voiced`.

    Raises:
        DataError: the id cannot name a file.
    """
    if Path(sample_id).name != sample_id:
        raise DataError(f"The sample's id is {sample_id!r}; expected one that can name a file, without slashes.")
    return folder / FOLDER / f"{sample_id}.wav", folder / FOLDER / f"{sample_id}.json"


def synthesize_all(
    samples: Sequence[SpiralSample],
    casting: Mapping[str, Casting],
    seed: int,
    folder: Path,
    files: Path | None = None,
    processes: int = 1,
    ray: str | None = None,
) -> Iterator[str]:
    """Voices the samples that are not voiced yet; yields the id of each as it is done.

    A run that was stopped goes on where it was. After an error nothing new is begun.

    Args:
        samples: each with an id of its own.
        casting: voice name by sample id and speaker, from `cast`.
        seed: of the pauses.
        folder: of the set.
        files: where the voices' wheels are unpacked.
        processes: how many samples to voice at a time.
        ray: as for `in_processes`; the folder has to be one that all machines share.

    Raises:
        OptionError: a sample has no casting, `processes` is not positive, or the folder is not on a machine.
        SynthesisError: a process died.
        DataError, SynthesisError, MissingDependencyError: as for `synthesize`.
    """
    todo = [sample for sample in samples if not all(path.is_file() for path in paths(folder, sample.id))]
    missing = [sample.id for sample in todo if sample.id not in casting]
    if missing:
        raise OptionError(f"Sample '{missing[0]}' has no casting; make one with cast().")
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    work = partial(_voice, seed=seed, folder=folder, files=files)
    yield from in_processes(work, [(sample, casting[sample.id]) for sample in todo], processes, ray)


def in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], processes: int, ray: str | None = None
) -> Iterator[Result]:
    """Does the work on all items, in this process if one is enough; yields what comes of each as it is done.

    After an error no item is begun; those that were go on to their end.

    Args:
        work: can be sent to a process, as items and results can.
        items: what is worked on.
        processes: how many items at a time.
        ray: where the processes run, as `auricle.cluster.on_ray` takes it; None: here, and without Ray.

    Raises:
        OptionError: `processes` is not positive, or the cluster cannot be joined.
        MissingDependencyError: ray is asked for and not installed.
        SynthesisError: a process died.
    """
    if processes < 1:
        raise OptionError(f"processes is {processes}; expected at least 1.")
    if processes == 1 and ray is None:
        yield from map(work, items)
        return
    waiting = iter(items)
    try:
        if ray is not None:
            yield from on_ray(lambda _: work, items, processes, ray)
            return
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            running: set[Future[Result]] = {pool.submit(work, item) for item in islice(waiting, processes)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                results = [future.result() for future in done]
                running |= {pool.submit(work, item) for item in islice(waiting, len(done))}
                yield from results
    except BrokenProcessPool as error:
        raise SynthesisError(
            "A process died, perhaps for want of memory; run it again with fewer processes, it goes on from there."
        ) from error


def _voice(cast_sample: tuple[SpiralSample, Casting], seed: int, folder: Path, files: Path | None) -> str:
    sample, casting = cast_sample
    if not (folder / FOLDER).is_dir():
        raise OptionError(f"A machine of the cluster has no '{folder}'; expected a folder that all of them share.")
    synthesize(sample, casting, seed, folder, files)
    return sample.id


def _sentences(turn: Turn) -> Iterator[str]:
    for text in turn.sentences:
        yield from reading.sentences(text)


def _rng(seed: int, sample_id: str) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(sample_id.encode())))
