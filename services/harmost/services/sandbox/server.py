"""The sandbox's HTTP server: finds the vendor by the path, opens the bill, answers, closes it."""

import asyncio
import re
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from harmost.core.errors import InvalidInput
from harmost.core.limits import INPUT_BYTES_MAX
from harmost.services.sandbox import delivery
from harmost.services.sandbox.anthropic import AnthropicShape
from harmost.services.sandbox.billing import Bill, BillingLog, BooksClosed, EndRow, Status
from harmost.services.sandbox.embeddings import EmbeddingsShape
from harmost.services.sandbox.knobs import KnobError, Knobs, from_request
from harmost.services.sandbox.openai import OpenAiShape
from harmost.services.sandbox.plan import plan
from harmost.services.sandbox.prices import cost_usd_nanos
from harmost.services.sandbox.shape import Ask, BadRequest, Shape

__all__ = ["SandboxServer", "serve"]

# JSON may escape every byte of a prompt, six for one, but nobody's does: twice is generous.
_BODY_BYTES_MAX = 2 * INPUT_BYTES_MAX
# An id is a part of the path that it is looked up by.
_ATTEMPT_ID = re.compile(r"[A-Za-z0-9._~:-]{1,128}")
# Names that `fail_first` counts; the oldest is forgotten.
_NAMES_MAX = 10_000
_SHUTDOWN_S = 1.0

_SHAPES: dict[str, Shape] = {
    "/openai/v1/chat/completions": OpenAiShape(),
    "/openai/v1/embeddings": EmbeddingsShape(),
    "/anthropic/v1/messages": AnthropicShape(),
}
_USAGE_PATHS = (
    "/usage",
    "/openai/usage",
    "/openai/v1/usage",
    "/anthropic/usage",
    "/anthropic/v1/usage",
)


