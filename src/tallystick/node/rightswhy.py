"""The matrix, the plan, and why a key may do something or not (docs/spec/door.md, section 1).

Everything is read from the state and judged anew with what stands now; nothing is kept and nothing takes effect by it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tallystick.errors import Misuse, Refused
from tallystick.facts.schedule import within
from tallystick.gate.opening import Opening, parse_opening
from tallystick.gate.plan import DEFAULT, Plan, plan_of
from tallystick.gate.provenance import COMPLETED
from tallystick.keys import KeyId
from tallystick.node.gatehouse import settled_plan
from tallystick.node.gatekeeper import SCHEDULE_TOLERANCE_S
from tallystick.node.gatememory import GateMemory
from tallystick.node.plansettings import SECTION
from tallystick.node.records import whole_number
from tallystick.node.rightsview import HEX_DIGITS, find_key, label_of
from tallystick.node.settings import Settings
from tallystick.pair.pairing import PairType
from tallystick.rights.action import ActionClass
from tallystick.rights.grant import Grant, Within
from tallystick.rights.matrix import LOCAL_CAP, Rights, judge
from tallystick.rights.scope import UNKNOWN, Request
from tallystick.storage.gaterows import SignalRow
from tallystick.storage.rows import KeyRow
from tallystick.storage.sqlite import Store

ANY_VERB: Final = "any.any"  # no signal has it: a scope is for one verb


def matrix_view(store: Store, house: KeyId, now_ns: int) -> dict[str, Any]:
    """Key x action. `yes`: for whatever target, at any time; `some`: for some; `ask`: a human is asked; `no`."""
    memory, keys = _memory(store, house), store.keys()
    rows = []
    for row in keys:
        known = memory.key(row.key_id)
        if known is None or row.kind not in ("human", "machine", "source") or row.key_id == house:
            continue  # the house's own key signs findings and asks for nothing
        cells = {action.value: _cell(known.rights, action, now_ns) for action in ActionClass}
        if not known.admin and cells["admin"] != "no":
            cells["admin"] = "ask"  # a human signs it each time
        label = label_of(store, row)
        rows.append({"number": row.number, "key": str(row.key_id), "label": label, "kind": row.kind, "state": row.state, **cells})
    return {"keys": rows}


def _cell(rights: Rights, action: ActionClass, now_ns: int) -> str:
    if not rights.halted:
        over = [grant.expires_ns is not None and grant.expires_ns <= now_ns for grant in rights.grants]
        allowing = [grant for grant, late in zip(rights.grants, over, strict=True) if action in grant.actions and not late]
        if any(not grant.targets and not grant.schedule for grant in allowing):
            return "yes"
        if allowing:
            return "some"
    return "ask" if rights.may_propose(None, within) else "no"


def plan_of_store(store: Store) -> tuple[int | None, Plan]:
    """The plan as it was recorded last, and its entry; the default where none was."""
    recorded = store.gate.plan()
    return (None, plan_of({})) if recorded is None else (recorded[0], plan_of(recorded[1]))


def plan_view(store: Store, settings: Settings) -> dict[str, Any]:
    """Which layers judge which class, and why: the record, and what the settings of the house say beside it."""
    written = {name: (text, settings.origins[f"{SECTION}.{name}"].detail) for name, text in settings.auth_layers.items()}
    (entry, plan), keys, settled = plan_of_store(store), store.keys(), settled_plan(store, settings)
    named = {*plan.layers, *(word for row in keys if row.kind == "source" for word in row.classes), *written}
    classes = []
    for name in sorted(named, key=lambda name: (name != DEFAULT, name)):
        decided = plan.name_for(name)
        why = f"as {decided}" if decided != name else "the default" if entry is None else f"entry {entry}"
        if name in written:
            why += _said(*written[name], ",".join(plan.resolve(name)), name in settled.not_taken)
        classes.append({"class": name, "layers": [layer.value for layer in plan.resolve(name)], "why": why})
    return {"entry": entry, "classes": classes, "plan": {name: list(layers) for name, layers in plan.words().items()}}


def _said(text: str, where: str, now: str, weaker: bool) -> str:
    """What settings say about a class, beside the record."""
    if text.replace(" ", "") == now:
        return f"; {where} says the same"
    if weaker:
        return f"; {where} says {text}: not taken, fewer layers take a signature (`tally plan set`)"
    return f"; {where} says {text}: from the next start on"


def why_view(store: Store, house: KeyId, query: Mapping[str, str], now_ns: int) -> dict[str, Any]:
    """May a key do this, and who says so? Query: key, action, and if wished class, target, verb, signal (an entry or a reference).

    With a signal of this key its own provenance is judged; with another's the key is judged as one that acts upon it.
    Raises: Refused, Misuse.
    """
    row, action = find_key(store, query.get("key", "")), _action(query.get("action", ""))
    memory, signal = _memory(store, house), _signal(store, query.get("signal", ""))
    own = signal is not None and signal.key == row.key_id
    known = memory.key(row.key_id)
    if known is None:
        raise AssertionError("a key of the list is known")
    signal_class = query.get("class") or (signal.signal_class if signal is not None and own else _class_of(row))
    asked, body = _asked(store, signal) if signal is not None and own else (None, None)
    target = query.get("target") or asked
    hears = known.hears or signal_class.partition("/")[0] in COMPLETED
    behind = _behind(store, row, signal, own=own, hears=hears)
    verb = query.get("verb") or (signal.verb if signal is not None and own else ANY_VERB)
    request = Request(
        key=row.key_id, signal_class=signal_class, action=action, verb=verb, target=target, body=body, behind=behind, now_ns=now_ns
    )
    cap = _cap(store, signal.pairing if signal is not None and own else row.pairing)
    keys = [known.rights, *(memory.rights(key) for key in behind)]
    admin = known.admin and row.stands
    inside = _calendar(signal.time_ns if signal is not None and own else now_ns)
    found = judge(cap, keys, action, human_signed=admin, request=request, scopes=memory.scopes(row.key_id), within=inside)
    entry, plan = plan_of_store(store)
    return {
        "key": f"#{row.number}",
        "label": label_of(store, row),
        "action": action.value,
        "class": signal_class,
        "target": target,
        "signal": None if signal is None else signal.entry,
        "cap": cap.value,
        "verdict": found.verdict.word,
        "scope": None if found.scope is None else found.scope.hex(),
        "layers": [layer.value for layer in plan.resolve(signal_class)],
        "layers_from": f"{plan.name_for(signal_class)} ({'the default' if entry is None else f'entry {entry}'})",
        "voices": [
            {"source": each.source.value, "subject": each.subject, "verdict": each.verdict.word, "why": each.why} for each in found.reasons
        ],
        "rows": [line for rights in keys for line in _lines(rights, request, inside)],
    }


def _calendar(issued_ns: int) -> Within:
    """Schedules by the time of issue, as the gate looks at them."""
    return lambda schedule, _: within(schedule, issued_ns, SCHEDULE_TOLERANCE_S)


def _lines(rights: Rights, request: Request, inside: Within) -> Iterable[dict[str, Any]]:
    """Each row of a key, and what of it does not let the request through."""
    signer = rights.key == request.key
    for grant in rights.grants:
        misses = grant.misses(
            request.action,
            signal_class=request.signal_class if signer else None,
            target=request.target,
            now_ns=request.now_ns,
            within=inside,
        )
        yield {
            "key": rights.subject,
            "entry": grant.entry,
            "allows": not misses and not rights.halted,
            "misses": rights.halted or misses or None,
            "row": _row_text(grant),
        }


def _row_text(grant: Grant) -> str:
    parts = [", ".join(grant.classes) or "any class", ", ".join(each.value for each in ActionClass if each in grant.actions) or "nothing"]
    parts += [f"to {', '.join(grant.targets)}"] if grant.targets else []
    parts += [f"at {grant.schedule}"] if grant.schedule else []
    return "; ".join(parts)


def _behind(store: Store, row: KeyRow, signal: SignalRow | None, *, own: bool, hears: bool) -> Sequence[KeyId]:
    """The other keys behind what it would sign."""
    found: set[KeyId] = set()
    if signal is not None:
        found |= set(signal.signers) if own else set(signal.behind)
    if not own and hears:
        context = store.gate.context(row.key_id)
        found |= {UNKNOWN} if context is None else set(context.signers)
    return sorted(found - {row.key_id})


def _signal(store: Store, text: str) -> SignalRow | None:
    """Raises: Refused: there is none."""
    if not text:
        return None
    try:
        found = store.gate.signal(bytes.fromhex(text)) if len(text) == HEX_DIGITS else store.gate.signal_at(whole_number(text))
    except ValueError:
        raise Misuse(f"{text[:40]!r} names no signal", "an entry, or the reference in hexadecimal") from None
    if found is None:
        raise Refused(f"there is no signal {text[:64]}", "`tally log --kind signal` lists them")
    return found


def _asked(store: Store, signal: SignalRow) -> tuple[str | None, bytes | None]:
    """Its target and the SHA-256 of its body, unless they were erased."""
    raw = store.opening(signal.entry)
    opening = Opening() if raw is None else parse_opening(raw)
    target = None if opening.target is None else opening.read_target()
    body = None if opening.body is None else opening.read_body()
    return None if target is None else f"{target.method} {target.path}", None if body is None else body.sha256


def _cap(store: Store, pairing: bytes | None) -> PairType:
    pair = None if pairing is None else store.pair(pairing)
    return LOCAL_CAP if pair is None else pair.effective


def _class_of(row: KeyRow) -> str:
    if row.classes:
        return row.classes[0]
    return row.kind if row.kind in ("human", "machine") else DEFAULT


def _action(word: str) -> ActionClass:
    for action in ActionClass:
        if action.value == word:
            return action
    raise Misuse(f"no action is called {word[:40]!r}", f"one of {', '.join(ActionClass)}")


def _memory(store: Store, house: KeyId) -> GateMemory:
    memory = GateMemory(store.gate, house)
    memory.refresh()
    return memory
