"""Go, Node, grpcurl and grpcio's threads call the wire server as they would any other."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "services" / "wire"))
from wire_harness import HERE, payload, pb, rpc

pytestmark = pytest.mark.timeout(900)  # the first run builds


async def test_grpc_go_passes_its_own_interop_cases(
    server: str, go_programs: Path, run: Any
) -> None:
    status, output = await run(go_programs / "wire", server)
    assert status == 0, output
    assert output.count("ok ") == 14


async def test_grpc_js_passes_the_interop_cases(
    server: str, node_client: tuple[Path, Path], run: Any
) -> None:
    node, where = node_client
    status, output = await run(node, where / "interop.js", server, HERE / "wiretest.proto")
    assert status == 0, output
    assert output.count("ok ") == 15


async def test_grpcurl_finds_methods_by_reflection_and_calls_them(
    server: str, go_programs: Path, run: Any
) -> None:
    grpcurl = go_programs / "grpcurl"
    status, output = await run(grpcurl, "-plaintext", server, "list")
    assert status == 0, output
    assert "grpc.testing.TestService" in output
    status, output = await run(
        grpcurl, "-plaintext", "-d", '{"response_size": 3}', server,
        "grpc.testing.TestService/UnaryCall",
    )  # fmt: skip
    assert json.loads(output) == {"payload": {"body": "AAAA"}}
    status, output = await run(
        grpcurl, "-plaintext", "-d", '{"response_status": {"code": 7, "message": "no"}}', server,
        "grpc.testing.TestService/UnaryCall",
    )  # fmt: skip
    assert status != 0
    assert "PermissionDenied" in output


async def test_grpcio_with_threads(server: str) -> None:
    def talk() -> None:
        with grpc.insecure_channel(server) as channel:
            stub = rpc.TestServiceStub(channel)
            request = pb.SimpleRequest(response_size=314159, payload=payload(271828))
            assert stub.UnaryCall(request).payload == payload(314159)
            asked = [pb.ResponseParameters(size=size) for size in (1, 2, 3)]
            answers = stub.StreamingOutputCall(
                pb.StreamingOutputCallRequest(response_parameters=asked)
            )
            assert [len(answer.payload.body) for answer in answers] == [1, 2, 3]
            sent = [pb.StreamingInputCallRequest(payload=payload(size)) for size in (4, 5)]
            assert stub.StreamingInputCall(iter(sent)).aggregated_payload_size == 9
            with pytest.raises(grpc.RpcError) as caught:
                stub.Sleep(pb.Empty(), timeout=0.05)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    await asyncio.to_thread(talk)
