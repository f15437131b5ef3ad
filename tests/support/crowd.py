"""A process of many streams that says when each has a token, and is then killed by whoever started it."""

import asyncio
import sys

import grpc

from harmost.router.v1 import router_pb2, router_pb2_grpc

CHANNELS = 20
AT_ONCE = 50  # are being begun
TEXT = "[[sandbox token_ms=3000 latency_sigma=0 output_tokens=400]]"


async def main(address: str, key: str, count: int) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(CHANNELS)]
    stubs = [router_pb2_grpc.RouterServiceStub(channel) for channel in channels]
    message = router_pb2.Message(
        role=router_pb2.MESSAGE_ROLE_USER, parts=[router_pb2.Part(text=TEXT)]
    )
    request = router_pb2.StreamChatRequest(
        profile="wide",
        messages=[message],
        generation=router_pb2.Generation(output_tokens_max=400),
    )
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> grpc.aio.UnaryStreamCall:
        async with room:
            stub = stubs[number % CHANNELS]
            call = stub.StreamChat(request, metadata=(("authorization", f"Bearer {key}"),))
            while not (await call.read()).HasField("delta"):
                pass
            return call

    calls = await asyncio.gather(*(one(number) for number in range(count)))
    print("all have a token", flush=True)
    await asyncio.sleep(600)
    del calls


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
