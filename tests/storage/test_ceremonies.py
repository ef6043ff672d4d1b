"""Ten thousand random ceremonies against the real rules: somebody able is always left, and never do two houses take commands.

A world is one house and every copy that was ever made of its ledger: backups, what comes back from them, what moved and what stayed
behind. People make mistakes in it, machines are lost, programs die between any two steps. The rules are those of the projection, in
databases in memory; the humans do what their machines let them (node/commands/reopening.py): the owner's machine reaches a house by the
static key that it knows, so it signs nothing for a machine that the house has left.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import apsw
import pytest

from tallystick.canonical import encode
from tallystick.errors import TallyError
from tallystick.keys.cose import sign1
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tallystick.storage import schema
from tallystick.storage.book import Book, Request
from tallystick.storage.projection import project
from tests.storage.house import (
    OWNER,
    RECOVERY,
    START,
    Key,
    approved,
    invite_consumed,
    invite_created,
    origin,
    owner_introduced,
    proposed,
    signal,
)

WORLDS, CEREMONIES = 50, 200
BACK = (bytes(32), 1, bytes(32))
MACHINES = [Key.named(f"machine {n}") for n in range(4)]


@dataclass
class Copy:
    """One copy of the ledger on one machine."""

    book: Book
    home: Key
    """The machine it lies on: its signing key stands for its static one as well."""

    def offer(self, *events: Event) -> bool:
        """Whether the rules took them."""
        request = Request(events, tuple(map(entry.encode, events)))
        self.book.write([request])
        return not isinstance(request.outcome, TallyError)

    def would(self, event: Event) -> bool:
        """Whether the rules would take it now; nothing is kept."""
        db = self.book.db
        db.execute("BEGIN")
        try:
            project(self.book, event, self.book.tree.size, self.book.event_at)
        except TallyError:
            return False
        else:
            return True
        finally:
            db.execute("ROLLBACK")
            self.book._shut = None

    @property
    def size(self) -> int:
        return self.book.tree.size

    def house(self) -> tuple[Any, ...]:
        row = self.book.one("SELECT state, owner, first_name, restored FROM house")
        assert row is not None
        return row

    def admins(self) -> set[bytes]:
        rows = self.book.db.execute("SELECT key_id FROM keys WHERE kind = 'human' AND state = 'standing' AND actions LIKE '%admin%'")
        return {row[0] for row in rows}

    def copied(self, home: Key | None = None) -> "Copy":
        db = apsw.Connection(":memory:")
        with db.backup("main", self.book.db, "main") as copying:
            copying.step()
        return Copy(Book(db), home or self.home)


@dataclass
class World:
    """What there is, and what the people in it know."""

    dice: random.Random
    house: Copy
    others: list[Copy] = field(default_factory=list)  # what is still switched on somewhere
    backups: list[Copy] = field(default_factory=list)
    known: Key = MACHINES[0]  # where the owner's machine believes the house to be
    humans: dict[bytes, Key] = field(default_factory=dict)
    tickets: list[Key] = field(default_factory=list)  # machines that wait for a house
    gone: list[Copy] = field(default_factory=list)
    now: int = START + 10**12
    number: int = 0
    done: dict[str, int] = field(default_factory=dict)

    @classmethod
    def new(cls, seed: int) -> "World":
        db = apsw.Connection(":memory:")
        schema.create(db)
        copy = Copy(Book(db), MACHINES[0])
        assert copy.offer(origin(), owner_introduced())
        return cls(random.Random(seed), copy, humans={bytes(OWNER.id): OWNER})

    def tick(self) -> int:
        self.now += 1000
        self.number += 1
        return self.number

    def key(self) -> Key:
        """A fresh human key."""
        made = Key.named(f"human {self.tick()} of {id(self)}")
        self.humans[bytes(made.id)] = made
        return made

    def any_human(self, copy: Copy) -> Key:
        """Somebody: mostly one who may, sometimes one who may not any more."""
        able = [self.humans[each] for each in sorted(copy.admins()) if each in self.humans]
        return self.dice.choice(able) if able and self.dice.random() < 0.8 else self.dice.choice(list(self.humans.values()))

    def copies(self) -> list[Copy]:
        return [self.house, *self.others]

    # --- Ceremonies. Each returns whether something happened; each may be cut short between any two of its steps. --------------------

    def dies(self) -> bool:
        return self.dice.random() < 0.15

    def pair(self, at: Copy) -> bool:
        n = self.tick()
        tag, pairing = sha256(b"invite%d" % n), sha256(b"pairing%d" % n)
        machine = Key.named(f"client {self.dice.randrange(6)}")
        if not at.offer(invite_created(tag, time_ns=self.now)) or self.dies():
            return False
        if not at.offer(invite_consumed(tag, time_ns=self.now)) or self.dies():
            return False
        if not at.offer(proposed(machine, pairing, invite=tag, time_ns=self.now)) or self.dies():
            return False
        return at.offer(approved(pairing, by=self.any_human(at), time_ns=self.now))

    def introduce(self, at: Copy) -> bool:
        by, made = self.any_human(at), self.key()
        actions = ("read", "admin") if self.dice.random() < 0.7 else ("read",)
        fields: dict[str, Any] = {"subject": bytes(made.id), "cose_key": made.public.cose_key(), "key": bytes(by.id), "actions": actions}
        return at.offer(Event.of(Kind.KEY_INTRODUCED, self.now, "pair", key_kind="human", classes=("human",), **fields))

    def revoke(self, at: Copy) -> bool:
        by, whom = self.any_human(at), self.any_human(at)
        how = self.dice.choice(("retired", "compromised"))
        actor = self.dice.choice(("pair", "local"))
        return at.offer(Event.of(Kind.KEY_REVOKED, self.now, actor, subject=bytes(whom.id), revocation=how, key=bytes(by.id)))

    def replace(self, at: Copy) -> bool:
        heirs = tuple(self.key().public.cose_key() for _ in range(self.dice.choice((1, 1, 2))))
        by = RECOVERY if self.dice.random() < 0.8 else self.any_human(at)
        fields: dict[str, Any] = {"admin_keys": heirs, "statement": b"x", "statement_salt": bytes(32)}
        raw = signal(by, self.tick(), stream=bytes(15) + b"r", verb="key.replace-admins", action="admin")
        return at.offer(Event.of(Kind.ADMINS_REPLACED, self.now, "local", signal=raw, **fields))

    def sever(self, at: Copy) -> bool:
        rows = list(at.book.db.execute("SELECT pairing FROM pairs WHERE state IN ('standing', 'restored')"))
        return bool(rows) and at.offer(Event.of(Kind.SEVERED, self.now, "local", pair=self.dice.choice(rows)[0], by="local"))

    def rotate(self, at: Copy) -> bool:
        use, new = self.dice.choice(("log", "witness", "signing")), Key.named(f"rotated {self.tick()} {id(self)}")
        kind = {"witness": "witness", "signing": "machine"}.get(use)
        row = at.book.one("SELECT key_id FROM keys WHERE kind = ? AND state = 'standing' AND pairing IS NULL ORDER BY number DESC", (kind,))
        fields: dict[str, Any] = {"log_keys": ((1, new.pair.public),)} if use == "log" else {"subject": row[0] if row else bytes(32)}
        return at.offer(Event.of(Kind.KEY_ROTATED, self.now, "local", use=use, successor=new.public.cose_key(), **fields))

    def back_up(self, at: Copy) -> bool:
        self.backups = [*self.backups[-4:], at.copied()]
        return True

    def restore(self, at: Copy) -> bool:
        """The disk of this machine is lost, and one of its backups comes back; or somebody brings back one of a machine it has left."""
        fitting = [backup for backup in self.backups if backup.home is at.home]
        if not fitting:
            return False
        back = self.dice.choice(fitting).copied()
        owner = self.any_human(back)
        took = back.offer(Event.of(Kind.CLOSED, self.now, "local", reason="restoring", owner=bytes(owner.id)))
        if not took:
            assert back.house()[0] == "moved" or bytes(owner.id) not in {row[0] for row in back.book.db.execute("SELECT key_id FROM keys")}
            return False  # `tally restore` puts nothing in place
        self.gone.append(at)
        if at is self.house:
            self.house = back
        else:
            self.others[self.others.index(at)] = back
        return True if self.dies() else self.reopen(back)

    def roll_back(self, at: Copy) -> bool:
        """A snapshot came back and nobody said so; the first pair that shows more closes it, before a person would sign anything."""
        fitting = [backup for backup in self.backups if backup.home is at.home]
        if not fitting or at is not self.house:
            return False
        self.house = self.dice.choice(fitting).copied()
        self.house.offer(Event.of(Kind.CLOSED, self.now, "house", reason="rolled-back"))
        return True

    def reopen(self, at: Copy) -> bool:
        if at.house()[0] != "closed":
            return False
        if self.dice.random() < 0.4:
            owner = self.any_human(at)
            at.offer(Event.of(Kind.CLOSED, self.now, "local", reason="restoring", owner=bytes(owner.id)))
        _, named, first, times = at.house()
        signer = self.humans.get(named) if named and self.dice.random() < 0.8 else self.any_human(at)
        if signer is None or at.home is not self.known:
            return False  # the owner's machine does not get there
        name = f"{first}/{times + self.dice.choice((1, 1, 2))}"
        opened = at.offer(Event.of(Kind.RESTORED, self.now, "pair", seen=(), predecessor=BACK, key=bytes(signer.id), log_name=name))
        for (pairing,) in list(at.book.db.execute("SELECT pairing FROM pairs WHERE state = 'restored'")) if opened else ():
            if self.dice.random() < 0.6:
                fields: dict[str, Any] = {"pair": pairing, "key": bytes(signer.id), "pair_type": "USER"}
                at.offer(Event.of(Kind.PAIRING_RESIGNED, self.now, "pair", **fields))
        return opened

    def migrate(self, at: Copy) -> bool:
        new, by = Key.named(f"machine {self.tick()} {id(self)}"), self.any_human(at)  # `tally migrate ticket` makes keys of its own
        self.tickets.append(new)
        if at.home is not self.known:
            return False
        keys: dict[str, Any] = {"static_key": sha256(new.pair.public), "witness_key": new.pair.public, "log_keys": ((1, new.pair.public),)}
        fields = {"predecessor": BACK, "successor": new.public.cose_key(), "key": bytes(by.id), **keys}
        if not at.offer(Event.of(Kind.MIGRATED, self.now, "pair", **fields)):
            return False
        self.known = new  # the owner's machine has signed it
        return True if self.dies() else self.arrive(at)

    def arrive(self, at: Copy) -> bool:
        """The copy of a house that has moved is brought to a machine that waits with a ticket, also to a wrong one, and again and again."""
        if at.house()[0] != "moved":
            return False
        # Once a house lives there, its home takes no other: `tally migrate receive` is for a home that has a ticket and no ledger.
        for machine in [each for each in self.tickets if all(copy.home is not each for copy in (*self.copies(), *self.gone))]:
            moved = at.copied(machine)
            value = sign1(machine, encode(["arrived"]))
            if moved.offer(Event.of(Kind.ARRIVED, self.now, "local", entry=moved.size - 1, value=value)):
                if at is self.house:
                    self.others.append(at)
                    self.house = moved
                else:
                    self.others.append(moved)
                return True
        return False

    def check(self) -> None:
        command = Event.of(Kind.SIGNAL, self.now, "pair", verdict="allow", signal=signal(MACHINES[0], self.tick(), stream=bytes(15) + b"c"))
        takers = [copy for copy in self.copies() if copy.would(command)]
        assert len(takers) <= 1, [copy.house() for copy in takers]
        for copy in self.copies():
            states = {
                row[0]: row[1] for row in copy.book.db.execute("SELECT kind, count(*) FROM keys WHERE state = 'standing' GROUP BY kind")
            }
            assert copy.admins() or states.get("recovery"), "nobody is left who could do anything"


CHOICES = (
    "pair",
    "pair",
    "introduce",
    "revoke",
    "replace",
    "sever",
    "rotate",
    "back_up",
    "back_up",
    "restore",
    "roll_back",
    "reopen",
    "reopen",
    "migrate",
    "arrive",
)


def able(world: World) -> None:
    """Whoever is left can really do something: the recovery key names a human, and that one opens the house if it is closed."""
    copy = next((each for each in world.copies() if each.home is world.known and each.house()[0] != "moved"), None)
    if copy is None:
        return
    probe, heir = copy.copied(), Key.named("heir of last resort")
    fields: dict[str, Any] = {"admin_keys": (heir.public.cose_key(),), "statement": b"x", "statement_salt": bytes(32)}
    raw = signal(RECOVERY, 10**6, stream=bytes(15) + b"p", verb="key.replace-admins", action="admin")
    assert probe.offer(Event.of(Kind.ADMINS_REPLACED, world.now, "local", signal=raw, **fields))
    if probe.house()[0] == "closed":
        assert probe.offer(Event.of(Kind.CLOSED, world.now, "local", reason="restoring", owner=bytes(heir.id)))
        _, _, first, times = probe.house()
        restored = {"seen": (), "predecessor": BACK, "key": bytes(heir.id), "log_name": f"{first}/{times + 1}"}
        assert probe.offer(Event.of(Kind.RESTORED, world.now, "pair", **restored))
    assert probe.house()[0] == "open" and probe.admins() == {bytes(heir.id)}


@pytest.mark.parametrize("part", range(5))
def test_somebody_able_is_left_and_one_house_at_most_takes_commands(part: int) -> None:
    """After each of 10,000 ceremonies, whatever was lost, forged, repeated or cut short before."""
    happened: dict[str, int] = {}
    for seed in range(part * WORLDS // 5, (part + 1) * WORLDS // 5):
        world = World.new(seed)
        for _ in range(CEREMONIES):
            world.tick()
            ceremony = world.dice.choice(CHOICES)
            at = world.house if world.dice.random() < 0.75 or not world.others else world.dice.choice(world.others)
            if getattr(world, ceremony)(at):
                happened[ceremony] = happened.get(ceremony, 0) + 1
            world.check()
        able(world)
    # The test would mean nothing if the rules had refused everything.
    assert set(happened) == set(CHOICES), happened
