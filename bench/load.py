"""What a server does under load: many clients that ask at a time, by two methods, and what it takes of memory.

    python bench/load.py --clients 64 --seconds 90 --json load.json

Starts `auricle serve --model mini` on loopback with an empty store. All clients ask for some seconds unpruned, and
then, by themselves, as long by SpeechPrune: in one queue each method would only be as quick as the other. A client
asks one question after another, each about another cut of the recording, so that nothing is in the store yet.
A client that is refused with 429 comes back when Retry-After says. Latency is what the client sees: from its first
try to the answer, waiting and refusals included. When the time is over nobody asks again; who waits is still
answered, before the next method, and counts for latency but not for throughput. Then the idle server is asked twice
about each of some recordings: the second question finds the tokens. Prints Markdown.

Plain httpx: locust drives as well, but repeats no refused request, sees no memory of the server, and needs gevent
and a dozen more packages, for a script that is no shorter.
"""

import argparse
import asyncio
import base64
import io
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
import soundfile

from auricle import audio

LECTURE = Path(__file__).parents[1] / "examples" / "lecture.wav"
METHODS: dict[str, dict[str, object]] = {
    "full": {"pruner": "full"},
    "SpeechPrune 0.6": {"pruner": "speechprune", "pruning_rate": 0.6},
}
QUESTION = "What is the speaker talking about?"
CUT = 10  # seconds
PATIENCE = 600  # seconds that a client waits for an answer
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Answer:
    """What a client saw of one question.

    Attributes:
        latency: seconds from the first try to the answer.
        work: seconds that the server says it worked for it.
        end: seconds from the start of the phase to the answer.
    """

    latency: float
    work: float
    end: float


@dataclass
class Phase:
    """What all clients saw of one method.

    Attributes:
        method: a name of `METHODS`.
        seconds: in which clients ask.
        drained: when the last answer came.
    """

    method: str
    seconds: float
    drained: float = 0
    start: float = field(default_factory=time.monotonic)
    statuses: Counter[str] = field(default_factory=Counter)
    answers: list[Answer] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start


class Cuts:
    """Stretches of a recording, no two alike, each as base64 of a wav."""

    def __init__(self, path: Path, seed: int) -> None:
        self._samples = audio.load(path)
        starts = range(len(self._samples) - CUT * audio.SAMPLE_RATE)
        self._starts = iter(random.Random(seed).sample(starts, len(starts)))

    def next(self) -> str:
        """One that nobody has had."""
        start, file = next(self._starts), io.BytesIO()
        piece = self._samples[start : start + CUT * audio.SAMPLE_RATE]
        soundfile.write(file, piece, audio.SAMPLE_RATE, format="WAV", subtype="PCM_16")
        return base64.b64encode(file.getvalue()).decode()


@contextmanager
def server(queue: int) -> Iterator[tuple[str, psutil.Process]]:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "auricle", "serve", "--model", "mini", "--store", f"{folder}/store"]
        command += ["--port", str(port), "--max-queue", str(queue)]
        with (
            open(f"{folder}/log", "w+b") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as started,
        ):
            try:
                url = f"http://127.0.0.1:{port}"
                while not _answers(url):
                    if started.poll() is not None:
                        log.seek(0)
                        raise RuntimeError(f"The server did not start: {log.read().decode()}")
                    time.sleep(0.2)
                yield url, psutil.Process(started.pid)
            finally:
                started.terminate()
                code = started.wait(60)
                log.seek(0)
                traces = log.read().count(b"Traceback")
                print(f"\nThe server ended with {code}; {traces} tracebacks in its log.", file=sys.stderr)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.HTTPError:
        return False


def body(audio: dict[str, str], method: str, tokens: int) -> dict[str, object]:
    parts = [{"type": "text", "text": QUESTION}, {"type": "input_audio", "input_audio": audio}]
    asked = {"model": "auricle-mini", "messages": [{"role": "user", "content": parts}], "max_tokens": tokens}
    return asked | METHODS[method]


async def client(http: httpx.AsyncClient, cuts: Cuts, phase: Phase, tokens: int) -> None:
    while phase.now() < phase.seconds:
        given, start = body({"data": cuts.next(), "format": "wav"}, phase.method, tokens), phase.now()
        while True:
            try:
                response = await http.post("/v1/chat/completions", json=given)
            except httpx.HTTPError as error:
                phase.statuses[type(error).__name__] += 1
                break
            phase.statuses[str(response.status_code)] += 1
            if response.status_code == 200:
                work = sum(response.json()["auricle"]["seconds"].values())
                phase.answers.append(Answer(phase.now() - start, work, phase.now()))
            if response.status_code != 429 or phase.now() > phase.seconds:
                break
            await asyncio.sleep(float(response.headers["Retry-After"]))


async def watch(process: psutil.Process, phase: Phase) -> None:
    while True:
        phase.megabytes.append(process.memory_info().rss / 1e6)
        await asyncio.sleep(1)


