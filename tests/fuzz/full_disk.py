"""A disk that is full from some operation on, in the place of the real one: what every write of a run must survive."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twolayer.utils import files as seam

OPERATIONS = ["create", "open_to_append", "write", "sync", "sync_folder", "replace"]
OPERATIONS += ["rename_folder", "make_folder", "make_folders"]
# truncate is not among them: it works on a full disk.


class FaultyDisk(seam.Disk):
    """Does what `Disk` does until operation number `fail_at`, which is cut short; counts in `count`.

    A write that is cut short has written half of its bytes. After the first fault all further ones fail, too, as on
    a full disk.
    """

    def __init__(self, fail_at: float) -> None:
        self.fail_at = fail_at
        self.count = 0

    def fault(self) -> None:
        """What happens in place of an operation that fails."""
        raise NotImplementedError

    def write(self, descriptor: int, data: seam.Buffer) -> None:
        self.count += 1
        if self.count >= self.fail_at:
            whole = memoryview(data).cast("B")
            super().write(descriptor, whole[: len(whole) // 2])
            self.fault()
        super().write(descriptor, data)


def _counted(name: str) -> Callable[..., Any]:
    def operation(self: FaultyDisk, *arguments: Any) -> Any:
        self.count += 1
        if self.count >= self.fail_at:
            self.fault()
        return getattr(seam.Disk, name)(self, *arguments)

    return operation


for _name in OPERATIONS:
    if _name != "write":
        setattr(FaultyDisk, _name, _counted(_name))


class FullDisk(FaultyDisk):
    """Has no space left from operation `fail_at` on."""

    def fault(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def using_disk(disk: seam.Disk) -> Iterator[seam.Disk]:
    """Puts `disk` in the place of the real one."""
    real = seam.disk
    seam.disk = disk
    try:
        yield disk
    finally:
        seam.disk = real
