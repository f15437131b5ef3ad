"""Amazon Bedrock: `POST /model/{id}/converse` and `/converse-stream`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import unquote

from aws_stream import exception
from botocore.credentials import Credentials

from fakes.bedrock.answers import completion, events
from fakes.bedrock.requests import Invalid, read
from fakes.bedrock.signed import Denied, check
from fakes.serve import Fake, Fault, Reply, Seen

__all__ = ["UNOFFERED", "BedrockFake"]

UNOFFERED: Mapping[str, str] = {
    "reasoning_tokens": "docs.aws.amazon.com, Amazon Bedrock API Reference, `TokenUsage`: reasoning is in"
    " `outputTokens`, and not counted by itself",
}
PATH = re.compile(r"/model/([^/]+)/converse(-stream)?")


class Refusal(NamedTuple):
    """An exception of the service."""

    status: int
    name: str
    message: str


REFUSALS: Mapping[Fault, Refusal] = {
    "bad_request": Refusal(
        400, "ValidationException", "The model returned the following errors: top_p is no number"
    ),
    "unauthorized": Refusal(
        403,
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    ),
    "not_found": Refusal(
        404,
        "ResourceNotFoundException",
        "Could not resolve the foundation model from the provided model identifier.",
    ),
    "throttled": Refusal(
        429, "ThrottlingException", "Too many requests, please wait before trying again."
    ),
    "quota": Refusal(
        429, "ThrottlingException", "Too many tokens per day, please wait before trying again."
    ),
    "server_error": Refusal(
        500,
        "InternalServerException",
        "The system encountered an unexpected error during processing. Try your request again.",
    ),
    "overloaded": Refusal(
        503, "ServiceUnavailableException", "Bedrock is unable to process your request."
    ),
    "timeout": Refusal(
        408, "ModelTimeoutException", "Model has timed out in processing the request."
    ),
    "context_too_long": Refusal(
        400, "ValidationException", "Input is too long for requested model."
    ),
}


@dataclass
class BedrockFake(Fake):
    """The vendor in `region`, for those who have its `bearer` key or sign with `credentials`.

    `refusal` is said instead of what `fault` means; `breaks_by`: the stream breaks by this exception.
    """

    region: str = "eu-central-1"
    bearer: str = "bedrock-api-key-fake"
    credentials: Credentials = field(
        default_factory=lambda: Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI+bPxRfiCYEXAMPLEKEY")
    )
    refusal: Refusal | None = None
    breaks_by: tuple[str, str] | None = None

    def reply(self, seen: Seen) -> Reply:
        """As `Fake.reply`."""
        match = PATH.fullmatch(seen.raw_path)
        if seen.method != "POST" or match is None:
            return self._refused(Refusal(404, "UnknownOperationException", ""))
        try:
            check(seen, bearer=self.bearer, credentials=self.credentials, region=self.region)
            refusal = self.refusal or REFUSALS.get(self.fault)
            if refusal is not None:
                return self._refused(refusal)
            operation = "ConverseStream" if match[2] else "Converse"
            read(operation, seen.body, unquote(match[1]))
        except Denied as denied:
            return self._refused(Refusal(403, denied.name, denied.message))
        except Invalid as invalid:
            return self._refused(Refusal(400, "ValidationException", str(invalid)))
        return self._answered(streamed=bool(match[2]))

    def _answered(self, *, streamed: bool) -> Reply:
        answer = self.answer
        if self.fault == "filtered":
            answer = replace(answer, finish="content_filter")
        if not streamed:
            return Reply.of(
                completion(answer), x_amzn_RequestId="7f3c0000-0000-4000-8000-000000000000"
            )
        pieces = list(events(answer))
        if self.breaks_by is not None:
            name, words = self.breaks_by
            pieces[len(pieces) // 2 :] = [exception(name, {"message": words})]
        headers = {
            "content-type": "application/vnd.amazon.eventstream",
            "x-amzn-requestid": "7f3c0000-0000-4000-8000-000000000000",
        }
        return Reply(200, headers, pieces)

    def _refused(self, refusal: Refusal) -> Reply:
        headers = {"x_amzn_ErrorType": f"{refusal.name}:http://internal.amazon.com/coral/"}
        if self.fault == "throttled":
            headers["x_amz_retry_after"] = str(self.retry_after_s * 1000)
        return Reply.of({"message": refusal.message}, refusal.status, **headers)
