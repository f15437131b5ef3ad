"""Protos as JSON values for programs: integers stay integers, enums are short and lower case."""

from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["plain"]


def plain(message: Message) -> Any:
    """`message` with every field, those at their default included; absent messages are null."""
    if isinstance(message, Timestamp):
        return message.ToJsonString()
    if isinstance(message, Struct):
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(message)
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            found[field.name] = _many(field, getattr(message, field.name))
        elif field.has_presence and not message.HasField(field.name):
            if field.containing_oneof is None:
                found[field.name] = None
        else:
            found[field.name] = _one(field, getattr(message, field.name))
    return found


# A field's descriptor: two classes, one of them private, stand for it in the stubs.
Field = Any


def _many(field: Field, values: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        return {str(key): _one(value, values[key]) for key in sorted(values)}
    return [_one(field, value) for value in values]


def _one(field: Field, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        return enum_name(field, value)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def enum_name(field: Field, number: int) -> str:
    """ "completed" for RECORD_STATUS_COMPLETED; "" for not stated; the number where it is new."""
    value = field.enum_type.values_by_number.get(number)
    if number == 0:
        return ""
    if value is None:
        return str(number)
    prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(value.name.removeprefix(prefix).lower())
