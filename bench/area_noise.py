"""The handshake of a pair, measured beside PyPI noiseprotocol in the same run (CPU time, interleaved rounds, medians).

A handshake here is what a knock costs: both sides from states prepared once per pair, fresh ephemeral keys included, up
to both sides' transport keys. noiseprotocol has no prepared state: it gets key objects made beforehand, and starts anew.
The cold figure starts anew on our side as well. `responder` is message 1 in, message 2 out, its ephemeral key made
beforehand, by the interpreter of patterns (the house's own path is in area_channel.py).
"""

import os
import statistics
import sys
import time
from collections.abc import Callable

from bench.counts import count
from tallystick.noise import HandshakeState
from tallystick.primitives import X25519KeyPair

NAME = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s"
PSK, PROLOGUE = bytes(range(32)), b"tally bench"
ROUNDS, HANDSHAKES = count(9, 1), count(300, 5)
PAYLOAD_1, PAYLOAD_2 = bytes(16), bytes(4)


def _states(client: X25519KeyPair, house: X25519KeyPair) -> tuple[HandshakeState, HandshakeState]:
    return (
        HandshakeState.initialize(NAME, initiator=True, prologue=PROLOGUE, s=client, rs=house.public, psks=(PSK,)),
        HandshakeState.initialize(NAME, initiator=False, prologue=PROLOGUE, s=house, rs=client.public, psks=(PSK,)),
    )


def _shake(initiator: HandshakeState, responder: HandshakeState) -> None:
    message, initiator = initiator.write_message(PAYLOAD_1, ephemeral=X25519KeyPair.from_private(os.urandom(32)))
    _, responder = responder.read_message(message)
    message, responder = responder.write_message(PAYLOAD_2, ephemeral=X25519KeyPair.from_private(os.urandom(32)))
    responder.split()
    _, initiator = initiator.read_message(message)
    initiator.split()


def _noiseprotocol(client: bytes, house: bytes) -> Callable[[], None] | None:
    """The same handshake by PyPI noiseprotocol; None when it is not installed."""
    try:
        from noise.backends.default.keypairs import KeyPair25519
        from noise.connection import NoiseConnection
    except ImportError:
        return None
    pairs = [KeyPair25519.from_private_bytes(private) for private in (client, house)]

    def shake() -> None:
        sides = []
        for number, (own, other) in enumerate((pairs, pairs[::-1])):
            side = NoiseConnection.from_name(NAME.encode())
            side.set_psks(PSK)
            side.set_prologue(PROLOGUE)
            side.noise_protocol.keypairs["s"] = own
            side.noise_protocol.keypairs["rs"] = KeyPair25519.from_public_bytes(other.public_bytes)
            side.set_as_responder() if number else side.set_as_initiator()
            side.start_handshake()
            sides.append(side)
        initiator, responder = sides
        responder.read_message(initiator.write_message(PAYLOAD_1))
        initiator.read_message(responder.write_message(PAYLOAD_2))
        if not (initiator.handshake_finished and responder.handshake_finished):
            raise AssertionError("the noiseprotocol handshake did not finish")

    return shake


def _rate(step: Callable[[], object]) -> float:
    begin = time.process_time()
    for _ in range(HANDSHAKES):
        step()
    return HANDSHAKES / (time.process_time() - begin)


def run(record: Callable[[str, float], None]) -> None:
    """Measure and record, ratios first. The peer's ratios are left out when noiseprotocol is not installed."""
    client_private, house_private = os.urandom(32), os.urandom(32)
    client, house = X25519KeyPair.from_private(client_private), X25519KeyPair.from_private(house_private)
    initiator, responder = _states(client, house)
    ephemeral = X25519KeyPair.from_private(os.urandom(32))
    knock, _ = initiator.write_message(PAYLOAD_1, ephemeral=ephemeral)

    def answer() -> None:
        _, state = responder.read_message(knock)
        state.write_message(PAYLOAD_2, ephemeral=ephemeral)

    steps: dict[str, Callable[[], object]] = {
        "pair.handshake.per_cpu_s": lambda: _shake(initiator, responder),
        "pair.handshake.cold_per_cpu_s": lambda: _shake(*_states(client, house)),
        "pair.responder.noise_per_cpu_s": answer,
    }
    peer = _noiseprotocol(client_private, house_private)
    if peer is None:
        print("pair.handshake: noiseprotocol is not installed, its figures are left out", file=sys.stderr)
    else:
        steps["pair.handshake.noiseprotocol_per_cpu_s"] = peer
    rounds = [{key: _rate(step) for key, step in steps.items()} for _ in range(ROUNDS)]

    def ratio(above: str, below: str) -> float:
        return statistics.median(rates[above] / rates[below] for rates in rounds)

    if peer is not None:
        record("pair.handshake.ratio_noiseprotocol", ratio("pair.handshake.per_cpu_s", "pair.handshake.noiseprotocol_per_cpu_s"))
        record("pair.handshake.cold_ratio_noiseprotocol", ratio("pair.handshake.cold_per_cpu_s", "pair.handshake.noiseprotocol_per_cpu_s"))
    for key in steps:
        record(key, statistics.median(rates[key] for rates in rounds))


if __name__ == "__main__":
    run(lambda key, value: print(f"{key} {value:.2f}"))
