"""The house's side of the knock: who gets an answer, and why nobody else does (docs/spec/knock.md).

    keeper = Doorkeeper(static=machine_key, now_ns=now)
    keeper.add_pair(7, keys=..., client_static=..., pair_type=..., suite=...)
    match keeper.receive(datagram, address, now):
        case Admit() as admit: ...          # connect, then admit.answer(...), then keeper.ended(admit.ticket)
        case TimeAnswer() as time: ...      # store time.next_counter, then send time.answer
        case Silence(): ...                 # almost always

The order of the checks is the defence: what costs nothing comes first, and Diffie-Hellman last. A stranger costs a size check and
three look-ups in the tag tables, a forged MAC one BLAKE2s more. Everything is verified before anything is remembered, with one
exception: the turn of the rate, or a paired machine could have us compute Diffie-Hellman without end.

Mutable, unlike most of the core: a million pairs are no value to copy. Whatever is refused leaves it as it was, but for the counters.
"""

from collections import OrderedDict
from typing import Final

from tallystick.channel import datagram as wire
from tallystick.channel.datagram import Mode
from tallystick.channel.handshake import invite_state_of_house, pair_responder
from tallystick.channel.limits import Activity, Pending
from tallystick.channel.outcome import SILENCE, Address, Admit, Check, Outcome, Silence, TimeAnswer
from tallystick.channel.pairtime import FUTURE_NS
from tallystick.channel.tags import MAX_PAIR_NUMBER, Windows
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.noise import HandshakeState, KeyPair, Responder
from tallystick.pair.invite import InviteKeys, invite_prologue
from tallystick.pair.pairing import PairKeys, PairType, Suite, pair_prologue
from tallystick.primitives import blake2s_keyed, equal, x25519_public_is_safe

__all__ = ["SILENCE", "Address", "Admit", "Check", "Doorkeeper", "Outcome", "Silence", "TimeAnswer"]

# Implementation constants.
PREPARED_STATES: Final = 4096  # pairs whose prepared handshake is kept; about 4 KiB each
MAX_INVITES: Final = 1024
FILL_BUDGET: Final = 256  # tags computed in one call: under 1 ms
_KEY_BYTES: Final = 32
# Under a flood `receive` runs more often than all else together: its own names, and numbers where they are plain.
_KNOCK_BYTES: Final = wire.KNOCK_BYTES
_MAC_BYTES: Final = wire.MAC_BYTES
_KNOCK_HEADERS: Final = wire.KNOCK_HEADERS
_MODES: Final = {mode.value: mode for mode in Mode}

# A pair in one piece of 225 bytes: the keys, the client's static key, and a byte for PairType and suite.
_PSK, _TAG_KEY, _MAC_KEY, _MASK_KEY = slice(0, 32), slice(32, 64), slice(64, 96), slice(96, 128)
_ANSWER_MAC_KEY, _ANSWER_MASK_KEY, _CLIENT_STATIC, _KIND = slice(128, 160), slice(160, 192), slice(192, 224), 224
_KINDS: Final = tuple((pair_type, suite) for pair_type in PairType for suite in Suite)


class _Invite:
    """An open invite: its id, its keys, and the handshake prepared with them."""

    __slots__ = ("activity", "expires_ns", "id", "keys", "state")

    def __init__(self, invite_id: bytes, keys: InviteKeys, state: HandshakeState, expires_ns: int) -> None:
        self.id = invite_id
        self.keys = keys
        self.state = state
        self.expires_ns = expires_ns
        self.activity = Activity()