class SandboxServer:
    """Serves both vendors and the books in `log_path`. `defaults` hold where nobody turns a knob."""

    def __init__(self, log_path: Path, *, defaults: Knobs | None = None) -> None:
        self._log_path = log_path
        self._defaults = defaults or Knobs()
        self._failed: dict[str, int] = {}  # fail_first's name -> requests failed

    @asynccontextmanager
    async def running(self, host: str, port: int) -> AsyncGenerator[int, None]:
        """Serve until the block ends; yields the port that is bound (0 asks for any)."""
        self._log = BillingLog(self._log_path)
        server = web.Server(
            self._answered,
            request_factory=_request,
            handler_cancellation=True,  # a client that leaves stops its answer, and its bill
            access_log=None,
        )
        runner = web.ServerRunner(server, shutdown_timeout=_SHUTDOWN_S)
        try:
            await runner.setup()
            site = web.TCPSite(runner, host, port, backlog=1024)
            try:
                await site.start()
            except OSError as error:
                raise InvalidInput(
                    f"cannot listen on `{host}:{port}`: {(error.strerror or str(error)).lower()}: "
                    "stop what listens there or choose another port"
                ) from error
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()
            self._log.close()

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        """Route one request. The path below a vendor's base is the vendor's own."""
        shape = _SHAPES.get(request.path)
        if shape is not None:
            if request.method != "POST":
                return _json({"error": {"message": "use POST"}}, status=405)
            return await self._attempt(request, shape)
        if request.method == "GET" and request.path == "/healthz":
            return _json({"status": "serving"})
        base, _, attempt_id = request.path.rpartition("/")
        if request.method == "GET" and base in _USAGE_PATHS:
            return self._usage(attempt_id)
        if request.method == "GET" and request.path in _USAGE_PATHS:
            return self._page(request.query.get("since", "0"))
        return _json({"error": {"message": f"nothing is at `{request.path}`"}}, status=404)

    async def _attempt(self, request: web.BaseRequest, shape: Shape) -> web.StreamResponse:
        """One attempt: refused free of charge, or opened in the books, answered, and closed."""
        attempt_id = request.headers.get("x-request-id") or f"sbx{uuid.uuid4().hex}"
        if not _ATTEMPT_ID.fullmatch(attempt_id):
            return _error(shape, 400, f"x-request-id must match {_ATTEMPT_ID.pattern}", "")
        try:
            ask = shape.ask(await request.read(), request.headers)
            knobs = from_request(self._defaults, request.headers, ask.directives)
            if knobs.tool and knobs.tool not in ask.tools:
                raise BadRequest(f"no tool is called `{knobs.tool}`: offer it among `tools`")
        except (BadRequest, KnobError) as error:
            return _error(shape, 400, str(error), attempt_id)
        except web.HTTPRequestEntityTooLarge:
            return _error(shape, 413, f"the body is over {_BODY_BYTES_MAX} bytes", attempt_id)
        try:
            refusal = self._refusal(shape, ask, knobs, attempt_id)
            if refusal is not None:
                return refusal
            return await self._opened(request, shape, ask, knobs, attempt_id)
        except BooksClosed as error:
            return _error(shape, 409, str(error), attempt_id)

    def _refusal(
        self, shape: Shape, ask: Ask, knobs: Knobs, attempt_id: str
    ) -> web.Response | None:
        """The error that this request was told to get, noted in the books at no cost."""
        status, headers = knobs.fail, {}
        if knobs.garbage == "error":
            status = 200  # an error all the same, and as free as one
        if knobs.throttle is not None:
            status = 429
            headers = {
                "retry-after": f"{knobs.throttle:.0f}",
                "retry-after-ms": f"{knobs.throttle * 1000:.0f}",
            }
        if knobs.fail_first is not None:
            status = (status or 503) if self._fails(*knobs.fail_first) else None
        if status is None:
            return None
        self._log.failed(attempt_id, model=ask.model, http_status=status)
        response = _error(shape, status, "told to fail", attempt_id)
        response.headers.update(headers)
        return response

    def _fails(self, count: int, name: str) -> bool:
        """Whether a request called `name` is among the first `count`."""
        failed = self._failed.get(name, 0)
        if failed >= count:
            return False
        self._failed[name] = failed + 1
        if len(self._failed) > _NAMES_MAX:
            del self._failed[next(iter(self._failed))]
        return True

    async def _opened(
        self, request: web.BaseRequest, shape: Shape, ask: Ask, knobs: Knobs, attempt_id: str
    ) -> web.StreamResponse:
        planned = plan(ask, knobs, attempt_id=attempt_id, now_s=int(time.time()))
        bill = self._log.open(attempt_id, model=ask.model, input_tokens=planned.input_tokens)
        status: Status = "client_gone"
        response: web.StreamResponse = web.Response()  # for a connection that is no more
        try:
            if knobs.garbage is not None:
                status, response = await delivery.garble(request, shape, planned, knobs.garbage)
            elif ask.stream:
                status, response = await delivery.stream(request, shape, planned, bill)
            else:
                status, response = await delivery.whole(request, shape, planned, bill)
        except ConnectionError:
            pass  # gone, and the bill says so
        finally:
            bill.end(status)
        return response

    def _usage(self, attempt_id: str) -> web.Response:
        found = self._log.lookup(attempt_id)
        if found is None:
            return _json({"attempt_id": attempt_id, "status": "unknown"}, status=404)
        if isinstance(found, EndRow):
            return _json(found)
        return _json(_so_far(found))

    def _page(self, since: str) -> web.Response:
        """End rows in the order in which attempts ended: `{"attempts", "next", "more"}`."""
        try:
            rows, following, more = self._log.page(int(since))
        except ValueError:
            return _json({"error": {"message": f"no page begins at `{since}`"}}, status=400)
        end = msgspec.json.encode({"next": following, "more": more})
        return web.Response(
            body=b'{"attempts":[' + b",".join(rows) + b"]," + end[1:],
            content_type="application/json",
        )


async def serve(log_path: Path, *, host: str, port: int, defaults: Knobs | None = None) -> None:
    """Serve until cancelled."""
    async with SandboxServer(log_path, defaults=defaults).running(host, port):
        await asyncio.Event().wait()


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=_BODY_BYTES_MAX
    )


def _so_far(bill: Bill) -> dict[str, object]:
    row, output_tokens = bill.row, bill.output_tokens
    return {
        "attempt_id": row.attempt_id,
        "model": row.model,
        "status": "open",
        "input_tokens": row.input_tokens,
        "output_tokens": output_tokens,
        "cost_usd_nanos": cost_usd_nanos(
            row.model, input_tokens=row.input_tokens, output_tokens=output_tokens
        ),
    }


def _error(shape: Shape, status: int, message: str, attempt_id: str) -> web.Response:
    return web.Response(
        status=status,
        body=shape.error(status=status, message=message, attempt_id=attempt_id),
        content_type="application/json",
        headers=shape.headers(attempt_id),
    )


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(value), content_type="application/json"
    )