async def load(
    url: str, process: psutil.Process, clients: int, seconds: float, tokens: int, seed: int
) -> list[Phase]:
    cuts, phases = Cuts(LECTURE, seed), list[Phase]()
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE, limits=limits) as http:
        for method in METHODS:  # one question each before: what is loaded or compiled once is no load
            warm = body({"data": cuts.next(), "format": "wav"}, method, tokens)
            (await http.post("/v1/chat/completions", json=warm)).raise_for_status()
        for method in METHODS:
            phases.append(phase := Phase(method, seconds))
            watching = asyncio.create_task(watch(process, phase))
            await asyncio.gather(*(client(http, cuts, phase, tokens) for _ in range(clients)))
            phase.drained = phase.now()
            watching.cancel()
            phase.megabytes.append(process.memory_info().rss / 1e6)
    return phases


def again(url: str, tokens: int, recordings: int, seed: int) -> list[tuple[float, float]]:
    """Seconds of the question that uploads a recording, and of the next about it, by its hash."""
    cuts, found = Cuts(LECTURE, seed + 1), list[tuple[float, float]]()
    with httpx.Client(base_url=url, timeout=PATIENCE) as http:
        for _ in range(recordings):
            given, seconds = {"data": cuts.next(), "format": "wav"}, list[float]()
            for cached in (False, True):
                start = time.monotonic()
                said = http.post("/v1/chat/completions", json=body(given, "full", tokens)).raise_for_status()
                seconds.append(time.monotonic() - start)
                about = said.json()["auricle"]
                if about["cached"] is not cached:
                    raise RuntimeError("The store has not what it should have.")
                given = {"recording": about["recording"]}
            found.append((seconds[0], seconds[1]))
    return found


def figures(phases: list[Phase], cache: list[tuple[float, float]]) -> dict[str, object]:
    methods, rates = {}, []
    for phase in phases:
        latency = [each.latency for each in phase.answers]
        rates.append(sum(each.end <= phase.seconds for each in phase.answers) / phase.seconds)
        methods[phase.method] = {
            "answers": len(latency),
            "per_second": rates[-1],
            "latency": {f"p{each}": float(np.percentile(latency, each)) for each in PERCENTILES} if latency else {},
            "work": float(np.median([each.work for each in phase.answers])) if latency else None,
            "drained": phase.drained,
            "statuses": dict(phase.statuses),
        }
    megabytes = [each for phase in phases for each in phase.megabytes]
    first, second = (float(np.median(each)) for each in zip(*cache, strict=True))
    return {
        "seconds": phases[0].seconds,
        "methods": methods,
        "throughput_ratio": rates[1] / rates[0] if rates[0] else None,
        "rss_mb": {"start": megabytes[0], "end": megabytes[-1], "peak": max(megabytes)},
        "rss_mb_each_second": megabytes,
        "cache": {"first": first, "second": second, "ratio": second / first, "recordings": len(cache)},
        "answers": {phase.method: [asdict(each) for each in phase.answers] for phase in phases},
    }


def markdown(about: dict) -> str:  # type: ignore[type-arg] # JSON
    lines = [
        "| method | answers | a second | p50 s | p90 s | p99 s | of them in work s | replies | last after s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, own in about["methods"].items():
        latency = [f"{own['latency'].get(f'p{each}', float('nan')):.1f}" for each in PERCENTILES]
        work = f"{own['work'] or float('nan'):.2f}"
        statuses = ", ".join(f"{count} x {status}" for status, count in sorted(own["statuses"].items()))
        cells = [name, str(own["answers"]), f"{own['per_second']:.2f}", *latency, work, statuses]
        lines.append("| " + " | ".join([*cells, f"{own['drained']:.0f}"]) + " |")
    (full, pruned), rss, cache = METHODS, about["rss_mb"], about["cache"]
    return "\n".join(
        [
            *lines,
            "",
            f"Answers a second by {pruned} over those by {full}: {about['throughput_ratio'] or float('nan'):.2f}.",
            f"Resident memory of the server: {rss['start']:.0f} MB at the start, {rss['end']:.0f} MB at the end,"
            f" {rss['peak']:.0f} MB at most.",
            f"A second question about a recording takes {cache['ratio']:.2f} of the first's time"
            f" ({cache['second']:.2f} s of {cache['first']:.2f} s, medians of {cache['recordings']}).",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=90, help="that clients ask by each method")
    parser.add_argument(
        "--max-queue", type=int, default=48, help="of the server; fewer than clients, to see refusals"
    )
    parser.add_argument("--max-tokens", type=int, default=16, help="of every answer")
    parser.add_argument("--recordings", type=int, default=5, help="that are asked twice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    with server(options.max_queue) as (url, process):
        phases = asyncio.run(load(url, process, options.clients, options.seconds, options.max_tokens, options.seed))
        about = figures(phases, again(url, options.max_tokens, options.recordings, options.seed))
    print(markdown(about))
    if options.json:
        options.json.write_text(json.dumps(about, indent=1) + "\n")
    if any(not status.isdigit() or int(status) >= 500 for phase in phases for status in phase.statuses):
        sys.exit("Some were not answered, or by an error of the server.")


if __name__ == "__main__":
    main()
