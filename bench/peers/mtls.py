"""Python's ssl with mutual TLS 1.3 and Ed25519 certificates, no session tickets, a server process; contexts are made beforehand.

Two of them. `loop`: what stands where a house stands, a server that can serve many at once: asyncio on uvloop at both ends, as with us,
and certificates that a private CA signed, as mutual TLS has them. `bare`: the kindest there is: blocking sockets, a server that knows
one connection at a time and nothing else, and certificates that are pinned, so that no chain is verified.

    python -m bench.peers.mtls loop|bare FOLDER      serves until it is ended; its port is the first line it prints
"""

import asyncio
import socket
import ssl
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

EXCHANGE: Final = b"ping-----"  # as long as our pong with its type
KINDS: Final = ("loop", "bare")


def make_certificates(folder: Path) -> None:
    """For each kind and side a key, its certificate, and what the other side trusts."""
    authority = Ed25519PrivateKey.generate()
    (folder / "loop-trusted.crt").write_bytes(_pem(_certificate("authority", authority, "authority", authority, ca=True)))
    for side in ("client", "server"):
        for kind in KINDS:
            key = Ed25519PrivateKey.generate()
            issuer = (side, key) if kind == "bare" else ("authority", authority)
            certificate = _pem(_certificate(side, key, *issuer, ca=False))
            private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            (folder / f"{kind}-{side}.pem").write_bytes(private + certificate)
            (folder / f"{kind}-{side}.crt").write_bytes(certificate)


def _certificate(name: str, key: Ed25519PrivateKey, issuer: str, signer: Ed25519PrivateKey, *, ca: bool) -> x509.Certificate:
    subject, by = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer))
    today = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(by).public_key(key.public_key()).serial_number(1 + ca)
    builder = builder.not_valid_before(today - timedelta(days=1)).not_valid_after(today + timedelta(days=1))
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(signer, None)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def context(folder: Path, kind: str, side: str) -> ssl.SSLContext:
    """One side's context: its own key, whom it trusts, TLS 1.3 and nothing older."""
    client = side == "client"
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if client else ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(folder / f"{kind}-{side}.pem")
    trusted = "loop-trusted.crt" if kind == "loop" else "bare-server.crt" if client else "bare-client.crt"
    made.load_verify_locations(folder / trusted)
    if not client:
        made.num_tickets = 0
    return made


def connect_bare(port: int, made: ssl.SSLContext) -> ssl.SSLSocket:
    """Connect, prove both sides, exchange a few bytes; the caller closes."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sealed = made.wrap_socket(sock)
    sealed.sendall(EXCHANGE)
    if sealed.recv(64) != EXCHANGE:
        raise AssertionError("the TLS peer did not echo")
    return sealed


async def connect_loop(port: int, made: ssl.SSLContext) -> asyncio.StreamWriter:
    """The same on the event loop."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=made)
    writer.write(EXCHANGE)
    if await reader.readexactly(len(EXCHANGE)) != EXCHANGE:
        raise AssertionError("the TLS peer did not echo")
    return writer


def serve_bare(folder: Path) -> None:
    """One connection after the other: the client measures one at a time."""
    made = context(folder, "bare", "server")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError), made.wrap_socket(sock, server_side=True) as sealed:
                sealed.sendall(sealed.recv(64))
                sealed.recv(64)


async def serve_loop(folder: Path) -> None:
    """As many connections as come."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            writer.write(await reader.readexactly(len(EXCHANGE)))
            await reader.read(64)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context(folder, "loop", "server"))
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "bare":
        serve_bare(Path(sys.argv[2]))
    else:
        uvloop.run(serve_loop(Path(sys.argv[2])))
