"""key new, key ls, key replace-admins: the human keys on this machine, and the recovery key's one statement."""

import secrets
import time
from typing import Any

from tallystick.errors import Malformed, Misuse, TallyError
from tallystick.gate.statement import sign_statement
from tallystick.keys import HumanKey, PublicKey, parse_cose_key
from tallystick.node.commands.here import ask_house
from tallystick.node.commands.where import Passphrase, text_of
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.rotating import current_keys, rotate
from tallystick.node.rotation import Use
from tallystick.node.settings import Settings
from tallystick.node.witnesses import appoint
from tallystick.pair.message import LABEL_FORM
from tallystick.pair.pairing import Role
from tallystick.pair.statement import ReplaceAdmins, encode_statement
from tallystick.primitives import sha256
from tallystick.vault import recovery_from_text
from tallystick.vault.source import SourceKey

MIN_PASSPHRASE = 8


def _view(key: HumanKey, number: int | None, created_ns: int) -> dict[str, Any]:
    return {
        "number": number,
        "key": str(key.key_id),
        "label": key.label,
        "kind": "human",
        "key_class": key.key_class.value,
        "created_ns": created_ns,
        "public": key.public.cose_key().hex(),
    }


def key_new(settings: Settings, *, label: str, passphrase: Passphrase, scripted: bool, source: bool = False) -> dict[str, Any]:
    """A new human key, locked by a passphrase; or one for a source that runs on this machine. Raises: Misuse: too short a passphrase."""
    if source:
        if not LABEL_FORM.fullmatch(label):
            raise Misuse("a source key has a label", "name what it is: --label front-door (letters, digits, dot, dash, underscore)")
        with Machine.open_or_create(settings, Role.CLIENT) as machine:
            return _source_view(machine.vault.new_source(label, now_ns=time.time_ns()), None)
    words = passphrase(f"a new human key {label}".rstrip())
    if len(words) < MIN_PASSPHRASE:
        raise Misuse(f"a passphrase has at least {MIN_PASSPHRASE} characters", "take several words")
    with Machine.open_or_create(settings, Role.CLIENT) as machine:
        key = machine.vault.new_human(label or settings.name, text_of(words), scripted=scripted)
    return _view(key, None, time.time_ns())


def _source_view(key: SourceKey, number: int | None) -> dict[str, Any]:
    return {
        "number": number,
        "key": str(key.key_id),
        "label": key.label,
        "kind": "source",
        "key_class": "file",
        "created_ns": key.created_ns,
        "public": key.public.cose_key().hex(),
    }


def key_ls(settings: Settings) -> dict[str, Any]:
    """The human keys and the source keys in this machine's vault."""
    with Machine.open(settings) as machine:
        keys = []
        for key in machine.vault.humans():
            row = machine.store.key(key.key_id)
            entry = None if row is None else machine.store.entry(row.introduced)
            keys.append(_view(key, None if row is None else row.number, 0 if entry is None else entry.event.time_ns))
        for source in machine.vault.sources():
            row = machine.store.key(source.key_id)
            keys.append(_source_view(source, None if row is None else row.number))
    return {"keys": keys}


def key_replace_admins(settings: Settings, *, recovery: str, admins: list[str]) -> dict[str, Any]:
    """At the house itself: the recovery key names the admin human keys anew; all others lose `admin`.

    Args: recovery: the text from paper.  admins: public keys as `tally key ls --json` shows them.
    Raises: Malformed, Unproven: not this house's recovery key. Unavailable: the house does not run.
    """
    keys = tuple(_public(text) for text in admins)
    signer = recovery_from_text(recovery)
    with Machine.open(settings) as machine:
        house_id, origin = bytes(machine.house_id), sha256(machine.log_name.encode())
    bundle = sign_statement(
        signer,
        encode_statement(ReplaceAdmins(origin=origin, admins=keys)),
        house_id=house_id,
        issued_at_ns=time.time_ns(),
        stream=secrets.token_bytes(16),
        n=0,
        salt=secrets.token_bytes(32),
    )
    answer = ask_house(settings, "replace-admins", bundle=bundle.hex())
    return {"entry": answer["entry"], "admins": [str(key.key_id) for key in keys]}


def key_rotate(settings: Settings, *, use: str) -> dict[str, Any]:
    """At a house that does not run: new keys of one use, signed by the old ones. Raises: Misuse, Refused, Unavailable."""
    with Machine.open(settings) as machine, machine.home.lock():
        receipt = rotate(machine, Use(use))
        older = len(machine.vault.list("static/"))
    with Machine.open(settings) as machine, machine.home.lock():
        keys = [key.hex()[:64] for key in current_keys(machine.vault, Use(use))]
        published, why = _publish(machine)
    return {"use": use, "entry": receipt.index, "keys": keys, "older": older, "published": published, "failure": why}


def _publish(machine: Machine) -> tuple[int | None, str | None]:
    """What is published must name the new keys: from the files under the old ones no ledger could be made again.

    Returns: the size of the checkpoint in place, or why there is no new one.
    """
    publisher = Publisher(machine)
    try:
        appoint(machine, publisher, time.time_ns())
        return publisher.publish().size, None
    except TallyError as error:
        return None, error.message
    finally:
        publisher.stop()


def _public(text: str) -> PublicKey:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise Malformed("a public key is hexadecimal", "copy `public` from `tally key ls --json`") from None
    return parse_cose_key(raw)
