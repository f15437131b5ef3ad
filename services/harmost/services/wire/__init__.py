"""A gRPC server on HTTP/2 (ngh2), used as `grpc.aio.server()` is and at a fraction of its cost."""

from .context import Context
from .limits import Limits
from .server import Server
from .stream import Stream
from .tls import TlsFiles

__all__ = ["Context", "Limits", "Server", "Stream", "TlsFiles"]
