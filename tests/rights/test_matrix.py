"""What may be done: every type with every action, every row, and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Refused
from tallystick.pair.field import ACTIONS
from tallystick.pair.pairing import PairType
from tallystick.rights.action import ActionClass
from tallystick.rights.matrix import (
    CAP,
    LOCAL_CAP,
    SOURCE_ROW,
    Row,
    check_allowed,
    granted_row,
    judge,
    machine_row,
    ordered_actions,
    source_row,
)
from tallystick.rights.verb import VERBS, action_of, check_verb
from tallystick.rights.verdict import Judgement, Reason, Source, Verdict, least
from tests.support import PROJECT

R, H, A = Verdict.REFUSE, Verdict.HOLD, Verdict.ALLOW
ORDER = ("metadata", "read", "egress", "propose", "write", "admin")

# The paired machine's own key, no human signature: rows are types, columns the actions in ORDER.
MACHINE = {
    PairType.ADMIN: (A, A, A, A, A, H),
    PairType.INPUT: (A, A, A, A, A, R),
    PairType.USER: (A, A, R, R, R, R),
    PairType.INTERFACE: (A, R, R, R, R, R),
}
# A source key without a grant (metadata, read, propose) as signer.
SOURCE = {
    PairType.ADMIN: (A, A, H, A, H, H),
    PairType.INPUT: (A, A, H, A, H, R),
    PairType.USER: (A, A, R, R, R, R),
    PairType.INTERFACE: (A, R, R, R, R, R),
}
# A human key that was granted everything, having signed exactly this.
HUMAN = {
    PairType.ADMIN: (A, A, A, A, A, A),
    PairType.INPUT: (A, A, A, A, A, R),
    PairType.USER: (A, A, R, R, R, R),
    PairType.INTERFACE: (A, R, R, R, R, R),
}
# Low confidence, the machine's own key: metadata and read stay.
REDUCED = {
    PairType.ADMIN: (A, A, H, H, H, H),
    PairType.INPUT: (A, A, H, H, H, R),
    PairType.USER: (A, A, R, R, R, R),
    PairType.INTERFACE: (A, R, R, R, R, R),
}
CELLS = pytest.mark.parametrize(("kind", "place"), [(kind, place) for kind in PairType for place in range(6)])
EVERYTHING = granted_row("human", ActionClass)


@CELLS
def test_every_type_and_every_action(kind: PairType, place: int) -> None:
    """The four tables of DESIGN section 8, cell by cell."""
    action = ActionClass(ORDER[place])
    assert judge(kind, [machine_row("m", kind)], action).verdict is MACHINE[kind][place]
    assert judge(kind, [source_row("s")], action).verdict is SOURCE[kind][place]
    assert judge(kind, [EVERYTHING], action, human_signed=True).verdict is HUMAN[kind][place]
    low = judge(kind, [machine_row("m", kind)], action, low_confidence=True)
    assert low.verdict is REDUCED[kind][place]
    assert low.reduced


def test_the_caps_are_those_of_the_design() -> None:
    """ADMIN everything; INPUT metadata, read, egress, propose, write; USER metadata, read; INTERFACE metadata."""
    assert {kind: {action.value for action in actions} for kind, actions in CAP.items()} == {
        PairType.ADMIN: set(ORDER),
        PairType.INPUT: {"metadata", "read", "egress", "propose", "write"},
        PairType.USER: {"metadata", "read"},
        PairType.INTERFACE: {"metadata"},
    }
    assert {action.value for action in SOURCE_ROW} == {"metadata", "read", "propose"}
    assert LOCAL_CAP is PairType.INPUT


def test_a_binary_failure_refuses_whatever_else_is_said() -> None:
    """A layer that says no is never softened into a hold, not even for a human on an ADMIN pair."""
    for kind in PairType:
        for action in ActionClass:
            found = judge(kind, [EVERYTHING], action, human_signed=True, failed=("deterministic", "impossible transit"))
            assert found.verdict is R
            assert Reason(source=Source.LAYER, subject="deterministic", verdict=R, why="impossible transit") in found.deciding


def test_without_a_key_nothing_is_allowed() -> None:
    """No row, no action: not even metadata on an ADMIN pair."""
    for kind in PairType:
        for action in ActionClass:
            assert judge(kind, [], action, human_signed=True).verdict is R


def test_a_key_without_propose_is_refused_not_held() -> None:
    """`refuse` becomes `hold` only where cap and key include `propose`."""
    reader = granted_row("feed", [ActionClass.METADATA, ActionClass.READ])
    assert judge(PairType.ADMIN, [reader], ActionClass.WRITE).verdict is R
    assert judge(PairType.ADMIN, [EVERYTHING, reader], ActionClass.WRITE).verdict is R
    writer = granted_row("writer", [ActionClass.WRITE])
    assert judge(PairType.INPUT, [writer], ActionClass.WRITE).verdict is A
    assert judge(PairType.INPUT, [writer], ActionClass.WRITE, low_confidence=True).verdict is R


def test_admin_always_needs_a_human_signature() -> None:
    """A machine's own key on an ADMIN pair has the action, and still waits for a human."""
    row = machine_row("m", PairType.ADMIN)
    found = judge(PairType.ADMIN, [row], ActionClass.ADMIN)
    assert found.verdict is H
    assert [reason.source for reason in found.deciding] == [Source.HUMAN]
    assert judge(PairType.ADMIN, [row, EVERYTHING], ActionClass.ADMIN, human_signed=True).verdict is A
    # A human's signature does not widen a key's row or a cap.
    assert judge(PairType.ADMIN, [source_row("agent"), EVERYTHING], ActionClass.ADMIN, human_signed=True).verdict is H
    assert judge(PairType.INPUT, [row, EVERYTHING], ActionClass.ADMIN, human_signed=True).verdict is R


