"""The knock and the stream: what a genuine knock costs the house, what hostile ones cost, a million pairs, bulk data.

Rates are per CPU second of this process, in rounds that alternate between us and the peers; ratios are medians over the
rounds. Absolute rates are those of the least disturbed rounds: they say what the code costs, not how busy the machine was.

- `pair.responder`: knock in, message 2 out, through `Doorkeeper.receive` and `Admit.answer`; 200 pairs, prepared states warm. Ephemeral
  keys are drawn ahead, as an idle house does; `with_keygen` draws them inside. `dh_floor` are the three X25519 alone (es, ee, se; ss is
  prepared per pair) on the library's own handles, in the same rounds: no house that does them can be faster on this machine.
- `pair.junk`: hostile datagrams through a real UDP socket on loopback and the doorkeeper, prefilter off: shares of random bytes in
  the right shape, other sizes, other headers, and known tags with a wrong MAC. `bad_mac` are the last kind alone.
- `pair.scale`: the same ten pairs knock at a house of ten and at a house of a million; `cold`: their prepared states gone.
- `pair.memory`: resident memory of the house of a million, all tags of four windows computed.
- `pair.bulk`: one stream over loopback TCP between two processes, 256 KiB at a time, wall clock. We and TLS use AES-256-GCM.
  `ratio_noiseprotocol` is against noiseprotocol as it is used everywhere, with ChaChaPoly, in frames of 64 KiB;
  `ratio_noiseprotocol_aesgcm` against the same with our cipher, `chachapoly_ratio_noiseprotocol` our other suite against it.
"""

import gc
import os
import random
import resource
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.x509.oid import NameOID

from bench.counts import count
from tallystick.channel.datagram import KNOCK_BYTES, SECOND_NS, WINDOW_NS, Mode
from tallystick.channel.handshake import Handshake
from tallystick.channel.knock import Admit, Doorkeeper
from tallystick.channel.knocker import Knocker
from tallystick.channel.session import Session
from tallystick.errors import Unavailable
from tallystick.net.udp import UdpPort
from tallystick.pair.pairing import DirectionKeys, PairKeys, PairType, Role, Suite, derive_pair_keys
from tallystick.primitives import X25519KeyPair

