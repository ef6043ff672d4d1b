"""Python's ssl with mutual TLS 1.3: Ed25519 keys, each side knows the other's certificate, no session tickets.

The kindest setting there is: a server process with nothing else to do, blocking sockets, contexts made beforehand on both sides, and
certificates that are pinned, so that no chain is verified beside them.

    python -m bench.peers.mtls FOLDER      serves until it is ended; its port is the first line it prints
"""

import socket
import ssl
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

EXCHANGE: Final = b"ping-----"  # as long as our pong with its type
SIDES: Final = ("client", "server")


def make_certificates(folder: Path) -> None:
    """A key and a certificate for each side."""
    today = datetime.now(UTC)
    for side in SIDES:
        private = ed25519.Ed25519PrivateKey.generate()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, side)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(1)
            .not_valid_before(today - timedelta(days=1))
            .not_valid_after(today + timedelta(days=1))
            .sign(private, None)
        )
        key = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        public = certificate.public_bytes(serialization.Encoding.PEM)
        (folder / f"{side}.pem").write_bytes(key + public)
        (folder / f"{side}.crt").write_bytes(public)


def context(folder: Path, side: str) -> ssl.SSLContext:
    """One side's context: its own key, the other's certificate, TLS 1.3 and nothing older."""
    client = side == "client"
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if client else ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(folder / f"{side}.pem")
    made.load_verify_locations(folder / ("server.crt" if client else "client.crt"))
    if not client:
        made.num_tickets = 0
    return made


def connect(port: int, made: ssl.SSLContext) -> ssl.SSLSocket:
    """Connect, prove both sides, exchange a few bytes; the caller closes."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sealed = made.wrap_socket(sock)
    sealed.sendall(EXCHANGE)
    if sealed.recv(64) != EXCHANGE:
        raise AssertionError("the TLS peer did not echo")
    return sealed


def serve(folder: Path) -> None:
    """One connection after the other: the client measures one at a time."""
    made = context(folder, "server")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError), made.wrap_socket(sock, server_side=True) as sealed:
                sealed.sendall(sealed.recv(64))
                sealed.recv(64)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
