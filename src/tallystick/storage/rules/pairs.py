"""Invites and pairs: an invite is used once, a pair stands once, and what was severed never stands again."""

from collections.abc import Mapping
from typing import Final

from tallystick.errors import Malformed, Refused, Unproven
from tallystick.keys.identity import parse_cose_key
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.pair.pairing import PairType
from tallystick.storage.rules.house import encode_keys
from tallystick.storage.rules.keys import introduce
from tallystick.storage.rules.state import ACTIONS, WIDTH, Cell, Rule, State, admin_signed, check_stated, is_admin, signer_of


def _invite_created(state: State, event: Event, index: int) -> None:
    pair_type, preapproved = event.text("pair_type"), event.get("preapproved") is True
    if preapproved and pair_type == PairType.ADMIN:
        raise Refused("an ADMIN invite is never approved beforehand")
    check_stated(state, event)
    if state.one("SELECT 1 FROM invites WHERE invite = ?", (event.blob("invite"),)) is not None:
        raise Refused("this invite exists already")
    state.run(
        "INSERT INTO invites VALUES (?, 'open', ?, ?, ?, ?, ?, ?, NULL, ?, NULL, ?)",
        (
            event.blob("invite"),
            pair_type,
            event.text("label") or None,
            event.blob("for_key") or None,
            int(preapproved),
            event.time_ns,
            event.number("expires"),
            index,
            signer_of(event),
        ),
    )


def _invite_ends(to: str) -> Rule:
    def rule(state: State, event: Event, index: int) -> None:
        row = state.one("SELECT state, expires_ns FROM invites WHERE invite = ?", (event.blob("invite"),))
        if row is None:
            raise Refused("there is no such invite")
        if row[0] != "open":
            raise Refused(f"this invite is {row[0]!s}", "Make a new one: `tally invite`.")
        if to == "consumed" and isinstance(row[1], int) and event.time_ns >= row[1]:
            raise Refused("this invite has expired", "Make a new one: `tally invite`.")
        check_stated(state, event)
        state.run(
            "UPDATE invites SET state = ?, session = ?, ended = ? WHERE invite = ?",
            (to, event.blob("session") or None if to == "consumed" else None, index, event.blob("invite")),
        )

    return rule


def _pair_row(state: State, pairing: bytes) -> tuple[str, str, str, str]:
    row = state.one("SELECT state, role, pair_type, effective FROM pairs WHERE pairing = ?", (pairing,))
    if row is None:
        raise Refused("there is no such pair", "See `tally status`.")
    return str(row[0]), str(row[1]), str(row[2]), str(row[3])


def _pairing_proposed(state: State, event: Event, index: int) -> None:
    if parse_cose_key(event.blob("cose_key")).key_id != event.blob("subject"):
        raise Malformed("the subject is not the KeyId of the key")
    if state.one("SELECT 1 FROM pairs WHERE pairing = ?", (event.blob("pair"),)) is not None:
        raise Refused("this pairing exists already")
    if event.text("role") == "house" and event.get("invite") is not None:
        invite = state.one("SELECT state, pair_type FROM invites WHERE invite = ?", (event.blob("invite"),))
        if invite is None or invite[0] != "consumed":
            raise Refused("this pairing comes from no invite that was used")
        if WIDTH[event.text("pair_type")] > WIDTH[str(invite[1])]:
            raise Refused(f"the invite was for {invite[1]!s}")
        if state.one("SELECT 1 FROM pairs WHERE invite = ?", (event.blob("invite"),)) is not None:
            raise Refused("this invite has led to a pairing already")
    state.run(
        "INSERT INTO pairs (pairing, state, role, pair_type, effective, suite, label, subject, signing_key, static_key, witness_key,"
        " house, invite, expires_ns, genesis, created_ns, created, log_name, log_keys)"
        " VALUES (?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            event.blob("pair"),
            event.text("role"),
            event.text("pair_type"),
            event.text("pair_type"),
            event.text("suite"),
            event.text("label") or None,
            event.blob("subject"),
            event.blob("cose_key"),
            event.blob("static_key"),
            event.blob("witness_key"),
            event.blob("house") or None,
            event.blob("invite") or None,
            event.number("expires") or None,
            int(event.get("genesis") is True),
            event.time_ns,
            index,
            event.text("log_name") or None,
            encode_keys(event),
        ),
    )


def _pairing_approved(state: State, event: Event, index: int) -> None:
    pairing = event.blob("pair")
    now, role, signed, _ = _pair_row(state, pairing)
    if now != "pending":
        raise Refused(f"this pairing is {now}, not waiting")
    row = state.one("SELECT expires_ns, invite, subject, signing_key, label, static_key FROM pairs WHERE pairing = ?", (pairing,))
    if row is None:
        raise AssertionError("a pair was there and is gone")
    expires, invite, subject, public, label, static = row
    if isinstance(expires, int) and event.time_ns >= expires:
        raise Refused("this pairing has expired", "Invite the machine again.")
    pair_type = event.text("pair_type")
    if WIDTH[pair_type] > WIDTH[signed]:
        raise Refused(f"this pairing was proposed as {signed}")
    by: bytes | None = None
    if role == "house":
        by = _who_approves(state, event, pair_type, invite)
    # One standing pair with one machine: the older one ends when the machine is paired anew.
    again = state.one("SELECT pairing FROM pairs WHERE static_key = ? AND role = ? AND state = 'standing'", (static, role))
    if again is not None:
        raise Refused("this machine is already paired", "Sever the older pair first: `tally sever NAME`.")
    state.run(
        "UPDATE pairs SET state = 'standing', pair_type = ?, effective = ?, label = ?, stood = ? WHERE pairing = ?",
        (pair_type, pair_type, event.text("label") or label, index, pairing),
    )
    if not isinstance(subject, bytes) or not isinstance(public, bytes):
        raise AssertionError("a pair without a key")
    actions = ACTIONS[pair_type] if role == "house" else ""
    classes = "machine" if role == "house" else ""
    introduce(state, index, key_id=subject, kind="machine", public=public, classes=classes, actions=actions, pairing=pairing, by=by)


