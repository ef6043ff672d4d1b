"""A session of a pair, seen from the client: requests that are signed, answers that are checked.

    async with await HouseSession.open(machine, pair) as session:
        status = await session.get_json("/v1/status", verb="house.status")

The diode and the checkpoints are below, in node/housestream.py; what the session brings about is recorded in this machine's own ledger
without a request waiting for it, and `close` waits for all of it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from tallystick.channel.datagram import ASKED_MODES, Mode
from tallystick.errors import Malformed, Misuse, TallyError, Unavailable
from tallystick.gate.opening import BodyDigest
from tallystick.node.answers import read_answer
from tallystick.node.checkpointwire import Closed, Submit, Told, write_message
from tallystick.node.dialling import FAILURES, Dialled, dial, fixed_modes
from tallystick.node.halves import usable
from tallystick.node.housestream import HouseStream
from tallystick.node.httpclient import HOST, Body, Response
from tallystick.node.local import error_from_body
from tallystick.node.machine import Machine
from tallystick.node.reports import Reports
from tallystick.node.signing import sign_request
from tallystick.primitives import sha256
from tallystick.storage.rows import PairRow

__all__ = ["HouseSession", "PairRow"]

MAX_JSON_BYTES: Final = 33_554_432
MAX_ERROR_BYTES: Final = 8_192
TOO_OFTEN: Final = 429
NO_SPACE: Final = 507
NOT_TAKEN: Final = frozenset((TOO_OFTEN, NO_SPACE))  # docs/spec/door.md, section 4: the command was not looked at
MAX_RETRY_S: Final = 60
ANY_OBJECT: Final[Any] = dict[str, Any]

_T = TypeVar("_T")


class TooOften(Unavailable):
    """This pair asks more than the house's settings let it. The command was not taken: it may be given again after `after_s` seconds."""

    def __init__(self, message: str, hint: str, after_s: int) -> None:
        super().__init__(message, hint)
        self.after_s = after_s


