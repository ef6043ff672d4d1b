"""The seven rules of layer 3 a second time, as a logic program (docs/spec/facts.md, section 4).

    decide(view) == rulings(object_to(view))

They are written for another machine and share nothing with facts/rule.py but the geometry, the fields of a schedule and the words: the
tests hold one against the other on random slices. Calendars come from the standard library here.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from tallystick.errors import Malformed
from tallystick.evidence.solver import Atom, Names, Ranks, grounded, shown
from tallystick.facts.claim import (
    CLOCK_UNCERTAINTY,
    LIVENESS,
    LIVENESS_FAILED,
    PLACE_OVERLAP,
    SCHEDULE_TOLERANCE,
    SETTINGS,
    SPEED_LIMIT,
    View,
)
from tallystick.facts.fact import Fact, Place
from tallystick.facts.rule import (
    CLASS_NOT_ALLOWED,
    IMPOSSIBLE_TRANSIT,
    LIVENESS_CONTRADICTION,
    OUTSIDE_PLACE,
    OUTSIDE_SCHEDULE,
    REVOKED_OR_EXPIRED,
    TWO_PLACES,
    Objection,
)
from tallystick.facts.schedule import parse_schedule
from tallystick.facts.transit import gap_mm

Ruling: TypeAlias = tuple[str, tuple[int, ...]]
"""A rule and the entries of the facts it rests on."""

_S: Final = 10**9
_NS_KMH: Final = 3_600_000  # mm at v km/h take mm * 3,600,000 / v ns
_INT32: Final = 2**31 - 1
_RULE: Final = {
    "standing": REVOKED_OR_EXPIRED,
    "class": CLASS_NOT_ALLOWED,
    "schedule": OUTSIDE_SCHEDULE,
    "declared": OUTSIDE_PLACE,
    "at_once": TWO_PLACES,
    "transit": IMPOSSIBLE_TRANSIT,
    "alive": LIVENESS_CONTRADICTION,
}
_ORDER: Final = tuple(_RULE.values())
_WORDS: Final = (SPEED_LIMIT, CLOCK_UNCERTAINTY, PLACE_OVERLAP, SCHEDULE_TOLERANCE, LIVENESS)
_OWN, _COMMON = 1, 0

# fact(F, Word, Scope, Time, Failed, Note, Entry): F is a small number, the last four are compared in this order.
# says(F, Value): an integer of 32 bits.  origin, changed: the entries of the key's rows, as numbers of facts.
PROGRAM: Final = """
newer(F,G) :- fact(F,W,S,T1,L1,N1,E1), fact(G,W,S,T2,L2,N2,E2), (T1,L1,N1,E1) > (T2,L2,N2,E2).
beaten(G) :- newer(_,G).
holds(F,W,S) :- fact(F,W,S,_,_,_,_), not beaten(F).

valid(F,W,S,V) :- holds(F,W,S), says(F,V), range(W,_,Low,High), Low <= V, V <= High.
setting(W,V) :- valid(_,W,1,V).
by(W,F) :- valid(F,W,1,_).
own(W) :- valid(_,W,1,_).
setting(W,V) :- valid(_,W,0,V), not own(W).
by(W,F) :- valid(F,W,0,_), not own(W).
set(W) :- by(W,_).
setting(W,D) :- range(W,D,_,_), not set(W).

% revoked or expired
standing(E) :- changed(E), not stands.
expired :- expires(X), clock(N), X <= N.
standing(E) :- origin(E), stands, expired.

% class not allowed
special(B) :- base(B), of_kind(B).
foreign :- special(B), not kind(B).
named_class :- granted(_).
allowed :- granted(C), prefix(C), not foreign.
allowed :- not named_class, special(B), kind(B).
class(E) :- origin(E), not allowed.

% outside declared schedule
day(C,D,W) :- dom(C,D), weekday(C,W), moment(_,_,D,_,W,_).
day(C,D,W) :- either(C), dom(C,D), moment(_,_,D,_,W,_).
day(C,D,W) :- either(C), weekday(C,W), moment(_,_,D,_,W,_).
due :- moment(M,H,D,O,W,R), minute(C,M), hour(C,H), month(C,O), day(C,D,W), setting(3,X), R <= X.
late :- scheduled, not due.
schedule(E) :- late, origin(E).
schedule(F) :- late, by(3,F).

