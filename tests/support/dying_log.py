"""A sequencer that is killed before its n-th write or removal, for every n: one log for each.

Run as a program, so that its forks have no threads: `dying_log.py BASE TARGET SIZE ROOT ENTRIES`.
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from small_log import signer

from harmost.services.audit.sequencer import Sequencer
from harmost.services.audit.storage import DirectoryStorage

WRITES_MAX = 40


class DyingStorage(DirectoryStorage):
    """A directory whose process is killed instead of write or removal number `left`."""

    def __init__(self, root: Path, left: int) -> None:
        super().__init__(root)
        self._left = left

    def write(self, files: Iterable[tuple[str, bytes]], /) -> None:
        for file in files:
            self._count()
            super().write([file])

    def remove(self, paths: Iterable[str], /) -> None:
        for path in paths:
            self._count()
            super().remove([path])

    def _count(self) -> None:
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


def main() -> None:
    base, target, size, root, count = sys.argv[1:]
    batch = [f"entry {n}".encode() for n in range(int(size), int(size) + int(count))]
    for writes in range(WRITES_MAX):
        log = Path(target) / f"log-{writes}"
        shutil.copytree(base, log)
        child = os.fork()
        if not child:
            dying = Sequencer(DyingStorage(log, writes), [signer()])
            dying.open(size=int(size), root=bytes.fromhex(root), waiting=batch)
            dying.publish(dying.add(batch))
            os._exit(0)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            print(writes)  # kills
            return


if __name__ == "__main__":
    main()
