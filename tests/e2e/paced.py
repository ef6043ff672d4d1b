"""`tally pair` that stops at each stage: `python -m tests.e2e.paced HOME INVITE LABEL`.

It says `hello` (connected, nothing said yet), `open` (its nonce has left), `stored` (its half is kept, its proofs have not left) and
`words W X Y Z` (it waits for an approval), and goes on each time it reads a line. In the end comes one line of JSON: the outcome or
the error. A test kills it, or the house, in between; everything else is the code of `tally pair`.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tallystick.errors import TallyError
from tallystick.node import asking, commands
from tallystick.node.settings import load
from tallystick.pair.ceremony import ClientCeremony
from tallystick.pair.outcome import NeedQuote, Step, StoreHalf
from tests.e2e.support import passphrase


def stage(name: str) -> None:
    """Say where we are; go on at a line."""
    print(name, flush=True)
    if not sys.stdin.readline():
        os._exit(9)


class _Paced(asking._Asking):
    async def _converse(self, wait_s: float) -> asking.Redeemed:
        stage("hello")
        return await super()._converse(wait_s)

    async def _step(self, step: Step) -> None:
        if isinstance(step.effect, NeedQuote):
            for message in step.send:
                self._stream.send(message)
            await asyncio.sleep(0.1)  # it leaves with the loop's next turn
            stage("open")
            step = replace(step, send=())
        await super()._step(step)

    async def _store(self, ceremony: ClientCeremony, store: StoreHalf) -> tuple[ClientCeremony, Step]:
        stored = await super()._store(ceremony, store)
        stage("stored")
        return stored


def _words(words: Sequence[str], digits: str) -> None:
    stage(f"words {' '.join(words)}")


def main(home: str, invite: str, label: str) -> None:
    """One pairing."""
    asking._Asking = _Paced  # type: ignore[misc]
    settings = load({"name": label, "timeout_s": 5}, home=home, env={"HOME": str(Path(home).parent)})
    try:
        outcome: dict[str, object] = commands.pair(
            settings, invite=invite, label=label, show_words=_words, passphrase=passphrase, scripted=True, wait_s=20
        )
    except TallyError as error:
        outcome = {"error": type(error).__name__, "message": error.message}
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
