"""One pair cannot keep the others from being witnesses (DESIGN 10, "Every pair is a witness")."""

import asyncio
from pathlib import Path

from tallystick.channel.frame import FrameType
from tallystick.ledger.event import Kind
from tallystick.node.checkpoints import Witness
from tallystick.node.checkpointwire import Cosign, Show, read_message, write_message
from tallystick.pair.pairing import PairType
from tests.attack.rogue import Rogue
from tests.node.village import village


def test_what_was_shown_may_be_cosigned_whatever_was_signed_since(tmp_path: Path) -> None:
    """A pair that makes the house sign checkpoint after checkpoint does not get honest sessions cut: a cosignature holds for the
    checkpoint that its own session was shown."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            honest, spy = await found.join("laptop"), await found.join("spy", PairType.INTERFACE)
            slow = await Rogue.open(found.member("laptop"), honest)
            await slow.frame(FrameType.CHECKPOINT, Witness(slow.machine, found.pair_of("laptop")).ask())
            while not slow.checkpoints():
                await slow.read()
            rogue = await Rogue.open(found.member("spy"), spy)
            for _ in range(3):
                assert (await rogue.ask("GET", "/v1/checkpoint?old=9223372036854775806", verb="house.checkpoint"))[0] == 200
            await asyncio.to_thread(found.house.publisher.newest, fresh=True)
            shown = read_message(slow.checkpoints()[0])
            assert isinstance(shown, Show)
            _, cosigned = Witness(slow.machine, found.pair_of("laptop")).judge(shown, found.house.clock())
            await slow.frame(FrameType.CHECKPOINT, write_message(cosigned))
            assert (await slow.ask("GET", "/v1/ping", verb="pair.ping"))[0] == 200
            while not any(
                row.event.blob("pair") == honest.pairing for row in found.machine.store.entries(kinds=(Kind.CHECKPOINT_COSIGNED,))
            ):
                await asyncio.sleep(0.02)
            slow.close()
            rogue.close()

    asyncio.run(scene())


def test_a_cosignature_for_what_was_not_shown_cuts(tmp_path: Path) -> None:
    """A session that was shown nothing has nothing to cosign."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("laptop")
            rogue = await Rogue.open(found.member("laptop"), row)
            await rogue.frame(FrameType.CHECKPOINT, write_message(Cosign("— name AAAAAAA=\n")))
            assert await rogue.ended()

    asyncio.run(scene())


def test_an_impossible_size_makes_the_house_sign_nothing(tmp_path: Path) -> None:
    """Whoever claims to have seen more than the house has ever signed is shown the newest checkpoint; no new one is made for it."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("spy", PairType.INTERFACE)
            await asyncio.to_thread(found.house.publisher.newest, fresh=True)
            rogue = await Rogue.open(found.member("spy"), row)
            before = found.machine.store.latest_checkpoint()
            for _ in range(5):
                assert (await rogue.ask("GET", "/v1/checkpoint?old=9223372036854775806", verb="house.checkpoint"))[0] == 200
            after = found.machine.store.latest_checkpoint()
            assert before is not None and after is not None
            # At most one a second, however often it asks.
            assert found.machine.store._one("SELECT count(*) FROM checkpoints WHERE size > ?", (before.size,)) in ((0,), (1,))
            rogue.close()

    asyncio.run(scene())
