"""Engines that are programs: run one, read the WAV files it wrote."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import soundfile

from auricle.errors import MissingDependencyError, SynthesisError
from auricle.synthesis.base import Speech

TIMEOUT_SECONDS = 3600.0


def find_program(program: str) -> str:
    """Returns the path of a program.

    Raises:
        MissingDependencyError: it is not installed.
    """
    path = shutil.which(program)
    if path is None:
        raise MissingDependencyError(
            f"The program '{program}' is not installed; install it, on Debian and Ubuntu with "
            f"'apt install {program}'."
        )
    return path


def run_program(command: Sequence[str], text: str = "") -> str:
    """Runs a program to its end with `text` on its standard input and returns its standard output.

    Raises:
        SynthesisError: it failed or took longer than an hour.
    """
    try:
        done = subprocess.run(
            command, input=text.encode(), capture_output=True, check=False, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise SynthesisError(
            f"'{command[0]}' ran longer than {TIMEOUT_SECONDS:.0f} s; give it less text."
        ) from error
    if done.returncode != 0:
        last_lines = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise SynthesisError(f"'{command[0]}' failed with code {done.returncode}: {' / '.join(last_lines)}")
    return done.stdout.decode()


def read_wav(path: Path) -> Speech:
    """Reads a mono WAV file that an engine wrote.

    Raises:
        SynthesisError: it is missing, unreadable or not mono.
    """
    try:
        waveform, sampling_rate = soundfile.read(path, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise SynthesisError(f"The speech engine wrote no readable '{path.name}': {error}") from error
    if waveform.ndim != 1:
        raise SynthesisError(f"The speech engine wrote {waveform.shape[1]} channels; expected mono.")
    return Speech(waveform, int(sampling_rate))
