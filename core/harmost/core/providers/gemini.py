"""Codec for Google's generateContent: AI Studio and Vertex, which differ in credentials and files alone.

Source: googleapis, google/ai/generativelanguage/v1beta/{generative_service,content}.proto and
google/cloud/aiplatform/v1/{content,tool}.proto; ai.google.dev, "Thought signatures", "Thinking".
The base URL ends before `/models`. Answers are read in gemini_answer.py.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

import msgspec

from harmost.core.chat import (
    Generation,
    Media,
    Message,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from harmost.core.providers.codec import Fit, HttpRequest, ProviderError, UpstreamRequest
from harmost.core.providers.failures import retry_after_s
from harmost.core.providers.gemini_answer import GeminiReader, failed
from harmost.core.providers.marks import marks
from harmost.core.providers.seals import of_google

__all__ = ["GeminiCodec"]

_STOP_SEQUENCES_MAX = 5
_INT32_MAX = 2**31 - 1

# Models that count what they may think in tokens, as Google's own OpenAI-compatible front maps efforts;
# all later ones know levels.
_COUNTED = re.compile(r"gemini-(1|2)\b", re.ASCII)
_BUDGETS = {"none": 0, "low": 1_024, "medium": 8_192, "high": 24_576}
_BUDGET_TOKENS_MIN_OF_PRO = 128  # it cannot be turned off there

# What the vendor names for a call that another model made: without any seal, Gemini 3 refuses it.
_NOT_OURS = "skip_thought_signature_validator"

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}


class GeminiCodec(msgspec.Struct, frozen=True):
    """`POST /models/{model}:streamGenerateContent`. `vertex`: whose rules hold for keys and files.

    `files_url` is where files are that the vendor keeps, such as `…/v1beta`; Vertex keeps none.
    """

    vertex: bool = False
    files_url: str = ""

    def fit(self, messages: Sequence[Message], generation: Generation) -> Fit:
        """Results belong to calls; files of Vertex have a type and an address; five stops at the most."""
        parts = [part for message in messages for part in message.parts]
        lacks = [lack for part in parts if (lack := self._lack(part))]
        known = {part.call_id for part in parts if isinstance(part, ToolCall)}
        if any(isinstance(part, ToolResult) and part.call_id not in known for part in parts):
            lacks.append("tool_result.call_id")
        return Fit(lacks=_once(lacks), drops=_once(_drops(messages, generation)))

    def request(self, request: UpstreamRequest) -> HttpRequest:
        """The streamed request for `request`; system messages become the one `systemInstruction`."""
        generation = request.generation
        body: dict[str, object] = {
            "contents": self._contents(request),
            "generationConfig": _config(request),
        }
        system = "\n\n".join(m.text for m in request.messages if m.role == "system")
        if system:
            body["systemInstruction"] = {"parts": [{"text": system}]}
        if generation.tools:
            body["tools"] = [{"functionDeclarations": [_tool(tool) for tool in generation.tools]}]
            body["toolConfig"] = {"functionCallingConfig": _choice(generation.tool_choice)}
        return HttpRequest(
            path=f"/models/{quote(request.vendor_model_id, safe='')}:streamGenerateContent?alt=sse",
            headers={"content-type": "application/json", "accept": "text/event-stream"},
            body=msgspec.json.encode(body),
        )

    def auth_headers(self, secret: str) -> Mapping[str, str]:
        """AI Studio's key, or Vertex's OAuth 2 token; none when `secret` is empty."""
        if not secret:
            return {}
        return {"authorization": f"Bearer {secret}"} if self.vertex else {"x-goog-api-key": secret}

    def reader(self) -> GeminiReader:
        """A fresh reader for the events of one streamed answer."""
        return GeminiReader()

    def error(self, *, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """What an answer that is no stream means. `headers` in lower case."""
        return failed(body, status=status, retry_after_s=retry_after_s(headers))

    def _lack(self, part: Part) -> str:
        if not isinstance(part, Media) or not self.vertex:
            return ""
        if part.file_id:
            return f"{part.kind}.file_id"
        return f"{part.kind}.media_type" if part.uri and not part.media_type else ""

    def _contents(self, request: UpstreamRequest) -> list[dict[str, object]]:
        """Turns by who speaks. Results of one step's calls are one turn, or they are refused."""
        contents: list[dict[str, object]] = []
        names: dict[str, str] = {}  # of the call that an id meant last
        after_tool = False
        for message in request.messages:
            names.update((p.call_id, p.name) for p in message.parts if isinstance(p, ToolCall))
            if message.role == "system":
                continue
            if message.role == "assistant":
                parts = _said(message.parts, sealed=not _COUNTED.match(request.vendor_model_id))
            else:
                parts = [said for part in message.parts if (said := self._part(part, names))]
            if after_tool and message.role == "tool":
                contents[-1]["parts"] += parts  # type: ignore[operator]  # pyright: ignore
            elif parts:
                role = "model" if message.role == "assistant" else "user"
                contents.append({"role": role, "parts": parts})
                after_tool = message.role == "tool"
        return contents

    def _part(self, part: Part, names: Mapping[str, str]) -> dict[str, object] | None:
        """Of a user or a tool."""
        match part:
            case Text(text) if text:
                return {"text": text}
            case Media(data=data) if data:
                encoded = b64encode(data).decode()
                return {"inlineData": {"mimeType": part.media_type, "data": encoded}}
            case Media():
                file = {"fileUri": part.uri or self._address(part.file_id)}
                return {
                    "fileData": {"mimeType": part.media_type, **file} if part.media_type else file
                }
            case ToolResult(call_id, content, is_error):
                response = {"error" if is_error else "output": content}
                result = {"id": call_id, "name": names.get(call_id, ""), "response": response}
                return {"functionResponse": result}
            case _:
                return None

    def _address(self, file_id: str) -> str:
        """Of a file by its name, `files/…`; what is an address stays one."""
        return file_id if "://" in file_id else f"{self.files_url}/{file_id}"


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _drops(messages: Sequence[Message], generation: Generation) -> Iterable[str]:
    if generation.seed is not None and not -_INT32_MAX - 1 <= generation.seed <= _INT32_MAX:
        yield "seed"
    if len(generation.stop) > _STOP_SEQUENCES_MAX:
        yield "stop"
    if generation.tools and generation.tool_choice.one_at_a_time:
        yield "tool_choice.one_at_a_time"
    if marks(messages, generation):
        yield "cache"
    for message in messages:
        thoughts = [part for part in message.parts if isinstance(part, Reasoning)]
        seals = [part.signature for part in thoughts]
        if thoughts and (not any(seals) or any(s and not of_google(s) for s in seals)):
            yield "reasoning"