ROUNDS: Final = count(9, 1)
BURST: Final = 200
MILLION: Final = count(1_000_000, 1_000)
BULK_BYTES: Final = count(96 << 20, 1 << 20)
TURNS: Final = count(300, 6)
CHUNK_BYTES: Final = 256 << 10
# Just inside a window, so that no round meets the turn to the next.
NOW: Final = (1_790_000_000 * SECOND_NS // WINDOW_NS) * WINDOW_NS + SECOND_NS
ADDRESS: Final = ("192.0.2.1", 1)


class Record(Protocol):
    def __call__(self, key: str, value: float) -> None: ...
    def missing(self, peer: str, reason: str) -> None: ...


def _fresh() -> X25519KeyPair:
    return X25519KeyPair.from_private(os.urandom(32))


class _House:
    """A house with `real` pairs whose clients exist, and as many others as asked for."""

    def __init__(self, real: int, others: int = 0) -> None:
        static = _fresh()
        self.keeper = Doorkeeper(static=static, now_ns=NOW)
        self.knockers: list[Knocker] = []
        for number in range(1, real + 1):
            client, keys = _fresh(), derive_pair_keys(os.urandom(32))
            self._add(number, keys, client.public)
            self.knockers.append(
                Knocker.of_pair(keys=keys, static=client, house_static=static.public, pair_type=PairType.INPUT, suite=Suite.CHACHAPOLY)
            )
        for number in range(real + 1, real + others + 1):
            keys = PairKeys(
                psk=os.urandom(32),
                to_house=DirectionKeys(tag=os.urandom(32), mac=os.urandom(32), mask=os.urandom(32)),
                to_client=DirectionKeys(tag=os.urandom(32), mac=os.urandom(32), mask=os.urandom(32)),
            )
            self._add(number, keys, os.urandom(31) + b"\x3f")
        while self.keeper.tick(NOW, 100_000):
            pass

    def _add(self, number: int, keys: PairKeys, client_static: bytes) -> None:
        self.keeper.add_pair(number, keys=keys, client_static=client_static, pair_type=PairType.INPUT, suite=Suite.CHACHAPOLY)

    def knocks(self, time_ns: int) -> list[bytes]:
        return [knocker.knock(time_ns=time_ns, tcp_port=50_001, mode=Mode.OPEN, ephemeral=_fresh()).datagram for knocker in self.knockers]

    def serve(self, datagrams: list[bytes], ephemerals: Iterator[X25519KeyPair], now_ns: int) -> float:
        """CPU seconds for each knock, from the datagram to message 2."""
        keeper = self.keeper
        begin = time.process_time()
        for data in datagrams:
            admit = keeper.receive(data, ADDRESS, now_ns)
            if not isinstance(admit, Admit):
                raise AssertionError(f"a genuine knock was refused: {keeper.counts}")
            admit.answer(tcp_port=41_000, mode=Mode.OPEN, ephemeral=next(ephemerals))
            keeper.ended(admit.ticket)
        return (time.process_time() - begin) / len(datagrams)


def _responder(record: Record) -> None:
    house = _House(BURST)
    ahead, inside, floor = [], [], []
    raw, raw_public = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()
    for turn in range(6 * ROUNDS):
        now_ns = NOW + turn * SECOND_NS
        knocks = house.knocks(now_ns)
        if turn % 2:
            drawn = [_fresh() for _ in knocks]
            ahead.append(house.serve(knocks, iter(drawn), now_ns))
        else:
            inside.append(house.serve(knocks, iter(_fresh, None), now_ns))
        begin = time.process_time()
        for _ in range(BURST):
            raw.exchange(raw_public)
            raw.exchange(raw_public)
            raw.exchange(raw_public)
        floor.append((time.process_time() - begin) / BURST)
    record("pair.responder.per_cpu_s", 1 / min(ahead))
    record("pair.responder.dh_floor_per_cpu_s", 1 / min(floor))
    record("pair.responder.ratio_dh_floor", min(floor) / min(ahead))
    record("pair.responder.with_keygen_per_cpu_s", 1 / min(inside))


def _hostile(house: _House, dice: random.Random) -> tuple[list[bytes], list[bytes]]:
    known = house.knocks(NOW)
    bad_macs = [dice.choice(known)[:20] + dice.randbytes(KNOCK_BYTES - 20) for _ in range(BURST)]
    mixed = []
    for i in range(BURST):
        header = bytes((1, 1, dice.randrange(1, 4), 0))
        mixed.append((header + dice.randbytes(104), dice.randbytes(dice.randrange(1, 1400)), dice.randbytes(108), bad_macs[i])[i % 4])
    return mixed, bad_macs


def _junk(record: Record, house: _House) -> None:
    try:
        port = UdpPort.open("127.0.0.1", 0)
    except Unavailable as error:
        record.missing("pair.junk over a socket", error.message)
        return
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", port.port))
    rates: dict[str, list[float]] = {"pair.junk.per_cpu_s": [], "pair.junk.bad_mac_per_cpu_s": []}
    for kind, hostile in zip(rates, _hostile(house, random.Random(7)), strict=True):
        for _ in range(ROUNDS * 20):
            for data in hostile:
                sender.send(data)
            seen = 0
            begin = time.process_time()
            while True:
                batch = port.receive()
                if not batch:
                    break
                for data in batch:
                    if isinstance(house.keeper.receive(data, ADDRESS, NOW), Admit):
                        raise AssertionError("a hostile datagram was admitted")
                seen += len(batch)
            rates[kind].append(seen / (time.process_time() - begin))
    sender.close()
    port.close()
    for kind, values in rates.items():
        record(kind, statistics.quantiles(values, n=10)[-1])


def _scale(record: Record) -> None:
    small = _House(10)
    gc.collect()
    before = _resident_bytes()
    big = _House(10, MILLION - 10)
    gc.collect()
    record("pair.memory.bytes_per_pair", (_resident_bytes() - before) / MILLION)
    gc.freeze()  # a collection that walks what the bench keeps would be charged to whoever runs then
    warm: dict[str, list[float]] = {"small": [], "big": []}
    cold: dict[str, list[float]] = {"small": [], "big": []}
    for turn in range(TURNS):
        now_ns = NOW + turn * SECOND_NS // 10
        order = (("small", small), ("big", big)) if turn % 2 else (("big", big), ("small", small))
        for name, house in order:
            house.knockers[0].knock(time_ns=now_ns, tcp_port=1, mode=Mode.OPEN, ephemeral=_fresh())
            drawn = iter([_fresh() for _ in house.knockers])
            if turn % 3 == 2:
                house.keeper._prepared.clear()
                cold[name].append(house.serve(house.knocks(now_ns), drawn, now_ns))
            else:
                warm[name].append(house.serve(house.knocks(now_ns), drawn, now_ns))
    record("pair.scale.knock_1m_over_10", statistics.median(warm["big"]) / statistics.median(warm["small"]))
    record("pair.scale.cold_knock_1m_over_10", statistics.median(cold["big"]) / statistics.median(cold["small"]))
    _junk(record, big)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()


# --- Bulk: each peer is a way to send and a way to receive over a connected socket -----------------------------------------

Side = Callable[[socket.socket], None]
_DATA: Final = os.urandom(CHUNK_BYTES)


def _raw() -> tuple[Side, Side]:
    def send(sock: socket.socket) -> None:
        for _ in range(BULK_BYTES // CHUNK_BYTES):
            sock.sendall(_DATA)

    def receive(sock: socket.socket) -> None:
        buffer, left = bytearray(CHUNK_BYTES), BULK_BYTES
        while left:
            left -= sock.recv_into(buffer)

    return send, receive


def _handshakes(suite: Suite) -> tuple[Handshake, Handshake, X25519KeyPair, X25519KeyPair]:
    static, client, keys = _fresh(), _fresh(), derive_pair_keys(os.urandom(32))
    keeper = Doorkeeper(static=static, now_ns=NOW)
    keeper.add_pair(1, keys=keys, client_static=client.public, pair_type=PairType.INPUT, suite=suite)
    knocker = Knocker.of_pair(keys=keys, static=client, house_static=static.public, pair_type=PairType.INPUT, suite=suite)
    sent = knocker.knock(time_ns=NOW, tcp_port=1, mode=Mode.OPEN, ephemeral=_fresh())
    admit = keeper.receive(sent.datagram, ADDRESS, NOW)
    if not isinstance(admit, Admit):
        raise AssertionError("a genuine knock was refused")
    answer, at_house = admit.answer(tcp_port=1, mode=Mode.OPEN, ephemeral=_fresh())
    answered = sent.read(answer)
    if answered is None:
        raise AssertionError("a genuine answer was refused")
    return answered.handshake, at_house, client, static


def _ours(suite: Suite) -> tuple[Side, Side]:
    at_client, at_house, client_static, house_static = _handshakes(suite)
    client = Session.of_pair(role=Role.CLIENT, handshake=at_client, suite=suite, static=client_static, ephemeral=_fresh, now_ns=NOW)
    house = Session.of_pair(role=Role.HOUSE, handshake=at_house, suite=suite, static=house_static, ephemeral=_fresh, now_ns=NOW)
    house.receive(client.start(), NOW)
    client.receive(house.outgoing(), NOW)

    def send(sock: socket.socket) -> None:
        for _ in range(BULK_BYTES // CHUNK_BYTES):
            sock.sendall(client.send_data(_DATA))

    def receive(sock: socket.socket) -> None:
        buffer, left = bytearray(CHUNK_BYTES), BULK_BYTES
        view = memoryview(buffer)
        while left:
            size = sock.recv_into(buffer)
            for event in house.receive(view[:size], time.time_ns()):
                left -= len(event.data)  # type: ignore[union-attr]

    return send, receive


def _noiseprotocol(cipher: str) -> tuple[Side, Side]:
    from noise.connection import NoiseConnection

    ends: list[Any] = [NoiseConnection.from_name(f"Noise_NN_25519_{cipher}_BLAKE2s".encode()) for _ in range(2)]
    ends[0].set_as_initiator()
    ends[1].set_as_responder()
    for end in ends:
        end.start_handshake()
    ends[1].read_message(ends[0].write_message())
    ends[0].read_message(ends[1].write_message())
    frame_bytes = 65_519

    def send(sock: socket.socket) -> None:
        for _ in range(BULK_BYTES // CHUNK_BYTES):
            for at in range(0, CHUNK_BYTES, frame_bytes):
                sealed = ends[0].encrypt(_DATA[at : at + frame_bytes])
                sock.sendall(len(sealed).to_bytes(2, "big") + sealed)

    def receive(sock: socket.socket) -> None:
        left, pending = BULK_BYTES, b""
        while left:
            pending += sock.recv(CHUNK_BYTES)
            at = 0
            while len(pending) - at >= 2:
                end = at + 2 + int.from_bytes(pending[at : at + 2], "big")
                if end > len(pending):
                    break
                left -= len(ends[1].decrypt(pending[at + 2 : end]))
                at = end
            pending = pending[at:]

    return send, receive


def _certificate(folder: Path) -> Path:
    private = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    today = datetime.now(UTC)
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
    path = folder / "bench.pem"
    path.write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def _tls(certificate: Path) -> tuple[Side, Side]:
    at_client, at_house = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    at_client.check_hostname = False
    at_client.load_verify_locations(certificate)
    at_house.load_cert_chain(certificate)
    for context in (at_client, at_house):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
    send_raw, receive_raw = _raw()

    def send(sock: socket.socket) -> None:
        with at_client.wrap_socket(sock) as sealed:
            if sealed.cipher() is None or "AES_256_GCM" not in str(sealed.cipher()):
                raise AssertionError(f"TLS took {sealed.cipher()}")
            send_raw(sealed)
            if sealed.recv(1) != b"k":
                raise AssertionError("the receiver did not finish")

    def receive(sock: socket.socket) -> None:
        with at_house.wrap_socket(sock, server_side=True) as sealed:
            receive_raw(sealed)
            sealed.sendall(b"k")

    return send, receive


def _megabytes_per_s(send: Side, receive: Side, *, acknowledged_inside: bool) -> float:
    """Wall clock, between two processes; the receiver's last word ends it."""
    listener = socket.create_server(("127.0.0.1", 0))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            connection, _ = listener.accept()
            receive(connection)
            if not acknowledged_inside:
                connection.sendall(b"k")
            status = 0
        finally:
            os._exit(status)
    with socket.create_connection(listener.getsockname()) as sock:
        listener.close()
        begin = time.perf_counter()
        send(sock)
        if not acknowledged_inside and sock.recv(1) != b"k":
            raise AssertionError("the receiver did not finish")
        seconds = time.perf_counter() - begin
    os.waitpid(child, 0)
    return BULK_BYTES / seconds / 1e6


def _bulk(record: Record) -> None:
    with tempfile.TemporaryDirectory() as folder:
        certificate = _certificate(Path(folder))
        peers: dict[str, tuple[Callable[[], tuple[Side, Side]], bool]] = {
            "ours": (lambda: _ours(Suite.AESGCM), False),
            "chachapoly": (lambda: _ours(Suite.CHACHAPOLY), False),
            "raw": (_raw, False),
            "ssl": (lambda: _tls(certificate), True),
        }
        try:
            import noise.connection  # noqa: F401

            peers["noiseprotocol"] = (lambda: _noiseprotocol("ChaChaPoly"), False)
            peers["noiseprotocol_aesgcm"] = (lambda: _noiseprotocol("AESGCM"), False)
        except ImportError as error:
            record.missing("noiseprotocol", str(error))
        rounds = []
        for _ in range(ROUNDS):
            rounds.append({name: _megabytes_per_s(*make(), acknowledged_inside=inside) for name, (make, inside) in peers.items()})

    def ratio(above: str, below: str) -> float:
        return statistics.median(r[above] / r[below] for r in rounds)

    for name in peers.keys() - {"ours", "chachapoly"}:
        record(f"pair.bulk.ratio_{name}", ratio("ours", name))
    if "noiseprotocol" in peers:
        record("pair.bulk.chachapoly_ratio_noiseprotocol", ratio("chachapoly", "noiseprotocol"))
    for name in peers:
        record(f"pair.bulk.{name}_mb_s", statistics.median(r[name] for r in rounds))


def run(record: Record) -> None:
    """Measure and record."""
    _bulk(record)  # first: it forks, and a process with a million pairs is slow to fork
    _responder(record)
    _scale(record)


if __name__ == "__main__":

    class _Print:
        def __call__(self, key: str, value: float) -> None:
            print(f"{key} {value:.2f}")

        def missing(self, peer: str, reason: str) -> None:
            print(f"without {peer}: {reason}", file=sys.stderr)

    run(_Print())
