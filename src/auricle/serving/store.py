"""A folder of bounded size that survives a kill: whole files or none, checked when read, least used first out.

A file is named `<key>.<SHA-256 of its content>`: the name comes to be when the content is there (one rename), and
whoever reads it can tell whether it is still what was written.
"""

import fcntl
import hashlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from auricle.errors import OptionError
from auricle.files import whole

_NAME = re.compile(r"(?P<key>[0-9a-f]{64}\.[a-z0-9-]+)\.(?P<digest>[0-9a-f]{64})")
_LEFT = re.compile(r"\.?[0-9a-f-]{32,64}.*\.(new|lent)")  # of a server that was killed


@dataclass(frozen=True)
class _Kept:
    path: Path
    size: int
    digest: str


class Store:
    """Files by key, for one process; safe to use from several threads."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Opens a folder and removes what a killed server left half written.

        Args:
            folder: it is made; files of others in it are left alone.
            limit: bytes that it may hold.

        Raises:
            OptionError: another server uses the folder, or it cannot be used.
        """
        self.limit = limit
        self._folder = folder
        self._lock = threading.RLock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._held = _hold(folder / ".lock")
        except BlockingIOError as error:
            raise OptionError(f"Another server uses the store '{folder}'; give each its own.") from error
        except OSError as error:
            raise OptionError(f"The store '{folder}' cannot be used: {error.strerror}.") from error
        self._files = self._found()  # least recently used first
        self._evict(0)

    def close(self) -> None:
        """Leaves the folder to others, without what was lent to requests that were cut off."""
        self._found()
        self._held.close()

    @property
    def nbytes(self) -> int:
        """What the files take."""
        with self._lock:
            return sum(each.size for each in self._files.values())

    def put(self, key: str, write: Callable[[Path], None]) -> bool:
        """Keeps what `write` writes to the path that it is given, and makes room for it.

        Args:
            key: a SHA-256 in hexadecimal, a point, and what it is in lower case.
            write: writes the file.

        Returns:
            False if it is larger than the store may be; then nothing has changed.

        Raises:
            OSError: it cannot be written, for example because the disk is full; then nothing is added.
        """
        new = self._folder / f"{uuid.uuid4()}.new"
        try:
            with whole(new) as part:
                write(part)
            size, digest = new.stat().st_size, sha256(new)
            with self._lock:
                if size > self.limit:
                    return False
                self._drop(key)
                self._evict(size)
                path = self._folder / f"{key}.{digest}"
                new.replace(path)
                self._files[key] = _Kept(path, size, digest)
            return True
        finally:
            new.unlink(missing_ok=True)

    def has(self, key: str) -> bool:
        """Whether there is a file of that key, which may turn out to be damaged."""
        with self._lock:
            return key in self._files

    @contextmanager
    def lend(self, key: str) -> Iterator[Path | None]:
        """A checked file that stays while the block runs, even if the store drops it; None if there is none."""
        path = self.borrow(key)
        try:
            yield path
        finally:
            if path:
                path.unlink(missing_ok=True)

    def borrow(self, key: str, *, checked: bool = True) -> Path | None:
        """As `lend`, for who removes the path when it is no longer needed. A damaged file is dropped.

        Args:
            key: as of `put`.
            checked: False reads nothing of the file, for who may not need it and checks it before use.
        """
        with self._lock:
            kept = self._files.pop(key, None)
            if kept is None:
                return None
            self._files[key] = kept  # now the most recently used
            lent = self._folder / f"{uuid.uuid4()}.lent"
            try:
                os.utime(kept.path)
                _link(kept.path, lent)
            except OSError:
                lent.unlink(missing_ok=True)
                self._drop(key)
                return None
        if not checked or sha256(lent) == kept.digest:
            return lent
        lent.unlink(missing_ok=True)
        with self._lock:
            if self._files.get(key) == kept:
                self._drop(key)
        return None

    def _drop(self, key: str) -> None:
        if kept := self._files.pop(key, None):
            kept.path.unlink(missing_ok=True)

    def _evict(self, coming: int) -> None:
        while self._files and self.nbytes + coming > self.limit:
            self._drop(next(iter(self._files)))

    def _found(self) -> dict[str, _Kept]:
        found: list[tuple[float, str, _Kept]] = []
        for path in self._folder.iterdir():
            if _LEFT.fullmatch(path.name):
                path.unlink(missing_ok=True)
            elif match := _NAME.fullmatch(path.name):
                about = path.stat()
                found.append((about.st_mtime, match["key"], _Kept(path, about.st_size, match["digest"])))
        files: dict[str, _Kept] = {}
        for _, key, kept in sorted(found, key=lambda each: each[0]):
            if key in files:  # killed between two versions
                files[key].path.unlink(missing_ok=True)
            files[key] = kept
        return files


def _hold(path: Path) -> IO[str]:
    """A lock that ends with the process, or when the file is closed."""
    held = path.open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise
    return held


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link(source: Path, target: Path) -> None:
    """A second name for a file; a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        if not source.exists():
            raise
        shutil.copyfile(source, target)
