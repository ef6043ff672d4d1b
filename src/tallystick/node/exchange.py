"""The checkpoint frames of one session at a house: what it saw, what it is shown, its cosignature, a human's statement."""

import asyncio
from typing import TYPE_CHECKING, Final

from tallystick.errors import Malformed, TallyError, Unproven
from tallystick.node.checkpointwire import (
    MAX_WORDS,
    Ask,
    Cosign,
    Follow,
    Message,
    Rotations,
    Show,
    Submit,
    Told,
    read_message,
    write_message,
)
from tallystick.node.connection import Connection
from tallystick.node.local import error_body
from tallystick.passage.signal import Asker
from tallystick.storage.rows import PairRow

if TYPE_CHECKING:
    from tallystick.node.house import House

MAX_MESSAGES: Final = 64


class Exchange:
    """One session's. Whatever breaks the protocol cuts the connection."""

    def __init__(self, house: "House", connection: Connection) -> None:
        self._house = house
        self._connection = connection
        self._messages = 0
        self._shown: bytes | None = None
        self._asked = Ask(b"")

    def take(self, message: bytes, pair: PairRow, asker: Asker) -> None:
        """A frame has come."""
        self._messages += 1
        if self._messages > MAX_MESSAGES:
            self._connection.cut("limits")
            return
        self._house.spawn(self._answer(message, pair, asker), lambda _: self._connection.cut("checkpoint"))

    def say(self, message: Message) -> None:
        """Send, unless the session is over."""
        if not self._connection.over and not self._connection.session.sent_end:
            self._connection.write(self._connection.session.send_checkpoint(write_message(message)))

    async def _answer(self, raw: bytes, pair: PairRow, asker: Asker) -> None:
        house = self._house
        match read_message(raw):
            case Ask() as ask:
                self._asked = ask
                self._judged(await asyncio.to_thread(house.closing.answer, pair, ask, house.clock()))
            case Rotations(rotations=rotations):
                ask, self._asked = self._asked, Ask(b"")
                self._judged(await asyncio.to_thread(house.closing.answer, pair, ask, house.clock(), rotations))
            case Submit(bundle=bundle):
                await self._submitted(bundle, pair, asker)
            case Cosign(line=line):
                if self._shown is None:
                    raise Malformed("a cosignature of a checkpoint that was never shown")
                # A recorded cosignature is an entry: it counts as what the pair asks, and waits for room on the disk.
                if not house.closing.moved and not house.machine.reserve.low and not house.porter.rates.take(pair.pairing, pair.effective):
                    house.machine.store.later(await asyncio.to_thread(house.publisher.cosigned, pair, self._shown, line, house.clock()))
            case _:
                raise Unproven("a house shows checkpoints, a client does not")

    def _judged(self, answer: Message) -> None:
        if isinstance(answer, Show | Follow):
            self._shown = answer.note
        self.say(answer)

    async def _submitted(self, bundle: bytes, pair: PairRow, asker: Asker) -> None:
        """A human's statement about the house itself. Who carries it matters little; who signed it does."""
        try:
            entry = await self._house.reopening.submit(bundle, pair, asker)
        except TallyError as error:
            body = error_body(error)
            self.say(Told(0, body["kind"], body["message"][:MAX_WORDS], body["hint"][:MAX_WORDS]))
        else:
            self.say(Told(entry))
            self._house.closing.look()