class HouseSession:
    """One confirmed session with a house. One request after the other; close it when done."""

    dialled: Dialled
    stream: HouseStream

    def __init__(self, machine: Machine, pair: PairRow, *, patient: bool = False, reports: Reports | None = None) -> None:
        """Use `HouseSession.open`."""
        self.machine = machine
        self.pair = pair
        self._patient = patient
        self._reports = reports
        self._n = 0

    def _prepare(self) -> None:
        """While the knock travels."""
        self.stream = HouseStream(self.machine, self.pair, self._reports)
        if self._patient:
            self.stream.be_patient()

    async def _start(self, timeout_s: float, modes: Sequence[Mode]) -> None:
        """Knock, and take the connection over. Raises: Unavailable, Refused."""
        self.dialled = await dial(self.machine, self.pair, timeout_s=timeout_s, modes=modes, meanwhile=self._prepare)
        self.stream.begin(self.dialled)

    @classmethod
    async def open(
        cls, machine: Machine, pair: PairRow, *, timeout_s: float | None = None, patient: bool = False, reports: Reports | None = None
    ) -> Self:
        """Knock, connect, and wait until the house has proven itself.

        Args: patient: a house that is closed ends no session: what it says comes by `told` (docs/spec/restore.md, section 3).
            reports: where the house's telemetry goes.
        Raises: Refused: the pair does not stand.  Unavailable: silence, or no connection.  Misuse: we are the house of this pair.
        """
        pair = await usable(machine, pair, time.time_ns())
        deadline = asyncio.get_running_loop().time() + (machine.settings.timeout_s if timeout_s is None else timeout_s)
        failed: Counter[Mode] = Counter()
        while True:
            left = [mode for mode in ASKED_MODES if failed[mode] < FAILURES] if max(failed.values(), default=0) >= FAILURES else []
            patience = deadline - asyncio.get_running_loop().time()
            session = cls(machine, pair, patient=patient, reports=reports)
            await session._start(patience, left)
            try:
                await session.stream.start()
            except Unavailable:
                # Once may be chance: two attempts that met in the wrong moment. Twice, somebody else may have taken the connection on
                # its way: another mode may get past them.
                failed[session.dialled.asked] += 1
                if not [mode for mode in fixed_modes(machine) or ASKED_MODES if failed[mode] < FAILURES]:
                    raise
            else:
                return session

    # --- Asking ----------------------------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        target: str,
        *,
        verb: str,
        headers: Sequence[tuple[str, str]] = (),
        body: Body = None,
        upload: bool = False,
        action: str | None = None,
    ) -> Response:
        """Sign a request, send it, and return when the head of a good answer has come.

        Args: target: raw path with query.  verb: of docs/spec/signal.md, section 6.  body: bytes are signed; an iterator's are not,
            so it takes `upload`: the signal of an upload says nothing about its body, the closing signal does.
            action: its class, for a verb of the family `verb.NAME`.
        Raises: what the house answered (Refused, Malformed, Unproven, Misuse, Unavailable); Unavailable: the session is over;
            Refused: the house severed the pair; Unproven: its history was rewritten; Misuse: an answer is still being read.
        """
        self.stream.check()
        if body is not None and not isinstance(body, bytes) and not upload:
            raise Misuse("the body of a command is signed as a whole", "give bytes, or send it as an upload")
        fields = [(name.lower(), value) for name, value in headers]
        if not any(name == "host" for name, _ in fields):
            fields.append(("host", HOST))
        signed = sign_request(
            self.machine.vault.machine.signing,
            house=self._house,
            stream=self.stream.session.stream,
            n=self._n,
            now_ns=self.stream.clock.now_ns(),
            verb=verb,
            method=method,
            target=target,
            headers=fields,
            body=BodyDigest(length=len(body), sha256=sha256(body)) if isinstance(body, bytes) and not upload else None,
            action=action,
        )
        try:
            response = await self.stream.http.request(method, target, [*fields, *signed.headers], body)
        except Misuse:
            raise  # nothing was sent: the number is still free
        except TallyError as error:
            raise self.stream.failure or error from None
        if response.status in NOT_TAKEN:
            self.stream.unanswered = None
            raise await self._not_taken(response)
        self._n += 1
        self.stream.unanswered = signed.reference
        if response.status >= 400:
            raise await self._error_of(response)
        return response

    async def get_json(self, target: str, *, verb: str, kind: type[_T] = ANY_OBJECT) -> _T:
        """The JSON behind a target. `kind`: of node/answers.py.  Raises: as `request`; Malformed when it is not of that kind."""
        return await self.json_of(await self.request("GET", target, verb=verb), kind)

    async def post_json(self, target: str, value: Any, *, verb: str, kind: type[_T] = ANY_OBJECT, method: str = "POST") -> _T:
        """Send JSON (bytes go as they are) and read the JSON of the answer. Raises: as `get_json`."""
        raw, mime = (value, "application/octet-stream") if isinstance(value, bytes) else (msgspec.json.encode(value), "application/json")
        return await self.json_of(await self.request(method, target, verb=verb, headers=[("content-type", mime)], body=raw), kind)

    async def delete_json(self, target: str, *, verb: str, kind: type[_T] = ANY_OBJECT) -> _T:
        """DELETE, and the JSON of the answer. Raises: as `get_json`."""
        return await self.json_of(await self.request("DELETE", target, verb=verb), kind)

    async def json_of(self, response: Response, kind: type[_T] = ANY_OBJECT) -> _T:
        """The JSON of an answer. Raises: as `Response.read`; Malformed when it is not of this kind."""
        return read_answer(await response.read(MAX_JSON_BYTES), kind, self.pair.label)

    async def _error_of(self, response: Response) -> TallyError:
        try:
            body = msgspec.json.decode(await response.read(MAX_ERROR_BYTES))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Malformed(f"{self.pair.label} answered {response.status} without saying why")
        return error_from_body(body.get("error") if isinstance(body, Mapping) else None)

    async def _not_taken(self, response: Response) -> TallyError:
        """The house did not look at the command: nothing is recorded of it, and its number is still free."""
        error = await self._error_of(response)
        if response.status != TOO_OFTEN:
            return error
        said = response.header("retry-after") or ""
        after_s = int(said) if said.isascii() and said.isdigit() and len(said) < 9 else 1
        return TooOften(error.message, error.hint, min(after_s, MAX_RETRY_S))

    @property
    def _house(self) -> bytes:
        if self.pair.house is None:
            raise AssertionError("a client's half names its house")
        return self.pair.house

    def now_ns(self) -> int:
        """The house's pair time as far as we know it, UTC nanoseconds: what it measures the age of statements by."""
        return self.stream.clock.now_ns()

    @property
    def address(self) -> str:
        """Where the house was reached, `HOST:PORT`."""
        host, port = self.dialled.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def mode(self) -> Mode:
        """The mode the house took."""
        return self.dialled.mode

    @property
    def visibility(self) -> str:
        """Who could have seen an open port."""
        return self.dialled.visibility

    @property
    def over(self) -> bool:
        """Whether nothing can be asked any more."""
        return self.stream.over

    async def told(self) -> Closed | Told | None:
        """What a closed house says next; None when the session ends, or the house is open. Only for a session that is patient."""
        return await self._next(self.stream.settled())

    async def _next(self, until: Coroutine[Any, Any, object]) -> Closed | Told | None:
        queue = self.stream.patient
        if queue is None:
            raise AssertionError("an impatient session is told nothing")
        word, end = asyncio.ensure_future(queue.get()), asyncio.ensure_future(until)
        await asyncio.wait((word, end), return_when=asyncio.FIRST_COMPLETED)
        end.cancel()
        if word.done():
            return word.result()
        word.cancel()
        self.stream.check()
        return None

    async def submit_alone(self, bundle: bytes) -> int:
        """A human's statement about the house itself, which takes it also while it is closed. Returns: its entry.

        Raises: what the house told.  Unavailable: it told nothing.
        """
        self.stream.say(write_message(Submit(bundle)))
        while (told := await self._next(asyncio.wait([self.stream.connection.closed]))) is not None:
            if isinstance(told, Told):
                if told.kind:
                    raise error_from_body({"kind": told.kind, "message": told.message, "hint": told.hint})
                return told.entry
        raise Unavailable("the house has not said what became of the statement", "look at it again")

    async def tell_severed(self) -> bool:
        """Say that this pairing has ended, before it ends here. Returns: whether the house has hung up on it, as it must."""
        return await self.stream.tell_severed()

    async def close(self) -> None:
        """End in order: the checkpoint is judged, both ends say `end`, and everything is in this machine's ledger.

        Raises: Unproven: the house's history was rewritten.  Malformed: the house broke the protocol.  Unavailable: not recorded.
        """
        await self.stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await self.close()
        except TallyError:
            if error is None:
                raise