class Doorkeeper:
    """The one who hears every knock. One for each house."""

    def __init__(self, *, static: KeyPair, now_ns: int) -> None:
        """`static`: the house's X25519 key pair.  `now_ns`: pair time at the start; knocks timed before it are refused."""
        self._static = static
        self._start_ns = self._now_ns = now_ns
        self._pairs: dict[int, bytes] = {}
        self._order: list[int] = []  # the order in which tags are computed; may name pairs that left
        self._windows = Windows(self._order, self._window_tag, now_ns)
        self._questions: dict[bytes, int] = {}  # tag of a `time?` -> pair
        self._counters: dict[int, int] = {}  # pair -> next counter, where it is not 0
        self._invites: dict[bytes, _Invite] = {}  # tag -> invite
        self._active: OrderedDict[int, Activity] = OrderedDict()  # pairs that knocked lately, the latest last
        self._prepared: OrderedDict[int, Responder] = OrderedDict()
        self._pending = Pending()
        self._counts = [0] * len(Check)

    # --- Who may knock ---------------------------------------------------------------------------------------------------

    def add_pair(
        self, number: int, *, keys: PairKeys, client_static: bytes, pair_type: PairType, suite: Suite, next_counter: int = 0
    ) -> None:
        """From now on this pair is answered. Never add the keys of a removed pair again: its replay memory is gone.

        Args: number: of the pair, 1 to 2^32 - 1.  pair_type: the one of the pairing statement, also after a downgrade.
            next_counter: the stored `next_counter` of the pair's last time answer, else 0.
        Raises: Misuse when the number is taken or out of range, or a key has another length than 32 bytes.
        """
        if not 1 <= number <= MAX_PAIR_NUMBER or number in self._pairs:
            raise Misuse(f"pair number {number} is out of range or already here")
        parts = (
            keys.psk,
            keys.to_house.tag,
            keys.to_house.mac,
            keys.to_house.mask,
            keys.to_client.mac,
            keys.to_client.mask,
            client_static,
        )
        if any(len(part) != _KEY_BYTES for part in parts) or not x25519_public_is_safe(client_static):
            raise Misuse("the keys of a pair have 32 bytes each, and the client's static key is a safe X25519 key")
        self._pairs[number] = b"".join((*parts, bytes((_KINDS.index((pair_type, suite)),))))
        if next_counter:
            self._counters[number] = next_counter
        for counter in (next_counter, next_counter + 1):
            self._questions[wire.question_tag(keys.to_house.tag, counter)] = number
        self._order.append(number)
        self._windows.fill(FILL_BUDGET)

    def remove_pair(self, number: int) -> None:
        """From now on this pair is a stranger. Nothing happens when there is none."""
        pair = self._pairs.pop(number, None)
        if pair is None:
            return
        next_counter = self._counters.pop(number, 0)
        for counter in (next_counter, next_counter + 1):
            self._questions.pop(wire.question_tag(pair[_TAG_KEY], counter), None)
        self._active.pop(number, None)
        self._prepared.pop(number, None)
        self._windows.sweep(self._order, self._pairs)

    def add_invite(self, invite_id: bytes, *, keys: InviteKeys, pair_type: PairType, expires_ns: int) -> None:
        """From now on, until it expires or is removed, this invite is answered.

        Raises: Misuse when it is here already or 1,024 invites are.
        """
        if keys.tag in self._invites or len(self._invites) >= MAX_INVITES:
            raise Misuse("the invite is already open, or too many are", f"A house holds {MAX_INVITES} open invites.")
        prologue = invite_prologue(house_static=self._static.public, pair_type=pair_type)
        state = invite_state_of_house(prologue=prologue, static=self._static, psk=keys.psk)
        self._invites[keys.tag] = _Invite(invite_id, keys, state, expires_ns)

    def remove_invite(self, invite_id: bytes) -> None:
        """From now on this invite meets silence: consumed, revoked or replaced. Nothing happens when there is none."""
        for tag, invite in list(self._invites.items()):
            if invite.id == invite_id:
                del self._invites[tag]

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def counts(self) -> dict[Check, int]:
        """How many datagrams ended at which check, since the start."""
        return dict(zip(Check, self._counts, strict=True))

    @property
    def pending(self) -> int:
        """How many connects are under way."""
        return len(self._pending)

    @property
    def now_ns(self) -> int:
        """Pair time as last seen; store it now and then."""
        return self._now_ns

    # --- Time and work in slices -----------------------------------------------------------------------------------------

    def tick(self, now_ns: int, budget: int = FILL_BUDGET) -> bool:
        """Compute at most `budget` tags ahead and forget what is too old to matter. True when more is to be done soon.

        Call it every second, and every few milliseconds while it says True: it takes under 1 ms for 256 tags.
        """
        self._pass_time(now_ns)
        self._pending.expire(self._now_ns)
        left = self._windows.fill(budget)
        # A pair silent for so long has no accepted knock that its windows would still let in.
        too_old_ns = self._windows.oldest_ns - FUTURE_NS
        for _ in range(min(left, len(self._active))):
            if next(iter(self._active.values())).last_ns >= too_old_ns:
                break
            self._active.popitem(last=False)
        for tag, invite in list(self._invites.items()):
            if invite.expires_ns <= self._now_ns:
                del self._invites[tag]
        return left == 0

    def ended(self, ticket: int) -> None:
        """The connect of this ticket succeeded, failed or was given up; after 3 s it counts as ended anyway."""
        self._pending.end(ticket)

    def _pass_time(self, now_ns: int) -> int:
        """Pair time: never backwards."""
        if now_ns > self._now_ns:
            self._now_ns = now_ns
            if now_ns >= self._windows.turn_ns:
                self._windows.turn(now_ns)
                self._windows.fill(FILL_BUDGET)
        return self._now_ns

    def _window_tag(self, number: int, window: int) -> bytes | None:
        pair = self._pairs.get(number)
        return None if pair is None else wire.window_tag(pair[_TAG_KEY], window)

    # --- A datagram ------------------------------------------------------------------------------------------------------

    def receive(self, datagram: bytes, address: Address, now_ns: int) -> Outcome:
        """A datagram comes in; almost always `SILENCE` comes out.

        Args: address: of the sender, passed through.  now_ns: the system clock, UTC, ns since 1970.
        Raises: nothing. Whatever a stranger sends, the answer is `SILENCE` and the house is as it was.
        """
        if now_ns > self._now_ns:
            self._pass_time(now_ns)
        size = len(datagram)
        if size == _KNOCK_BYTES:
            header = datagram[:4]
            if header in _KNOCK_HEADERS:
                found = self._windows.find(datagram[4:20])
                if found is None:
                    self._counts[1] += 1  # Check.TAG
                    return SILENCE
                return self._knock(datagram, address, *found)
            if header == wire.TIME_QUESTION_HEADER:
                return self._time_question(datagram, address)
        elif size == wire.INVITE_KNOCK_BYTES and datagram[: wire.HEADER_BYTES] in wire.INVITE_HEADERS:
            return self._invite_knock(datagram, address)
        return self._refuse(Check.SHAPE)

    def _refuse(self, check: Check) -> Silence:
        self._counts[check] += 1
        return SILENCE

    def _knock(self, datagram: bytes, address: Address, number: int, window: int) -> Outcome:
        pair = self._pairs.get(number)
        if pair is None:
            return self._refuse(Check.TAG)
        body, mac = datagram[:-_MAC_BYTES], datagram[-_MAC_BYTES:]
        if not equal(blake2s_keyed(pair[_MAC_KEY], body, _MAC_BYTES), mac):
            return self._refuse(Check.MAC)
        time_ns = wire.unmask_time(pair[_MASK_KEY], datagram[28:60], datagram[20:28])
        if time_ns // wire.WINDOW_NS != window or not self._start_ns <= time_ns <= self._now_ns + FUTURE_NS:
            return self._refuse(Check.TIME)
        activity = self._active.get(number)
        known = activity is not None
        if activity is None:
            activity = Activity()
        if (refused := self._limits(activity, mac, time_ns)) is not None:
            return self._refuse(refused)
        activity.last_ns = self._now_ns
        if known:
            self._active.move_to_end(number)
        else:
            self._active[number] = activity
        state = self._prepared_state(number, pair)
        return self._handshake(datagram, address, state, activity, number=number, invite=None, time_ns=time_ns)

    def _invite_knock(self, datagram: bytes, address: Address) -> Outcome:
        invite = self._invites.get(datagram[wire.TAG])
        if invite is None or invite.expires_ns <= self._now_ns:
            return self._refuse(Check.TAG)
        keys = invite.keys
        if not equal(blake2s_keyed(keys.mac, datagram[: -wire.MAC_BYTES], wire.MAC_BYTES), datagram[-wire.MAC_BYTES :]):
            return self._refuse(Check.MAC)
        time_ns = wire.unmask_time(keys.mask, datagram[wire.EPHEMERAL], datagram[wire.MASKED_TIME])
        if not max(self._start_ns, self._windows.oldest_ns) <= time_ns <= self._now_ns + FUTURE_NS:
            return self._refuse(Check.TIME)
        if (refused := self._limits(invite.activity, datagram[-_MAC_BYTES:], time_ns)) is not None:
            return self._refuse(refused)
        return self._handshake(datagram, address, invite.state, invite.activity, number=None, invite=invite.id, time_ns=time_ns)

    def _limits(self, activity: Activity, mac: bytes, time_ns: int) -> Check | None:
        """Replay, rate, pending connects: the check that refuses, or None and one turn of the rate is used."""
        if not activity.replay.admits(mac, time_ns):
            return Check.REPLAY
        if not activity.take_turn(self._now_ns):
            return Check.RATE
        self._pending.expire(self._now_ns)
        if not self._pending.has_room(activity):
            return Check.PENDING
        return None

    def _handshake(
        self,
        datagram: bytes,
        address: Address,
        state: HandshakeState | Responder,
        activity: Activity,
        *,
        number: int | None,
        invite: bytes | None,
        time_ns: int,
    ) -> Outcome:
        try:
            payload, after = state.read_message(datagram[28:-_MAC_BYTES])
        except (Malformed, Unproven):
            return self._refuse(Check.HANDSHAKE)
        remote = after.remote_static
        if remote is None:
            raise AssertionError("both patterns tell the house the client's static key")
        if invite is not None and not x25519_public_is_safe(remote):
            return self._refuse(Check.HANDSHAKE)
        client_port = wire.parse_client_payload(payload)
        if client_port is None:
            return self._refuse(Check.PAYLOAD)
        activity.replay.remember(datagram[-_MAC_BYTES:], time_ns)
        return Admit(
            ticket=self._pending.begin(activity, self._now_ns),
            pair=number,
            invite=invite,
            address=address,
            mode=_MODES[datagram[2]],
            client_port=client_port,
            time_ns=time_ns,
            remote_static=remote,
            _state=after,
        )

    def _prepared_state(self, number: int, pair: bytes) -> Responder:
        state = self._prepared.get(number)
        if state is not None:
            self._prepared.move_to_end(number)
            return state
        pair_type, suite = _KINDS[pair[_KIND]]
        static = pair[_CLIENT_STATIC]
        prologue = pair_prologue(client_static=static, house_static=self._static.public, pair_type=pair_type)
        state = pair_responder(suite=suite, prologue=prologue, static=self._static, remote_static=static, psk=pair[_PSK])
        self._prepared[number] = state
        if len(self._prepared) > PREPARED_STATES:
            self._prepared.popitem(last=False)
        return state

    def _time_question(self, datagram: bytes, address: Address) -> Outcome:
        tag = datagram[wire.TAG]
        number = self._questions.get(tag)
        pair = None if number is None else self._pairs.get(number)
        if number is None or pair is None:
            return self._refuse(Check.TAG)
        mac = blake2s_keyed(pair[_MAC_KEY], datagram[: -wire.MAC_BYTES], wire.MAC_BYTES)
        if not equal(mac, datagram[-wire.MAC_BYTES :]) or datagram[wire.TAG.stop : -wire.MAC_BYTES] != wire.TIME_QUESTION_ZEROS:
            return self._refuse(Check.MAC)
        activity = self._active.setdefault(number, Activity())
        activity.last_ns = self._now_ns
        self._active.move_to_end(number)
        if not activity.take_turn(self._now_ns):
            return self._refuse(Check.RATE)
        tag_key = pair[_TAG_KEY]
        counter = self._counters.get(number, 0)
        burned = counter if tag == wire.question_tag(tag_key, counter) else counter + 1
        for old in (counter, counter + 1):
            self._questions.pop(wire.question_tag(tag_key, old), None)
        for new in (burned + 1, burned + 2):
            self._questions[wire.question_tag(tag_key, new)] = number
        self._counters[number] = burned + 1
        answer = wire.build_time_answer(mask_key=pair[_ANSWER_MASK_KEY], mac_key=pair[_ANSWER_MAC_KEY], tag=tag, time_ns=self._now_ns)
        return TimeAnswer(pair=number, next_counter=burned + 1, answer=answer, address=address)
