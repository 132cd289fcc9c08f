"""How the file of a memory is told from a recording, without reading it."""

from pathlib import Path

FORMAT = "auricle memory 1"
_HEADER = 100_000  # bytes in which a safetensors file says what it is


def is_memory(path: Path) -> bool:
    """Whether a file begins as those of `Memory.save`; what follows may still be damaged."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            return FORMAT.encode() in file.read(min(size, _HEADER))
    except OSError:
        return False
