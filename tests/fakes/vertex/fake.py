"""Google's generateContent as Vertex AI serves it: an OAuth 2 token, a project and a location.

Source: googleapis, google/cloud/aiplatform/v1/prediction_service.proto; cloud.google.com, Vertex AI,
"API errors" and "Error code 429".
"""

import re

from fakes.gemini.fake import GeminiFake, info, refusal
from fakes.serve import Reply, Seen

__all__ = ["LOCATION", "PROJECT", "TOKEN", "VertexFake"]

PROJECT, LOCATION, TOKEN = "p-1", "europe-west6", "ya29.the-fake-s-token"


class VertexFake(GeminiFake):
    """`/v1` and `/v1beta1`; the token is `TOKEN`."""

    path = re.compile(
        rf"/v1(?:beta1)?/projects/{PROJECT}/locations/{LOCATION}/publishers/google"
        r"/models/(?P<model>[^/:]+):(?P<method>\w+)"
    )

    def refused_key(self, seen: Seen) -> Reply | None:
        """401, whatever is wrong with the token."""
        if seen.headers.get("authorization") == f"Bearer {TOKEN}" and self.fault != "unauthorized":
            return None
        message = "Request had invalid authentication credentials. Expected OAuth 2 access token."
        return refusal(401, "UNAUTHENTICATED", message, info("ACCESS_TOKEN_TYPE_UNSUPPORTED"))

    def exhausted(self) -> Reply:
        """Shared capacity is gone, without a delay; or the project does not pay."""
        if self.fault == "throttled":
            message = "Resource exhausted. Please try again later."
            return refusal(429, "RESOURCE_EXHAUSTED", message)
        message = f"This API method requires billing to be enabled on project #{PROJECT}."
        return refusal(403, "PERMISSION_DENIED", message, info("BILLING_DISABLED"))