% outside declared place
declared(E) :- elsewhere, origin(E).

% two places at once, impossible transit: way(S) between points, name(S) between names
far(S) :- need(S,L,N), setting(0,L), have(S,U,H), setting(1,U), H < N.
near_time(S) :- between(S,T), setting(1,U), twice(U,X), T <= X.
at_once(S) :- far(S), near_time(S).
transit(S) :- far(S), not near_time(S).
clash(S) :- other_name(S), have(S,U,H), setting(1,U), setting(2,O), span(O,X), H <= X.
at_once(S) :- clash(S).
at_once(F) :- far(S), near_time(S), by(0,F).
at_once(F) :- far(S), near_time(S), by(1,F).
transit(F) :- transit(S), sighting(S), by(0,F).
transit(F) :- transit(S), sighting(S), by(1,F).
at_once(F) :- clash(_), by(1,F).
at_once(F) :- clash(_), by(2,F).

% liveness contradiction
alive(F) :- holds(F,4,1), failed(F).

#show standing/1. #show class/1. #show schedule/1. #show declared/1. #show at_once/1. #show transit/1. #show alive/1.
"""


def rulings(objections: tuple[Objection, ...]) -> tuple[Ruling, ...]:
    """The same shape for what facts/rule.py found."""
    return tuple((each.rule, each.facts) for each in objections)


def decide(view: View) -> tuple[Ruling, ...]:
    """What the seven rules say, in their order, decided by clingo."""
    claim, key = view.claim, view.slice.key
    things, words = Names(), Names()
    facts: list[Atom] = [("origin", things["introduced"]), ("changed", things["changed"])]
    numbers = {"introduced": key.introduced, "changed": key.changed}

    # The key.
    if key.state == "standing":
        facts.append(("stands",))
    clock = max(claim.now_ns, claim.issued_at_ns)
    if key.expires_ns is not None:
        ranks = Ranks((clock, key.expires_ns))
        facts += [("clock", ranks[clock]), ("expires", ranks[key.expires_ns])]
    parts = claim.signal_class.split("/")
    facts += [("prefix", words["/".join(parts[: n + 1])]) for n in range(len(parts))]
    facts += [("base", words[parts[0]]), ("kind", words[key.kind]), ("of_kind", words["human"]), ("of_kind", words["machine"])]
    facts += [("granted", words[granted]) for granted in key.classes]
    if key.place is not None and claim.place is not None and _elsewhere(key.place, claim.place):
        facts.append(("elsewhere",))

    # Facts about the key and about all.
    known = [*view.slice.facts, *claim.notes]
    times, entries = Ranks(each.observed_ns for each in known), Ranks(each.entry for each in known)
    for n, each in enumerate(known):
        if each.predicate not in _WORDS:
            continue
        number = things[("fact", n)]
        facts.append(_fact(number, each, times[each.observed_ns], entries[each.entry]))
        if type(each.value) is int and abs(each.value) <= _INT32:
            facts.append(("says", number, each.value))
        if each.predicate == LIVENESS and each.value == LIVENESS_FAILED:
            facts.append(("failed", number))
    facts += [("range", _WORDS.index(word), *bounds) for word, bounds in SETTINGS.items()]
    facts += _schedule(view)
    facts += _sightings(view, things)

    found: dict[str, set[int]] = {}
    for word, *arguments in shown(grounded(PROGRAM, facts)):
        found.setdefault(_RULE[word], set()).update(_entry(things.thing(number), numbers, known, view) for number in arguments)
    return tuple((rule, tuple(sorted(found[rule] - {0}))) for rule in _ORDER if rule in found)


def _entry(thing: object, numbers: dict[str, int], known: list[Fact], view: View) -> int:
    match thing:
        case str():
            return numbers[thing]
        case ("fact", int(n)):
            return known[n].entry
        case ("sighting", int(n)):
            return view.slice.sightings[n].entry
    raise AssertionError("a number that nothing has")


def _fact(number: int, fact: Fact, time: int, entry: int) -> Atom:
    note = fact.entry == 0
    scope = _COMMON if fact.subject is None and not note else _OWN
    failed = fact.predicate == LIVENESS and fact.value == LIVENESS_FAILED
    return ("fact", number, _WORDS.index(fact.predicate), scope, time, int(failed), int(note), entry)


def _values(view: View, word: str) -> set[int]:
    """Every value a setting may have here: what facts say, and the default."""
    default, least, most = SETTINGS[word]
    said = {each.value for each in (*view.slice.facts, *view.claim.notes) if each.predicate == word and type(each.value) is int}
    return {default} | {value for value in said if least <= value <= most}


def _schedule(view: View) -> list[Atom]:
    """The fields of each schedule, and the minutes around the moment, each with the least tolerance in seconds that lets it in."""
    key, at_ns = view.slice.key, view.claim.issued_at_ns
    if not key.schedule:
        return []
    facts: list[Atom] = [("scheduled",)]
    for number, text in enumerate((key.schedule, *key.also)):
        try:
            schedule = parse_schedule(text)
        except Malformed:
            continue
        fields = {
            "minute": schedule.minutes,
            "hour": schedule.hours,
            "dom": schedule.days,
            "month": schedule.months,
            "weekday": schedule.weekdays,
        }
        facts += [(name, number, value) for name, values in fields.items() for value in values]
        if schedule.either_day:
            facts.append(("either", number))
    widest = max(_values(view, SCHEDULE_TOLERANCE))
    for minute in range(at_ns // (60 * _S) - widest // 60 - 2, at_ns // (60 * _S) + widest // 60 + 3):
        start = minute * 60 * _S
        needed = max(0, start - at_ns, at_ns - (start + 60 * _S) + 1)
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
        facts.append(("moment", time.minute, time.hour, time.day, time.month, time.isoweekday() % 7, -(-needed // _S)))
    return facts


def _sightings(view: View, things: Names) -> list[Atom]:
    """What there is to compare: ways against times, for every limit and every uncertainty that a fact may set."""
    place, at_ns = view.claim.place, view.claim.issued_at_ns
    facts: list[Atom] = []
    if place is None:
        return facts
    limits, clocks, overlaps = (_values(view, word) for word in (SPEED_LIMIT, CLOCK_UNCERTAINTY, PLACE_OVERLAP))
    needs: dict[tuple[int, int], int] = {}
    haves: dict[tuple[int, int], int] = {}
    betweens: dict[int, int] = {}
    for n, sighting in enumerate(view.slice.sightings):
        if sighting.signal is not None and sighting.signal == view.claim.reference:
            continue
        number = things[("sighting", n)]
        betweens[number] = abs(at_ns - sighting.observed_ns)
        haves |= {(number, clock): betweens[number] + 2 * clock * _S for clock in clocks}
        if isinstance(place, str) or isinstance(sighting.place, str):
            if isinstance(place, str) and isinstance(sighting.place, str) and place != sighting.place:
                facts.append(("other_name", number))
            continue
        way = gap_mm(place, sighting.place)
        needs |= {(number, limit): -(-way * _NS_KMH // limit) for limit in limits}
        facts.append(("sighting", number))
    twice, spans = {clock: 2 * clock * _S for clock in clocks}, {overlap: overlap * _S for overlap in overlaps}
    ranks = Ranks((*needs.values(), *haves.values(), *betweens.values(), *twice.values(), *spans.values()))
    facts += [("need", *each, ranks[time]) for each, time in needs.items()]
    facts += [("have", *each, ranks[time]) for each, time in haves.items()]
    facts += [("between", number, ranks[time]) for number, time in betweens.items()]
    facts += [("twice", clock, ranks[time]) for clock, time in twice.items()]
    facts += [("span", overlap, ranks[time]) for overlap, time in spans.items()]
    return facts


def _elsewhere(one: Place, other: Place) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one != other
    return not isinstance(one, str) and not isinstance(other, str) and gap_mm(one, other) > 0
