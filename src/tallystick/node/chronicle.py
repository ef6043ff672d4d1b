"""What a client's session leaves behind: entries of its own ledger, and the figures that `tally status` shows."""

import asyncio
import contextlib
import secrets
import time

from tallystick.canonical import Encodable, Value
from tallystick.channel.session import Session
from tallystick.errors import Malformed, Refused
from tallystick.node.checkpoints import ForkError, Witness, fork_event
from tallystick.node.checkpointwire import Closed, Follow, Prove, Rotations, Show, Told, Why, read_message, write_message
from tallystick.node.connection import Connection
from tallystick.node.dialling import Dialled
from tallystick.node.halves import effects_of, stand
from tallystick.node.machine import Machine
from tallystick.node.pursuit import Follower
from tallystick.pair.pairing import Role
from tallystick.passage import knock as knocks
from tallystick.primitives import sha256
from tallystick.storage.rows import PairRow


def closed_error(why: Why) -> Refused:
    """What a person is told whose house takes no commands."""
    match why:
        case Why.ROLLED_BACK:
            return Refused("the house is closed: its ledger was rolled back", "its owner opens it again: see `tally restore`")
        case Why.RESTORING:
            return Refused("the house is closed: it was restored from a backup", "its owner opens it again: `tally restore --sign`")
        case Why.MOVED:
            return Refused("the house has moved to another machine", "it could not be followed there; ask its owner")
        case Why.UNSIGNED:
            return Refused("the house was restored, and nobody has signed this pair again", "its owner does: `tally restore --pair NAME`")


def told_closed(message: bytes) -> Refused | None:
    """What a person is told when this message says that the house takes no commands. Never raises: it is judged later."""
    with contextlib.suppress(Malformed):
        told = read_message(message)
        return closed_error(told.why) if isinstance(told, Closed) else None
    return None


class Chronicle:
    """One session's entries. Each method returns when its entries are durable. `begin` comes first."""

    _dialled: Dialled
    _session: Session
    _connection: Connection

    def __init__(self, machine: Machine, pair: PairRow) -> None:
        self._machine = machine
        self._pair = pair
        self._effects = effects_of(machine)
        self._witness = Witness(machine, pair)
        self.ask = self._witness.ask()
        """The message that asks the house for its newest checkpoint."""
        self.patient: asyncio.Queue[Closed | Told] | None = None
        """For a person who opens a closed house again: what it says comes here, and the session goes on."""

    def begin(self, dialled: Dialled, session: Session, connection: Connection) -> None:
        """This is the session."""
        self._dialled = dialled
        self._session = session
        self._connection = connection

    async def begun(self) -> None:
        """Key confirmation. A half that waited is known to stand now: the house answers the knocks of no other.

        Raises: Refused, Unavailable.
        """
        if self._pair.state == "pending":
            await stand(self._machine, self._pair, None)
        await self._effects.run(
            knocks.confirmed(
                knocks.Connection(
                    session=self._session.handshake_hash,
                    knock=self._dialled.knock,
                    address=sha256(b"tally address v1", secrets.token_bytes(32), str(self._dialled.remote).encode()),
                    mode=self._dialled.mode.value,
                    visibility=self._dialled.mode.name.lower(),
                    role=Role.CLIENT,
                ),
                pair=self._pair.pairing,
                pair_type=self._pair.effective.value,
                suite=self._pair.suite.value,
                stream=self._session.stream,
                now_ns=time.time_ns(),
            )
        )

    async def breached(self, what: str, data: bytes) -> None:
        """The house sent what may not flow this way. Raises: Unavailable."""
        await self._effects.run(
            knocks.breached(
                session=self._session.handshake_hash,
                pair=self._pair.pairing,
                what=what,
                digest=sha256(data),
                length=len(data),
                now_ns=time.time_ns(),
            )
        )

    async def witnessed(self, message: bytes, now_ns: int) -> tuple[bytes, ...]:
        """The house shows a checkpoint: judged, recorded, and only then cosigned.

        Args: now_ns: the house's pair time.
        Returns: the messages with our cosignature, or with a new question when what we know has changed.
        Raises: Malformed: no message of a house.  ForkError: its history was rewritten; both signed checkpoints are recorded.
            Unproven: not signed by its log.  Refused: it takes no commands, and says why.  Unavailable.
        """
        shown = read_message(message)
        try:
            match shown:
                case Show():
                    return (write_message(await asyncio.to_thread(self._witness.take, shown, now_ns)),)
                case Follow():
                    answers = await asyncio.to_thread(Follower(self._machine, self._pair).take, shown, now_ns)
                    self._pair = self._machine.store.pair(self._pair.pairing) or self._pair
                    self._witness = Witness(self._machine, self._pair)
                    return tuple(write_message(answer) for answer in answers)
                case Prove():
                    return (write_message(Rotations(await asyncio.to_thread(self._witness.rotations))),)
                case Told() if self.patient is not None:
                    self.patient.put_nowait(shown)
                    return ()
                case Closed():
                    await asyncio.to_thread(self._witness.check_closed, shown)
                    return self._closed(shown)
        except ForkError as fork:
            await self._machine.store.record(fork_event(self._pair, fork, time.time_ns()))
            if isinstance(shown, Closed):
                return self._closed(shown)
            raise
        raise Malformed("a house shows checkpoints and asks for none")

    def _closed(self, shown: Closed) -> tuple[bytes, ...]:
        if self.patient is None:
            raise closed_error(shown.why)
        self.patient.put_nowait(shown)
        return ()

    async def ended(self, reason: str, unfinished: bytes | None) -> None:
        """The session is over. `unfinished`: the reference of the signal whose answer never came whole. Raises: Unavailable."""
        await asyncio.to_thread(self._machine.memory.change, f"live/{self._pair.pairing.hex()}", self._live)
        await self._effects.run(
            knocks.ended(
                session=self._session.handshake_hash,
                pair=self._pair.pairing,
                reason=reason,
                bytes_in=self._connection.bytes_in,
                bytes_out=self._connection.bytes_out,
                now_ns=time.time_ns(),
                voided=None if unfinished is None else (self._session.stream, unfinished),
            )
        )

    def _live(self, before: Value) -> tuple[Encodable, None]:
        """The row of `tally status`: last knock, address, bytes both ways (they add up), mode, visibility."""
        received, sent = self._connection.bytes_in, self._connection.bytes_out
        match before:
            case [_, _, int(more_in), int(more_out), _, _]:
                received, sent = received + more_in, sent + more_out
        dialled = self._dialled
        return [time.time_ns(), dialled.remote.host, received, sent, dialled.mode.value, dialled.visibility], None
