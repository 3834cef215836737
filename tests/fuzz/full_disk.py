"""Disks that fail at some operation, in the place of the real one: what every write of a run must survive."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twolayer.utils import files


class InterceptedDisk(files.Disk):
    """Does what `Disk` does until operation number `fail_at`, which is cut short; counts in `count`.

    A write that is cut short has written half of its bytes. All operations after the first failure fail as well.
    `truncate` and `remove` are not counted: they work on a full disk.
    """

    def __init__(self, fail_at: float) -> None:
        self.fail_at = fail_at
        self.count = 0

    def fail(self) -> None:
        """Do what happens in place of an operation that fails."""
        raise NotImplementedError

    def _step(self) -> None:
        self.count += 1
        if self.count >= self.fail_at:
            self.fail()

    def write(self, descriptor: int, data: bytes) -> None:
        self.count += 1
        if self.count >= self.fail_at:
            super().write(descriptor, data[: len(data) // 2])
            self.fail()
        super().write(descriptor, data)

    def open(self, path: Path, how: int) -> int:
        self._step()
        return super().open(path, how)

    def sync(self, descriptor: int) -> None:
        self._step()
        super().sync(descriptor)

    def sync_folder(self, path: Path) -> None:
        self._step()
        super().sync_folder(path)

    def replace(self, source: Path, target: Path) -> None:
        self._step()
        super().replace(source, target)

    def rename_folder(self, source: Path, target: Path) -> None:
        self._step()
        super().rename_folder(source, target)

    def make_folder(self, path: Path) -> None:
        self._step()
        super().make_folder(path)


class FullDisk(InterceptedDisk):
    """Has no space left from operation `fail_at` on."""

    def fail(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def using_disk(disk: files.Disk) -> Iterator[files.Disk]:
    """Put `disk` in the place of the real one."""
    real = files.disk
    files.disk = disk
    try:
        yield disk
    finally:
        files.disk = real
