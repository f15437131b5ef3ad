"""What Amazon Bedrock's own description, which botocore carries, has against a JSON body.

botocore's validator knows types, required members, unions and lower bounds. Enumerations, patterns, upper
bounds and unknown members are held here, as the service holds them.
"""

import binascii
import re
from base64 import b64decode
from functools import cache
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

__all__ = ["problems", "problems_of_event", "problems_of_request", "problems_of_response"]


@cache
def service() -> ServiceModel:
    """The service's description."""
    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))


def problems_of_request(operation: str, body: Any, **path: str) -> list[str]:
    """Of the request's `body`, with the members that stand in the path."""
    if not isinstance(body, dict):
        return ["the body is no object"]
    return problems(service().operation_model(operation).input_shape, {**body, **path})


def problems_of_response(operation: str, body: Any) -> list[str]:
    """Of the unstreamed answer `body`."""
    return problems(service().operation_model(operation).output_shape, body)


def problems_of_event(name: str, payload: Any) -> list[str]:
    """Of an event or an exception of ConverseStream."""
    stream = service().shape_for("ConverseStreamOutput")
    if name not in stream.members:
        return [f"there is no event {name}"]
    return problems(stream.members[name], payload)


def problems(shape: Any, body: Any) -> list[str]:
    """What is wrong with JSON of this `shape`; empty: nothing."""
    found: list[str] = []
    value = _read(shape, body, "", found)
    report = ParamValidator().validate(value, shape)
    return found + ([report.generate_report()] if report.has_errors() else [])


def _read(shape: Any, value: Any, where: str, found: list[str]) -> Any:
    """`value` with blobs decoded, as botocore has them; what is wrong goes to `found`."""
    match shape.type_name, value:
        case "structure", dict():
            if getattr(shape, "is_document_type", False):
                return value
            found += [
                f"unknown member {where}.{name}" for name in value if name not in shape.members
            ]
            return {
                name: _read(shape.members[name], member, f"{where}.{name}", found)
                for name, member in value.items()
                if name in shape.members
            }
        case "list", list():
            _bounds(shape, len(value), where, found)
            return [
                _read(shape.member, each, f"{where}[{n}]", found) for n, each in enumerate(value)
            ]
        case "map", dict():
            return {k: _read(shape.value, v, f"{where}.{k}", found) for k, v in value.items()}
        case "blob", str():
            try:
                return b64decode(value, validate=True)
            except binascii.Error:
                found.append(f"{where} is no base64")
                return b""
        case "string", str():
            _string(shape, value, where, found)
        case (("integer" | "long" | "float" | "double"), int() | float()):
            _bounds(shape, value, where, found)
        case _:
            pass
    return value


def _bounds(shape: Any, number: float, where: str, found: list[str]) -> None:
    if number > shape.metadata.get("max", number):
        found.append(f"{where} is above {shape.metadata['max']}")


def _string(shape: Any, value: str, where: str, found: list[str]) -> None:
    _bounds(shape, len(value), where, found)
    if shape.enum and value not in shape.enum:
        found.append(f"{where}: {value!r} is none of {', '.join(shape.enum)}")
    pattern = shape.metadata.get("pattern")
    # Those of model ids hold alternatives that are not anchored: any of them may match.
    if pattern and not re.fullmatch(pattern.replace("^", "").replace("$", ""), value):
        found.append(f"{where}: {value!r} does not match {pattern}")
