"""The files of a data set, in a folder or on the hub; nothing is fetched before it is read."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from auricle import audio
from auricle.audio import Waveform
from auricle.errors import AudioError, DataError


@dataclass(frozen=True)
class Tree:
    """A folder, a data set of the Hugging Face hub (OWNER/NAME), or any URL that `fsspec` opens.

    Attributes:
        root: of all paths.
    """

    root: str | Path

    def lines(self, path: str) -> Iterator[str]:
        """The lines of a text file, one at a time.

        Raises:
            DataError: it cannot be read.
        """
        try:
            with self._files.open(self._at(path), "r", encoding="utf-8-sig") as file:
                yield from file
        except GeneratorExit:
            raise
        except Exception as error:  # of the file system, whichever it is
            raise DataError(f"'{path}' of '{self.root}' cannot be read ({_first_line(error)}).") from error

    def text(self, path: str) -> str:
        """A whole text file."""
        return "".join(self.lines(path))

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        try:
            self._files.info(self._at(path))
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self._unreachable(error) from error
        return True

    def find(self, folder: str, suffixes: tuple[str, ...] = ()) -> list[str]:
        """All files below a folder, sorted, as paths from the root; hidden ones, or without such a folder, none.

        Args:
            folder: from the root.
            suffixes: such as ".wav"; none takes all.
        """
        top = self._at("")
        try:
            found = [str(path).removeprefix(top).lstrip("/") for path in self._files.find(self._at(folder))]
        except Exception as error:
            raise self._unreachable(error) from error
        return sorted(
            path
            for path in found
            if (not suffixes or path.lower().endswith(suffixes)) and not PurePosixPath(path).name.startswith(".")
        )

    def load(self, path: str) -> Waveform:
        """Reads a recording; from elsewhere it is fetched for as long as that takes.

        Raises:
            AudioError: it cannot be fetched or read.
        """
        if self._local:
            return audio.load(Path(self.root) / path)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / PurePosixPath(path).name
            try:
                self._files.get_file(self._at(path), str(copy))
            except Exception as error:  # a network's errors have no common class
                raise AudioError(
                    f"The recording '{path}' of '{self.root}' cannot be fetched: {_first_line(error)}."
                ) from error
            return audio.load(copy)

    @property
    def _local(self) -> bool:
        return "://" not in str(self.root) and Path(self.root).exists()

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, and the root in it."""
        root = str(self.root)
        if self._local:
            return fsspec.filesystem("file"), Path(root).resolve().as_posix()
        if "://" not in root:
            if root.count("/") != 1 or root.startswith((".", "/", "~")):
                raise DataError(f"There is no folder '{root}'; give one, or OWNER/NAME of a data set of the hub.")
            root = f"hf://datasets/{root}"
        try:
            files, top = fsspec.core.url_to_fs(root)
            files.info(top)
        except FileNotFoundError as error:
            raise DataError(f"There is no data set '{self.root}'.") from error
        except Exception as error:
            raise self._unreachable(error) from error
        return files, str(top)

    def _unreachable(self, error: Exception) -> DataError:
        return DataError(f"The data set '{self.root}' cannot be reached ({_first_line(error)}).")

    @property
    def _files(self) -> Any:  # noqa: ANN401 - fsspec has no types
        return self._opened[0]

    def _at(self, path: str) -> str:
        return f"{self._opened[1].rstrip('/')}/{path}".rstrip("/")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
