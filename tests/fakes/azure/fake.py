"""Azure OpenAI: classic deployments and the v1 address, both in front of what OpenAI answers.

Source: learn.microsoft.com, Azure OpenAI REST reference, "Content filtering" and "Error codes"; statuses and
words as seen in public reports.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fakes.openai.fake import OpenAiFake
from fakes.serve import Fault, Reply, Seen

__all__ = ["UNOFFERED", "AzureFake"]

UNOFFERED: Mapping[str, str] = {
    "quota": 'learn.microsoft.com, "Azure OpenAI quotas and limits": a quota is a rate, told as 429 with '
    "a wait; money that is spent is no error of its own",
}
VERSIONS = ("2024-10-21", "2025-04-01-preview")
SAFE = {
    name: {"filtered": False, "severity": "safe"}
    for name in ("hate", "self_harm", "sexual", "violence")
}
ERRORS: Mapping[Fault, tuple[int, dict[str, Any]]] = {
    "unauthorized": (
        401,
        {
            "code": "401",
            "message": "Access denied due to invalid subscription key or wrong API endpoint. Make sure to "
            "provide a valid key for an active subscription and use a correct regional API endpoint for "
            "your resource.",
        },
    ),
    "not_found": (
        404,
        {
            "code": "DeploymentNotFound",
            "message": "The API deployment for this resource does not exist. If you created the deployment "
            "within the last 5 minutes, please wait a moment and try again.",
        },
    ),
    "throttled": (
        429,
        {
            "code": "429",
            "message": "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version "
            "2024-10-21 have exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry "
            "after 7 seconds.",
        },
    ),
    "timeout": (408, {"code": "Timeout", "message": "The operation was timeout."}),
    "filtered": (
        400,
        {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content "
            "management policy. Please modify your prompt and retry.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {
                    **SAFE,
                    "jailbreak": {"filtered": False, "detected": False},
                    "violence": {"filtered": True, "severity": "medium"},
                },
            },
        },
    ),
}


@dataclass
class AzureFake(OpenAiFake):
    """The vendor. `deployments` are the models that it has; an Entra token is the key as Bearer."""

    key: str = "azure-fake"
    deployments: tuple[str, ...] = ("gpt/x y", "gpt-x")

    def _answered(self, seen: Seen) -> Reply:
        said = (seen.headers.get("api-key"), seen.headers.get("authorization"))
        if self.fault == "unauthorized" or said not in (
            (self.key, None),
            (None, f"Bearer {self.key}"),
        ):
            return _refused("unauthorized")
        if (
            not seen.path.startswith("/openai/v1/")
            and seen.query.get("api-version") not in VERSIONS
        ):
            return Reply.of({"error": {"code": "404", "message": "Resource not found"}}, 404)
        if self.fault in ERRORS:
            return _refused(self.fault)
        return super()._answered(seen)

    def _routed(self, seen: Seen) -> str:
        """Which of OpenAI's addresses the path stands for; "" where the deployment is not there."""
        start, classic = "/openai/deployments/", seen.path
        if not classic.startswith(start):
            return seen.path.removeprefix("/openai")
        for deployment in self.deployments:
            if classic.startswith(f"{start}{deployment}/"):
                return "/v1" + classic.removeprefix(start + deployment)
        return ""

    def _unknown(self, seen: Seen) -> Reply:
        return _refused("not_found")

    def _is_authorized(self, seen: Seen) -> bool:
        return True  # it was checked above

    def _chunks(self, chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What the filter found stands first, without a choice, and in each choice."""
        if not chunks:
            return chunks
        first = {**chunks[0], "id": "", "model": "", "created": 0, "choices": []}
        first["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": SAFE}]
        for chunk in chunks:
            for choice in chunk["choices"]:
                choice["content_filter_results"] = SAFE if choice["delta"].get("content") else {}
        return [first, *chunks]

    def _completion(self, completion: dict[str, Any]) -> dict[str, Any]:
        for choice in completion["choices"]:
            choice["content_filter_results"] = SAFE
        filtered = [{"prompt_index": 0, "content_filter_results": SAFE}]
        return {**completion, "prompt_filter_results": filtered}

    def _headers(self) -> Mapping[str, str]:
        told = {
            "x-ms-region": "Switzerland North",
            "apim-request-id": "3d37de60",
            "x-ratelimit-remaining-requests": "7",
            "x-ratelimit-reset-requests": "1",
        }
        if self.fault == "throttled":
            told["retry-after"] = str(self.retry_after_s)
            told["retry-after-ms"] = str(self.retry_after_s * 1000)
        return told


def _refused(fault: Fault) -> Reply:
    status, error = ERRORS[fault]
    return Reply.of({"error": error}, status)
