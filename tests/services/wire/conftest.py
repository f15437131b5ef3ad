"""Fixtures of the wire tests: every test that asks for `transport` runs on both servers."""

import asyncio
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parent))  # the harness, for importlib mode

import wire_harness as harness


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the services run on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One loop for all: grpc.aio's poller does not follow a process from loop to loop."""
    here = Path(__file__).parent
    for item in items:
        is_async = inspect.iscoroutinefunction(getattr(item, "function", None))
        if is_async and here in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(params=harness.TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """The name of a transport."""
    return str(request.param)


@pytest.fixture
def serve(transport: str) -> Any:
    """Starts a server of this transport: `async with serve(**arguments) as running`."""

    def start(**arguments: Any) -> Any:
        return harness.running(transport, **arguments)

    return start
