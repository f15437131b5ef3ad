"""A witness by C2SP tlog-witness, as an HTTP server on loopback. Shares no proof code with the log."""

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harmost.core.audit.checkpoint import open_checkpoint
from harmost.core.audit.note import NoteRefused, NoteVerifier, WitnessSigner

__all__ = ["WitnessServer"]

NAME = "witness.example/w1"


class WitnessServer:
    """Cosigns what one log's key signed, as long as it only grows. `lie` makes it misbehave."""

    def __init__(self, log_key: str, *, number: int = 9) -> None:
        key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        self.signer = WitnessSigner(NAME, key)
        self.seen: tuple[int, bytes] = (0, sha256(b"").digest())
        self.requests: list[tuple[int, int]] = []  # old size and status
        self.url = ""
        self.lie = ""
        self._log = NoteVerifier(log_key)

    @property
    def spec(self) -> str:
        """As `--audit-witness` takes it."""
        return f"{self.signer.vkey}@{self.url}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["WitnessServer"]:
        app = web.Application()
        app.router.add_post("/add-checkpoint", self._add)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _add(self, request: web.Request) -> web.Response:
        head, _, note = (await request.read()).partition(b"\n\n")
        old, *lines = head.decode().split("\n")
        size_1 = int(old.removeprefix("old "))
        answer = self._answer(size_1, [base64.b64decode(line) for line in lines], note)
        self.requests.append((size_1, answer.status))
        return answer

    def _answer(self, size_1: int, proof: list[bytes], note: bytes) -> web.Response:
        if self.lie == "down":
            return web.Response(status=503, text="closed")
        try:
            checkpoint, _ = open_checkpoint(note, [self._log])
        except NoteRefused:
            return web.Response(status=403)
        if size_1 > checkpoint.size:
            return web.Response(status=400)
        if size_1 != self.seen[0]:
            return web.Response(
                status=409, text=f"{self.seen[0]}\n", content_type="text/x.tlog.size"
            )
        if not _grew(self.seen, checkpoint.size, checkpoint.root, proof):
            return web.Response(status=422)
        self.seen = (checkpoint.size, checkpoint.root)
        text = checkpoint.text if self.lie != "other text" else checkpoint.text + "more\n"
        line = self.signer.cosign(text, time_s=int(time.time())).line
        if self.lie == "nonsense":
            line = "nonsense"
        return web.Response(text=line)


def _grew(seen: tuple[int, bytes], size: int, root: bytes, proof: list[bytes]) -> bool:
    """RFC 6962's consistency, by taking the proof apart from its end: recursive, as it is defined."""
    size_1, root_1 = seen
    if not size_1:
        return not proof
    steps = list(proof)

    def roots(m: int, n: int, whole: bool) -> tuple[bytes, bytes]:
        if m == n:
            if whole:
                return root_1, root_1
            step = steps.pop(0)
            return step, step
        k = 1
        while k * 2 < n:
            k *= 2
        if m <= k:
            old, new = roots(m, k, whole)
            return old, _node(new, steps.pop(0))
        old, new = roots(m - k, n - k, False)
        left = steps.pop(0)
        return _node(left, old), _node(left, new)

    try:
        return roots(size_1, size, True) == (root_1, root) and not steps
    except IndexError:
        return False


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()