def _who_approves(state: State, event: Event, pair_type: str, invite: Cell) -> bytes | None:
    """The human key behind an approval at the house; None when an invite was approved beforehand."""
    if event.get("genesis"):
        if pair_type != PairType.ADMIN or state.one("SELECT 1 FROM pairs WHERE role = 'house' AND stood IS NOT NULL") is not None:
            raise Refused("genesis happened already")
    elif event.text("by") == "policy":
        row = state.one("SELECT preapproved, leaf FROM invites LEFT JOIN entries ON idx = created WHERE invite = ?", (invite,))
        if row is None or row[0] != 1 or pair_type == PairType.ADMIN:
            raise Unproven("nobody approved this invite beforehand")
        signer = signer_of(entry.decode(row[1])) if isinstance(row[1], bytes) else None
        if signer is not None and not is_admin(state, signer, event.time_ns):
            raise Unproven("the key that approved this invite beforehand does not stand any more", "Approve it: `tally inbox`.")
        return None
    return admin_signed(state, event)


def _pairing_ends(to: str, allowed: tuple[str, ...]) -> Rule:
    def rule(state: State, event: Event, index: int) -> None:
        pairing = event.blob("pair")
        now, _role, _, _ = _pair_row(state, pairing)
        if now not in allowed:
            raise Refused(f"this pair is {now}", "See `tally status`.")
        check_stated(state, event)
        state.run("UPDATE pairs SET state = ?, ended = ? WHERE pairing = ?", (to, index, pairing))
        state.run(
            "UPDATE keys SET state = 'retired', changed = ? WHERE pairing = ? AND kind = 'machine' AND state IN ('standing', 'suspended')",
            (index, pairing),
        )

    return rule


def _downgraded(state: State, event: Event, _index: int) -> None:
    now, _, _, effective = _pair_row(state, event.blob("pair"))
    to = event.text("pair_type")
    if now != "standing":
        raise Refused(f"this pair is {now}")
    if WIDTH[to] >= WIDTH[effective]:
        raise Refused(f"this pair is {effective}; a downgrade is narrower", "To widen it, pair again.")
    check_stated(state, event)
    state.run("UPDATE pairs SET effective = ? WHERE pairing = ?", (to, event.blob("pair")))
    state.run("UPDATE keys SET actions = ? WHERE pairing = ? AND kind = 'machine' AND actions != ''", (ACTIONS[to], event.blob("pair")))


def _pairing_resigned(state: State, event: Event, index: int) -> None:
    now, _, _, effective = _pair_row(state, event.blob("pair"))
    if now != "restored":
        raise Refused(f"this pair is {now}")
    admin_signed(state, event)
    to = event.text("pair_type")
    if WIDTH[to] > WIDTH[effective]:
        raise Refused(f"this pair was {effective}")
    state.run("UPDATE pairs SET state = 'standing', effective = ? WHERE pairing = ?", (to, event.blob("pair")))
    state.run(
        "UPDATE keys SET state = 'standing', actions = ?, changed = ? WHERE pairing = ? AND kind = 'machine' AND state = 'suspended'",
        (ACTIONS[to], index, event.blob("pair")),
    )


def _cosigned(state: State, event: Event, _index: int) -> None:
    if event.get("pair") is None:
        return
    if event.text("by") == "peer":
        state.run(
            "UPDATE pairs SET cosigned_size = ? WHERE pairing = ? AND (cosigned_size IS NULL OR cosigned_size < ?)",
            (event.number("size"), event.blob("pair"), event.number("size")),
        )
        return
    seen = state.one("SELECT seen_origin, seen_size FROM pairs WHERE pairing = ?", (event.blob("pair"),))
    if seen is not None and seen[0] == event.blob("origin_hash") and isinstance(seen[1], int) and seen[1] > event.number("size"):
        raise Refused(f"a checkpoint of {seen[1]} entries was cosigned before", "The other side was rolled back.")
    state.run(
        "UPDATE pairs SET seen_origin = ?, seen_size = ?, seen_root = ?, seen_note = ? WHERE pairing = ?",
        (event.blob("origin_hash"), event.number("size"), event.blob("root"), event.blob("checkpoint") or None, event.blob("pair")),
    )


RULES: Final[Mapping[Kind, Rule]] = {
    Kind.INVITE_CREATED: _invite_created,
    Kind.INVITE_CONSUMED: _invite_ends("consumed"),
    Kind.INVITE_REVOKED: _invite_ends("revoked"),
    Kind.INVITE_EXPIRED: _invite_ends("expired"),
    Kind.PAIRING_PROPOSED: _pairing_proposed,
    Kind.PAIRING_APPROVED: _pairing_approved,
    Kind.PAIRING_DENIED: _pairing_ends("denied", ("pending",)),
    Kind.PAIRING_EXPIRED: _pairing_ends("expired", ("pending",)),
    Kind.PAIRING_BROKEN: _pairing_ends("broken", ("pending", "standing", "restored")),
    Kind.SEVERED: _pairing_ends("severed", ("pending", "standing", "broken", "restored")),
    Kind.DOWNGRADED: _downgraded,
    Kind.PAIRING_RESIGNED: _pairing_resigned,
    Kind.CHECKPOINT_COSIGNED: _cosigned,
}