rows = st.builds(Row, subject=st.just("k"), actions=st.frozensets(st.sampled_from(ActionClass)))


@given(st.sampled_from(PairType), st.lists(rows, min_size=1, max_size=6), st.sampled_from(ActionClass), st.booleans(), st.booleans())
def test_the_verdict_is_the_least_of_all(kind: PairType, keys: list[Row], action: ActionClass, human: bool, low: bool) -> None:
    """No voice is outvoted: more keys never raise the verdict, the order does not matter, and nothing exceeds the cap."""
    found = judge(kind, keys, action, human_signed=human, low_confidence=low)
    assert found.verdict == min(reason.verdict for reason in found.reasons)
    assert found.verdict == judge(kind, list(reversed(keys)), action, human_signed=human, low_confidence=low).verdict
    assert found.verdict == min(judge(kind, [key], action, human_signed=human, low_confidence=low).verdict for key in keys)
    assert all(found.verdict <= judge(kind, keys[:n], action, human_signed=human, low_confidence=low).verdict for n in range(1, len(keys)))
    if action not in CAP[kind]:
        assert found.verdict is R
    if found.verdict is A:
        assert all(action in key.actions for key in keys)
        assert action is not ActionClass.ADMIN or human
    if found.verdict is H:
        assert ActionClass.PROPOSE in CAP[kind]
        assert all(action in key.actions or ActionClass.PROPOSE in key.actions for key in keys)
    assert found.deciding
    assert found.reduced is low


@given(st.sampled_from(PairType), st.lists(rows, min_size=1, max_size=4), st.sampled_from(ActionClass))
def test_a_narrower_type_never_allows_more(kind: PairType, keys: list[Row], action: ActionClass) -> None:
    """After a downgrade the verdict is the same or lower."""
    widths = [PairType.ADMIN, PairType.INPUT, PairType.USER, PairType.INTERFACE]
    for narrower in widths[widths.index(kind) :]:
        assert judge(narrower, keys, action).verdict <= judge(kind, keys, action).verdict


def test_the_policy_may_keep_other_actions_open() -> None:
    """What stays open with low confidence is a setting."""
    row = machine_row("m", PairType.INPUT)
    only = frozenset((ActionClass.METADATA,))
    assert judge(PairType.INPUT, [row], ActionClass.READ, low_confidence=True, reduced_to=only).verdict is H


def test_reasons_name_who_said_what() -> None:
    """Each voice is there, with its own verdict; `deciding` are those that brought it down."""
    found = judge(PairType.INPUT, [machine_row("#4", PairType.INPUT), source_row("#12")], ActionClass.WRITE)
    assert [(reason.source, reason.subject, reason.verdict) for reason in found.reasons] == [
        (Source.CAP, "INPUT", A),
        (Source.KEY, "#4", A),
        (Source.KEY, "#12", H),
    ]
    assert [reason.subject for reason in found.deciding] == ["#12"]
    assert found.verdict.word == "hold"


def test_nobody_with_a_say_is_a_no() -> None:
    """The least of nothing is refuse."""
    assert least([], reduced=False) == Judgement(verdict=R, reduced=False, reasons=())


def test_places_that_cannot_hold_refuse() -> None:
    """`check_allowed` lets only allow through."""
    check_allowed(judge(PairType.USER, [machine_row("m", PairType.USER)], ActionClass.READ))
    for action in (ActionClass.WRITE, ActionClass.ADMIN):
        with pytest.raises(Refused) as caught:
            check_allowed(judge(PairType.USER, [machine_row("m", PairType.USER)], action))
        assert "USER does not include" in caught.value.message
    with pytest.raises(Refused):
        check_allowed(judge(PairType.INPUT, [source_row("s")], ActionClass.WRITE))


def test_the_pairing_statement_grants_what_the_matrix_caps() -> None:
    """The actions in a pairing statement are the type's, in the order of the specification."""
    assert ACTIONS == ORDER
    for kind in PairType:
        listed = ordered_actions(kind)
        assert set(listed) == {action.value for action in CAP[kind]}
        assert [ORDER.index(each) for each in listed] == sorted(ORDER.index(each) for each in listed)


@pytest.mark.parametrize("verb", list(VERBS))
def test_a_verb_has_one_action(verb: str) -> None:
    """A signal that names its verb with another action is Malformed, so that nothing passes under a smaller one."""
    for action in ActionClass:
        if action is VERBS[verb]:
            assert check_verb(verb, action.value) is action_of(verb) is action
        else:
            with pytest.raises(Malformed):
                check_verb(verb, action.value)


def test_unknown_verbs_are_malformed() -> None:
    """The list is closed."""
    for verb in ("archive.format", "", "archive.PUT", "archive.put ", "x" * 1000):
        with pytest.raises(Malformed):
            action_of(verb)


@pytest.mark.parametrize("action", ActionClass)
def test_a_named_program_has_the_class_that_its_house_says(action: ActionClass) -> None:
    """`verb.NAME` is one open family: any of the six is well-formed, and the house compares; no seventh, and no other form of a name."""
    assert check_verb("verb.vm-start", action.value) is action
    for verb, said in (("verb.vm-start", "root"), ("verb.", action.value), ("verb.a.b", action.value), ("verb.A", action.value)):
        with pytest.raises(Malformed):
            check_verb(verb, said)


def test_the_specification_lists_these_verbs() -> None:
    """docs/spec/signal.md, section 6 has exactly the verbs of the code, each with its action."""
    text = (PROJECT / "docs/spec/signal.md").read_text().split("## 6.")[1]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|") and "." in line]
    assert {verb: action for verbs, action in rows for verb in verbs.split()} == {verb: action.value for verb, action in VERBS.items()}
