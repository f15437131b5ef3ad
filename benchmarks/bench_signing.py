"""What does AWS's signature add to a call, and what do other credentials?

On the back of an envelope: SHA-256 of 2 KB of body takes 2 us (with the CPU's own instructions), of the
canonical request another; one HMAC with the day's key, 2 us; strings and sorting, 5 us. A bearer token
is a dictionary that was made before. botocore derives the day's key anew each time, and parses a URL.

CPU of this thread. p50 and p99 are of batches of calls, as a clock of its own costs as much as a call.
"""

import statistics
import time
from collections.abc import Callable

from _result import emit
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harmost.core.providers.sigv4 import AwsKeys
from harmost.core.resources.kinds import ProviderSpec
from harmost.services.providers.endpoints import Endpoint
from harmost.services.providers.grants import Grant, Source

BATCH, BATCHES = 200, 200
BODY = b"x" * 2048
PATH = "/model/anthropic.claude-opus-4-7-v1%3A0/converse-stream"
HEADERS = {"content-type": "application/json", "accept": "application/vnd.amazon.eventstream"}
KEYS = AwsKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token" * 80)
HOST = "bedrock-runtime.eu-west-1.amazonaws.com"


def measure(name: str, call: Callable[[], object]) -> None:
    """Print the CPU of one call."""
    for _ in range(BATCH):
        call()
    took_us: list[float] = []
    for _ in range(BATCHES):
        began = time.thread_time_ns()
        for _ in range(BATCH):
            call()
        took_us.append((time.thread_time_ns() - began) / BATCH / 1000)
    cuts = statistics.quantiles(took_us, n=100)
    emit(f"{name}.p50_us", cuts[49], "us", BATCH * BATCHES)
    emit(f"{name}.p99_us", cuts[98], "us", BATCH * BATCHES)


def ours(spec: ProviderSpec, grant: Grant) -> Callable[[], object]:
    """What a call asks of the credential of `spec`."""
    source = Source("bench", lambda: grant)
    source.fetch()
    credential = Endpoint.of("p", spec, source=source).credential
    return lambda: credential.headers(
        credential.grant, method="POST", authority=HOST, path=PATH, headers=HEADERS, body=BODY
    )


def botocores() -> object:
    """The same by botocore."""
    request = AWSRequest("POST", f"https://{HOST}{PATH}", headers=dict(HEADERS), data=BODY)
    SigV4Auth(Credentials(*KEYS), "bedrock", "eu-west-1").add_auth(request)
    return request


def main() -> None:
    """Print all."""
    signed = ProviderSpec(codec="openai", base_url=f"https://{HOST}", credentials="aws:")
    bearer = ProviderSpec(codec="openai", base_url=f"https://{HOST}", credentials="google:")
    measure("providers.credential.sigv4", ours(signed, Grant(tuple(KEYS))))
    measure("providers.credential.bearer", ours(bearer, Grant(("token" * 80,))))
    measure("providers.credential.botocore", botocores)


if __name__ == "__main__":
    main()
