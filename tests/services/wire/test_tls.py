"""TLS: identities as grpc.aio reports them, ALPN, client certificates, reload without a restart."""

import asyncio
import datetime
import ipaddress
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from wire_harness import TestServicer, make_server, pb, rpc

from harmost.services import wire


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def issue(name: str, issuer: Pair | None = None) -> Pair:
    """A certificate for `name`, signed by `issuer` or a new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


AUTHORITY, OTHER_AUTHORITY = issue("test authority"), issue("another authority")
SERVER, CLIENT = issue("localhost", AUTHORITY), issue("client.test", AUTHORITY)


def files(where: Path, server: Pair = SERVER, **more: Any) -> wire.TlsFiles:
    """Write `server` and the authority into `where`."""
    for name, content in (
        ("cert.pem", server.pem),
        ("key.pem", server.key_pem),
        ("ca.pem", AUTHORITY.pem),
    ):
        (where / name).write_bytes(content)
    return wire.TlsFiles(certificate=where / "cert.pem", key=where / "key.pem", **more)


def credentials(transport: str, where: Path, *, client_required: bool) -> Any:
    """The server's side of the same trust on either transport."""
    tls = files(where, client_ca=where / "ca.pem" if client_required else None)
    if transport == "wire":
        return tls
    return grpc.ssl_server_credentials(
        [(SERVER.key_pem, SERVER.pem)],
        root_certificates=AUTHORITY.pem if client_required else None,
        require_client_auth=client_required,
    )


async def start(transport: str, tls: Any) -> tuple[Any, TestServicer, int]:
    """A server with TLS."""
    server, servicer = make_server(transport), TestServicer()
    rpc.add_TestServiceServicer_to_server(servicer, server)
    port = server.add_secure_port("127.0.0.1:0", tls)
    await server.start()
    return server, servicer, port


def channel(port: int, client: Pair | None = None, authority: Pair = AUTHORITY) -> Any:
    """A client that trusts `authority`."""
    pair = (client.key_pem, client.pem) if client else (None, None)
    trust = grpc.ssl_channel_credentials(authority.pem, *pair)
    options = (
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.ssl_target_name_override", "localhost"),
    )
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", trust, options)


async def identity_of(transport: str, where: Path, client: Pair | None) -> dict[str, Any]:
    """What a handler learns of its caller."""
    server, servicer, port = await start(
        transport, credentials(transport, where, client_required=client is not None)
    )
    facts: dict[str, Any] = {}

    async def look(context: Any) -> None:
        facts.update({key: sorted(value) for key, value in context.auth_context().items()})
        facts["identities"] = sorted(context.peer_identities() or ())
        facts["identity_key"] = context.peer_identity_key()

    servicer.on_call = look
    async with channel(port, client) as opened:
        await rpc.TestServiceStub(opened).EmptyCall(pb.Empty())
    await server.stop(0)
    return facts


async def test_identity_without_a_client_certificate(transport: str, tmp_path: Path) -> None:
    facts = await identity_of(transport, tmp_path, None)
    assert facts["transport_security_type"] == [b"ssl"]
    assert facts["security_level"] == [b"TSI_PRIVACY_AND_INTEGRITY"]
    assert (facts["identities"], facts["identity_key"]) == ([], None)


async def test_identity_of_a_client_certificate(transport: str, tmp_path: Path) -> None:
    facts = await identity_of(transport, tmp_path, CLIENT)
    assert facts["x509_common_name"] == [b"client.test"]
    assert facts["x509_subject_alternative_name"] == [b"127.0.0.1", b"client.test"]
    assert facts["x509_pem_cert"] == [CLIENT.pem]
    assert facts["identity_key"] == "x509_subject_alternative_name"
    assert facts["identities"] == [b"127.0.0.1", b"client.test"]


async def test_client_without_a_certificate_is_refused(transport: str, tmp_path: Path) -> None:
    server, _, port = await start(transport, credentials(transport, tmp_path, client_required=True))
    stranger = issue("stranger", OTHER_AUTHORITY)
    for client in (None, stranger):
        async with channel(port, client) as opened:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await rpc.TestServiceStub(opened).EmptyCall(pb.Empty(), timeout=3)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await server.stop(0)


async def test_large_messages_pass_tls(transport: str, tmp_path: Path) -> None:
    server, _, port = await start(
        transport, credentials(transport, tmp_path, client_required=False)
    )
    async with channel(port) as opened:
        request = pb.SimpleRequest(response_size=3_000_000, payload=pb.Payload(body=bytes(3 << 20)))
        answer = await rpc.TestServiceStub(opened).UnaryCall(request)
        assert len(answer.payload.body) == 3_000_000
    await server.stop(0)


async def test_client_that_does_not_speak_http2_is_dropped(tmp_path: Path) -> None:
    server, _, port = await start("wire", files(tmp_path))
    context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
    context.set_alpn_protocols(["http/1.1"])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    with suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(100), 3) == b""
    writer.close()
    await server.stop(0)


async def serial_of(port: int) -> int:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cadata=AUTHORITY.pem.decode())
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown).serial_number


async def test_changed_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    server, _, port = await start("wire", files(tmp_path))
    async with channel(port) as opened:
        stub = rpc.TestServiceStub(opened)
        await stub.EmptyCall(pb.Empty())
        assert await serial_of(port) == SERVER.certificate.serial_number
        (tmp_path / "cert.pem").write_bytes(b"half a certif")
        server.reload_certificates()
        assert await serial_of(port) == SERVER.certificate.serial_number
        renewed = issue("localhost", AUTHORITY)
        files(tmp_path, renewed)
        server.reload_certificates()
        assert await serial_of(port) == renewed.certificate.serial_number
        await stub.EmptyCall(pb.Empty())  # the connection from before lives on
    await server.stop(0)


async def test_grpcs_own_credentials_are_refused_by_wire() -> None:
    opaque = grpc.ssl_server_credentials([(SERVER.key_pem, SERVER.pem)])
    with pytest.raises(TypeError, match="TlsFiles"):
        make_server("wire").add_secure_port("127.0.0.1:0", opaque)