def _said(parts: Sequence[Part], *, sealed: bool) -> list[dict[str, object]]:
    """What the model said. A seal belongs to the words or the call that follow it, or to no words.

    Reasoning goes back where this vendor sealed some of it. `sealed`: the model takes no call without.
    """
    ours = any(isinstance(part, Reasoning) and of_google(part.signature) for part in parts)
    said: list[dict[str, object]] = []
    seal, calls = "", 0
    for part in parts:
        wire: dict[str, object] = {}
        match part:
            case Reasoning(text, signature):
                own = of_google(signature)
                if seal and own:
                    said.append({"text": "", "thoughtSignature": seal})
                seal = own or seal
                if text and ours:
                    said.append({"text": text, "thought": True})
                continue
            case Text(text):
                wire = {"text": text}
            case ToolCall(call_id, name, arguments_json):
                arguments = msgspec.Raw(arguments_json.encode() or b"{}")
                wire = {"functionCall": {"id": call_id, "name": name, "args": arguments}}
                # Of calls that are made at once the first bears the seal.
                seal = seal or (_NOT_OURS if sealed and not calls else "")
                calls += 1
            case _:
                continue
        if seal:
            wire["thoughtSignature"] = seal
        if seal or wire.get("text") != "":
            said.append(wire)
        seal = ""
    if seal:
        said.append({"text": "", "thoughtSignature": seal})
    return said


def _config(request: UpstreamRequest) -> dict[str, object]:
    generation = request.generation
    config: dict[str, object] = {"maxOutputTokens": request.output_tokens_max}
    if generation.temperature_permille is not None:
        config["temperature"] = generation.temperature_permille / 1000
    if generation.top_p_permille is not None:
        config["topP"] = generation.top_p_permille / 1000
    if generation.stop:
        config["stopSequences"] = generation.stop[:_STOP_SEQUENCES_MAX]
    if generation.seed is not None and -_INT32_MAX - 1 <= generation.seed <= _INT32_MAX:
        config["seed"] = generation.seed
    if generation.output_schema_json:
        config["responseMimeType"] = "application/json"
        config["responseJsonSchema"] = msgspec.Raw(generation.output_schema_json.encode())
    if generation.reasoning_effort:
        config["thinkingConfig"] = _thinking(request.vendor_model_id, generation.reasoning_effort)
    return config


def _thinking(model: str, effort: str) -> dict[str, object]:
    """Where a model cannot be kept from thinking, "none" is the least that it can do."""
    config: dict[str, object] = {"includeThoughts": True} if effort != "none" else {}
    if _COUNTED.match(model):
        least = _BUDGET_TOKENS_MIN_OF_PRO if "pro" in model else 0
        config["thinkingBudget"] = max(_BUDGETS[effort], least)
    elif effort == "none":
        config["thinkingLevel"] = "MINIMAL" if "flash" in model else "LOW"
    else:
        config["thinkingLevel"] = effort.upper()
    return config


def _tool(tool: Tool) -> dict[str, object]:
    wire: dict[str, object] = {
        "name": tool.name,
        "parametersJsonSchema": msgspec.Raw(tool.parameters_schema_json.encode()),
    }
    if tool.description:
        wire["description"] = tool.description
    return wire


def _choice(choice: ToolChoice) -> dict[str, object]:
    wire: dict[str, object] = {"mode": _MODES[choice.mode]}
    if choice.mode == "named":
        wire["allowedFunctionNames"] = [choice.name]
    return wire
