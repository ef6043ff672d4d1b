"""Reading: every filter finds what a look at every entry would find, in order, in pages."""

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.errors import Misuse, Refused, TallyError
from tallystick.ledger.event import Kind
from tallystick.ledger.signed import read_mark
from tallystick.primitives import sha256
from tallystick.storage.rows import EntryRow
from tallystick.storage.sqlite import Store
from tests.storage.house import START, Key, approved, paired, proposed, severed
from tests.storage.life import HUMANS, MACHINES, requests


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a random life of some 500 entries."""
    store = Store.open(tmp_path_factory.mktemp("readers") / "house.sqlite", create=True)
    for events, openings in requests(77, 500):
        try:
            store.append(*events, openings=openings).result(30)
        except TallyError:
            continue
    return store


def concerns(row: EntryRow, pair: bytes | None, key: bytes | None, action: str | None, verdict: str | None) -> bool:
    """The filters, said slowly."""
    event = row.event
    mark = read_mark(event.blob("signal")) if event.get("signal") else None
    about = next((event.get(name) for name in ("pair", "subject", "invite", "token", "scope", "origin_hash") if event.get(name)), None)
    signer = event.get("key") or (mark.key if mark else None)
    return (
        (pair is None or pair in (event.get("pairing"), about))
        and (key is None or key in (signer, about))
        and (action is None or (mark is not None and mark.action == action))
        and (verdict is None or event.get("verdict") == verdict)
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_filters_find_what_a_full_look_finds(history: Store, data: st.DataObject) -> None:
    """Kinds, pair, key, action, verdict, time, range, direction and limit, in any combination."""
    pair = data.draw(st.one_of(st.none(), st.integers(0, 12).map(lambda n: sha256(bytes((2, n))))))
    key = data.draw(st.one_of(st.none(), st.sampled_from([bytes(one.id) for one in (*MACHINES, *HUMANS)])))
    action = data.draw(st.one_of(st.none(), st.sampled_from(("read", "write"))))
    verdict = data.draw(st.one_of(st.none(), st.sampled_from(("allow", "refuse"))))
    kinds = data.draw(st.lists(st.sampled_from((Kind.SIGNAL, Kind.ANSWER, Kind.SEVERED, Kind.PAIRING_APPROVED)), max_size=3))
    start, stop = data.draw(st.integers(0, 600)), data.draw(st.one_of(st.none(), st.integers(0, 600)))
    since, until = (data.draw(st.one_of(st.none(), st.integers(START, START + 1600))) for _ in range(2))
    newest, limit = data.draw(st.booleans()), data.draw(st.integers(1, 700))
    rows = [row for row in history.entries(limit=10_000) if row.index >= start and (stop is None or row.index < stop)]
    rows = [row for row in rows if concerns(row, pair, key, action, verdict) and (not kinds or row.event.kind in kinds)]
    rows = [row for row in rows if (since is None or row.event.time_ns >= since) and (until is None or row.event.time_ns <= until)]
    expected = list(reversed(rows))[:limit] if newest else rows[:limit]
    found = history.entries(
        start,
        stop,
        kinds=kinds,
        pair=pair,
        key=key,
        action=action,
        verdict=verdict,
        since_ns=since,
        until_ns=until,
        newest_first=newest,
        limit=limit,
    )
    assert list(found) == expected


def test_unknown_names_find_nothing(history: Store) -> None:
    """Pairs, keys, invites and entries that are not there are None or empty; a silly page is Misuse."""
    assert history.pair(bytes(32)) is None and history.key(bytes(32)) is None and history.key(10_000) is None
    assert history.invite(bytes(32)) is None and history.entry(1 << 40) is None
    assert history.entries(pair=b"x" * 32) == () and history.signal_seen(bytes(32), bytes(16), 0) is None
    assert history.body_slot(1 << 40) is None and history.opening(1 << 40) is None
    for limit in (0, 10_001):
        with pytest.raises(Misuse):
            history.entries(limit=limit)


def test_every_row_can_be_read(history: Store) -> None:
    """Whatever the history made, all pairs, keys and invites have values of the core's types."""
    assert history.pairs() and history.keys() and history.invites() and isinstance(history.inbox(), tuple)
    numbers = [key.number for key in (*history.keys(),)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert all(history.key(key.number) == key == history.key(key.key_id) for key in (*history.keys(),))
    for row in itertools.islice(history.entries(limit=10_000), 0, None, 7):
        assert history.entry(row.index) == row


def test_names(store: Store) -> None:
    """A pair goes by its label, or by 8 digits of its id; a standing one before a severed one; two of a name are refused."""
    first = paired(store, Key.named("a"), "laptop")
    second = paired(store, Key.named("b"), "phone")
    assert store.pair_by_name("laptop").pairing == first
    assert store.pair_by_name(second.hex()[:8].upper()).pairing == second
    assert store.pair_by_name(second.hex()).pairing == second
    for name in (second.hex()[:7], "nobody", "", "zz" * 8):
        with pytest.raises(Refused):
            store.pair_by_name(name)


def test_two_pairs_of_one_name(tmp_path: Path, store: Store) -> None:
    """When a label is taken twice, the name alone does not say which pair is meant."""
    first = paired(store, Key.named("a"), "laptop")
    other = sha256(b"other laptop")
    store.append(proposed(Key.named("b"), other, label="laptop")).result(10)
    store.append(approved(other)).result(10)
    with pytest.raises(Refused, match="several"):
        store.pair_by_name("laptop")
    store.append(severed(first)).result(10)
    assert store.pair_by_name("laptop").pairing == other
    store.append(severed(other)).result(10)
    assert store.pair_by_name("laptop").state == "severed"


def test_pages_follow_each_other(history: Store) -> None:
    """Reading page by page gives every entry once, forwards and backwards."""
    everything = [row.index for row in history.entries(limit=10_000)]
    pages: list[int] = []
    at = 0
    dice = random.Random(1)
    while page := history.entries(at, limit=dice.randrange(1, 90)):
        pages += [row.index for row in page]
        at = pages[-1] + 1
    assert pages == everything
    back: list[int] = []
    stop: int | None = None
    while page := history.entries(0, stop, newest_first=True, limit=50):
        back += [row.index for row in page]
        stop = back[-1]
    assert back == everything[::-1]
