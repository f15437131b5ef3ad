"""Asks witnesses to cosign heads of the log: others who saw it, and that it only ever grew.

A witness that does not answer in time holds nobody up: the head goes out without it, and it is asked
again with a later one.

Source: C2SP tlog-witness v1.0.0, `add-checkpoint`; C2SP tlog-cosignature v1.0.1.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from harmost.core.audit.checkpoint import Checkpoint, decimal, parse_checkpoint, proof_lines
from harmost.core.audit.note import NOTE_BYTES_MAX, Note, NoteVerifier, Signature, parse_note
from harmost.core.errors import HarmostError, InvalidInput, ServiceUnavailable

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Witness", "Witnesses", "witness_of"]

log = logging.getLogger(__name__)

ANSWER_S = 1.0  # of the two seconds within which a receipt is promised
WITNESSES_MAX = 8
_CONFLICT = 409
_NAMED = re.compile(r"@(?=https?://)")

Prove = Callable[[int, int], Awaitable[Sequence[bytes]]]  # that one size begins the other


class Witness(NamedTuple):
    """A witness: where it is asked, and the key that it signs with."""

    url: str
    verifier: NoteVerifier


def witness_of(text: str) -> Witness:
    """The witness that "KEY@URL" names. InvalidInput where it is malformed."""
    key, url = _NAMED.split(text.strip(), maxsplit=1) if _NAMED.search(text) else ("", "")
    if not key:
        raise InvalidInput(
            f"`{text[:100]}` is no witness: write its public key and its address, such as "
            "`witness.example+hash+key@https://witness.example`"
        )
    verifier = NoteVerifier(key)
    if not verifier.is_witness:
        raise InvalidInput(
            f"the key of `{verifier.name}` is that of a log, not of a witness: ask who runs it "
            "for its cosigning key (type 04)"
        )
    return Witness(url.rstrip("/"), verifier)


class Witnesses:
    """Asks each of `witnesses` at once, while it is entered."""

    def __init__(self, witnesses: Sequence[Witness], *, answer_s: float = ANSWER_S) -> None:
        if len(witnesses) > WITNESSES_MAX:
            raise InvalidInput(f"there are {len(witnesses)} witnesses, not 0 to {WITNESSES_MAX}")
        self._witnesses = witnesses
        self._answer_s = answer_s
        self._seen = {each.verifier.name: 0 for each in witnesses}
        self._session: aiohttp.ClientSession | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Be ready to ask."""
        if self._witnesses:
            import aiohttp  # here, as below: without a witness no start waits for it

            limit = aiohttp.ClientTimeout(total=self._answer_s)
            self._session = await self._stack.enter_async_context(
                aiohttp.ClientSession(timeout=limit)
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ask no more."""
        await self._stack.aclose()

    def missing(self, note: Note) -> bool:
        """Whether a witness has not cosigned `note`."""
        return any(not _signed_by(note, each.verifier) for each in self._witnesses)

    async def cosigned(self, note: Note, prove: Prove) -> Note:
        """`note` with the cosignatures that could be had, those that it has kept. Never raises."""
        asked = [each for each in self._witnesses if not _signed_by(note, each.verifier)]
        answers = await asyncio.gather(*(self._ask(each, note, prove) for each in asked))
        found = tuple(signature for signature in answers if signature is not None)
        return note._replace(signatures=note.signatures + found)

    async def _ask(self, witness: Witness, note: Note, prove: Prove) -> Signature | None:
        import aiohttp

        name = witness.verifier.name
        head = parse_checkpoint(note.text)
        try:
            async with asyncio.timeout(self._answer_s):
                status, answer = await self._post(witness, note, head, prove)
                if status == _CONFLICT:  # it tells up to where it has seen the log
                    seen = decimal(answer.decode("ascii", "replace").strip())
                    if seen is None or seen > head.size:
                        raise ServiceUnavailable(
                            f"it has seen {answer[:20]!r} entries, and there are {head.size}: "
                            "the log was rolled back, or another one has its name"
                        )
                    self._seen[name] = seen
                    status, answer = await self._post(witness, note, head, prove)
                if status != 200:
                    raise ServiceUnavailable(f"it answers {status}: {answer[:200]!r}")
            signature = _checked(witness.verifier, note, answer)
        except (TimeoutError, aiohttp.ClientError, HarmostError, OSError) as error:
            log.warning("witness %s: %s", name, str(error) or "it does not answer in time")
            return None
        self._seen[name] = head.size
        return signature

    async def _post(
        self, witness: Witness, note: Note, head: Checkpoint, prove: Prove
    ) -> tuple[int, bytes]:
        if self._session is None:
            raise RuntimeError("ask witnesses inside `async with`")
        old = self._seen[witness.verifier.name]
        proof = await prove(old, head.size) if 0 < old < head.size else ()
        body = f"old {old}\n{proof_lines(proof)}\n".encode() + note.data
        async with self._session.post(f"{witness.url}/add-checkpoint", data=body) as response:
            return response.status, await response.content.read(NOTE_BYTES_MAX)


def _signed_by(note: Note, verifier: NoteVerifier) -> bool:
    return any((s.name, s.key_id) == (verifier.name, verifier.key_id) for s in note.signatures)


def _checked(verifier: NoteVerifier, note: Note, lines: bytes) -> Signature:
    """The signature of `verifier` among `lines`, which holds for `note`. What others sign is left."""
    for signature in parse_note(f"{note.text}\n".encode() + lines).signatures:
        if (signature.name, signature.key_id) == (verifier.name, verifier.key_id):
            verifier.check(note.text, signature)
            return signature
    raise ServiceUnavailable("it did not sign with the key that it is known by")
