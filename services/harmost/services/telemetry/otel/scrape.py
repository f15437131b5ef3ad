"""The page that Prometheus scrapes: GET /metrics on an address of its own."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from harmost.core.errors import InvalidInput
from harmost.services.addresses import split_address

__all__ = ["scraped"]

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_HEAD_BYTES_MAX = 8_192


@asynccontextmanager
async def scraped(listen: str, page: Callable[[], Awaitable[bytes]]) -> AsyncGenerator[int]:
    """Answer with `page` on `listen` ("host:port", port 0: any) until the block ends; the port."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=await page(), headers={"content-type": CONTENT_TYPE})

    app = web.Application(client_max_size=1)
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        max_line_size=REQUEST_HEAD_BYTES_MAX,
        max_field_size=REQUEST_HEAD_BYTES_MAX,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    try:
        host, port = split_address(listen)
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise InvalidInput(
                f"metrics cannot be served on `{listen}`: {error.strerror}: "
                "give another `--metrics-listen`"
            ) from error
        bound: int = runner.addresses[0][1]
        log.info("metrics for Prometheus on port %d", bound)
        yield bound
    finally:
        await runner.cleanup()
