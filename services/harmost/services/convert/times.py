"""Times: Unix nanoseconds in the domain, `Timestamp` on the wire. 0 is absence."""

from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["NS_PER_S", "time_from_proto", "time_to_proto"]

NS_PER_S = 1_000_000_000


def time_to_proto(time_ns: int) -> Timestamp | None:
    """`time_ns` as a timestamp; None for 0."""
    if not time_ns:
        return None
    seconds, nanos = divmod(time_ns, NS_PER_S)
    return Timestamp(seconds=seconds, nanos=nanos)


def time_from_proto(time: Timestamp) -> int:
    """`time` in Unix nanoseconds; 0 for an absent one."""
    return time.seconds * NS_PER_S + time.nanos
