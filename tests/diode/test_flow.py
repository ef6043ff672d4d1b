"""Which way things flow, and what a house may report: closed tables, cell by cell."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallystick.canonical import Value, decode, encode
from tallystick.channel import frame as channel_frame
from tallystick.diode.flow import (
    RECEIVES,
    Data,
    FrameType,
    Stage,
    check_data,
    check_frame,
    check_telemetry_direction,
    check_verb_direction,
    sees_records,
)
from tallystick.diode.telemetry import (
    KIND_NAMES,
    MAX_CHECKPOINT_BYTES,
    Approval,
    ApprovalState,
    Checkpoint,
    Health,
    HealthState,
    Progress,
    ProgressState,
    Severed,
    Telemetry,
    encode_telemetry,
    parse_telemetry,
    sanitise,
)
from tallystick.errors import Malformed, Misuse
from tallystick.pair.pairing import PairType, Role
from tallystick.rights.verb import VERBS
from tests.support import PROJECT

uints = st.integers(0, 2**63 - 1)
records = st.one_of(
    st.builds(Severed, pairing_id=st.binary(min_size=32, max_size=32)),
    st.builds(Checkpoint, note=st.binary(min_size=1, max_size=500)),
    st.builds(Approval, proposal=uints, state=st.sampled_from(ApprovalState)),
    st.builds(Health, state=st.sampled_from(HealthState), uptime_s=uints, entries=uints, pairs=uints, sessions=uints, held=uints),
    st.builds(Progress, entry=uints, state=st.sampled_from(ProgressState), done=uints, total=st.just(0)),
)
EXAMPLES: list[Telemetry] = [
    Severed(pairing_id=bytes(range(32))),
    Checkpoint(note=b"house.example/log\n3\nAAAA\n"),
    Approval(proposal=7, state=ApprovalState.DENIED),
    Health(state=HealthState.OK, uptime_s=1, entries=2, pairs=3, sessions=4, held=5),
    Progress(entry=9, state=ProgressState.RUNNING, done=3, total=4),
]
PAIRING = {FrameType.END, FrameType.PING, FrameType.PAIRING}
PAIRED = {FrameType.DATA, FrameType.HANDSHAKE, FrameType.END, FrameType.PING, FrameType.TELEMETRY, FrameType.CHECKPOINT}


@pytest.mark.parametrize("receiver", list(Role))
@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("number", range(-1, 256))
def test_every_frame_type_in_every_stage(receiver: Role, stage: Stage, number: int) -> None:
    """Only the cells of the specification pass; every other first byte cuts the session."""
    allowed = PAIRING if stage is Stage.PAIRING else PAIRED
    if number in allowed:
        assert check_frame(receiver, stage, number) == number
    else:
        with pytest.raises(Malformed):
            check_frame(receiver, stage, number)


def test_frame_types_are_those_of_the_stream() -> None:
    """Diode cannot import channel; the numbers are the same."""
    assert {(kind.name, kind.value) for kind in FrameType} == {(kind.name, kind.value) for kind in channel_frame.FrameType}


def test_requests_run_towards_the_house_only() -> None:
    """A client that receives a request, and a house that receives an answer, sever."""
    for role in Role:
        for data in Data:
            if RECEIVES[role] is data:
                check_data(role, data)
            else:
                with pytest.raises(Malformed):
                    check_data(role, data)
    assert RECEIVES == {Role.HOUSE: Data.REQUEST, Role.CLIENT: Data.ANSWER}


@pytest.mark.parametrize("verb", [*VERBS, "verb.reboot", "verb.", "verb.Reboot", "verb.a.b", "client.run", ""])
def test_no_verb_ever_travels_to_a_client(verb: str) -> None:
    """Every verb is for the house; an unknown one is for nobody."""
    with pytest.raises(Malformed):
        check_verb_direction(Role.CLIENT, verb)
    if verb in VERBS or verb == "verb.reboot":
        check_verb_direction(Role.HOUSE, verb)
    else:
        with pytest.raises(Malformed):
            check_verb_direction(Role.HOUSE, verb)


@pytest.mark.parametrize("kind", list(KIND_NAMES.values()))
def test_a_client_reports_severances_only(kind: str) -> None:
    """House to client every kind, client to house `severed`."""
    check_telemetry_direction(Role.CLIENT, kind)
    if kind == "severed":
        check_telemetry_direction(Role.HOUSE, kind)
    else:
        with pytest.raises(Malformed):
            check_telemetry_direction(Role.HOUSE, kind)


# --- Telemetry -------------------------------------------------------------------------------------------------------


@given(records)
def test_telemetry_has_one_form(record: Telemetry) -> None:
    """Written, read, written: the same bytes."""
    raw = encode_telemetry(record)
    assert parse_telemetry(raw, receiver=Role.CLIENT) == record
    assert encode_telemetry(parse_telemetry(raw, receiver=Role.CLIENT)) == raw


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: KIND_NAMES[type(record)])
def test_anything_else_is_malformed(record: Telemetry) -> None:
    """Every cut, a byte more, a field more or less, another version, kind, type or range."""
    raw = encode_telemetry(record)
    for at in range(len(raw)):
        with pytest.raises(Malformed):
            parse_telemetry(raw[:at], receiver=Role.CLIENT)
    with pytest.raises(Malformed):
        parse_telemetry(raw + b"\x00", receiver=Role.CLIENT)
    value = decode(raw)
    assert isinstance(value, dict)
    for key in value:
        with pytest.raises(Malformed):
            parse_telemetry(encode({k: v for k, v in value.items() if k != key}), receiver=Role.CLIENT)
    junk: list[Value] = [None, True, False, -1, 2**63, "text", "", b"", bytes(31), bytes(33), [], {}, 99]
    changes: list[tuple[int | str, Value]] = [(max(int(k) for k in value) + 1, 0), ("note", "free text"), (0, 0), (1, 2), (1, True)]
    changes += [(key, wrong) for key in value for wrong in junk]
    for key, wrong in changes:
        if value.get(key) == wrong and type(value.get(key)) is type(wrong):
            continue
        changed = encode({**value, key: wrong})
        try:
            read = parse_telemetry(changed, receiver=Role.CLIENT)
        except Malformed:
            continue
        # Only another count or another note in place of one: still of the schema, and no text.
        assert (isinstance(wrong, int) and not isinstance(wrong, bool)) or (isinstance(record, Checkpoint) and isinstance(wrong, bytes))
        assert encode_telemetry(read) == changed


def test_text_never_flows_up() -> None:
    """No field of any kind takes text, so no house can say a free word to a client by telemetry."""
    for record in EXAMPLES:
        value = decode(encode_telemetry(record))
        assert isinstance(value, dict)
        for key in value:
            with pytest.raises(Malformed):
                parse_telemetry(encode({**value, key: "hello"}), receiver=Role.CLIENT)


def test_a_client_that_reports_more_is_cut() -> None:
    """The house reads `severed` from a client and nothing else."""
    for record in EXAMPLES:
        if isinstance(record, Severed):
            assert parse_telemetry(encode_telemetry(record), receiver=Role.HOUSE) == record
        else:
            with pytest.raises(Malformed):
                parse_telemetry(encode_telemetry(record), receiver=Role.HOUSE)


@pytest.mark.parametrize(
    "bad",
    [
        Severed(pairing_id=b""),
        Checkpoint(note=b""),
        Checkpoint(note=bytes(MAX_CHECKPOINT_BYTES + 1)),
        Approval(proposal=-1, state=ApprovalState.HELD),
        Approval(proposal=2**63, state=ApprovalState.HELD),
        Progress(entry=1, state=ProgressState.RUNNING, done=5, total=4),
    ],
)
def test_our_own_mistakes_are_misuse(bad: Telemetry) -> None:
    """A record outside the schema is not sent."""
    with pytest.raises(Misuse):
        encode_telemetry(bad)


@given(st.binary(max_size=100))
def test_junk_is_malformed(junk: bytes) -> None:
    """Whatever bytes come, only Malformed comes out."""
    for receiver in Role:
        with pytest.raises(Malformed):
            parse_telemetry(junk, receiver=receiver)


@given(records, st.just(PairType.INTERFACE) | st.sampled_from(PairType))
@example(EXAMPLES[2], PairType.INTERFACE)
def test_interface_sees_counts_states_and_checkpoints_never_a_record(record: Telemetry, pair_type: PairType) -> None:
    """INTERFACE loses approvals and the entry of progress; the other types see every kind unchanged."""
    seen = sanitise(record, pair_type)
    if pair_type is not PairType.INTERFACE:
        assert seen == record
        assert sees_records(pair_type)
        return
    assert not sees_records(pair_type)
    match record:
        case Approval():
            assert seen is None
        case Progress():
            assert seen == replace(record, entry=0)
        case _:
            assert seen == record


def test_the_specification_lists_these_kinds() -> None:
    """docs/spec/telemetry.md, section 2 has exactly the kinds and fields of the code, and no field of text."""
    text = (PROJECT / "docs/spec/telemetry.md").read_text().split("## 2.")[1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")][2:]
    fields: dict[str, list[str]] = {}
    name = ""
    for _, kind, key, field, shape, *_ in cells:
        name = kind or name
        fields.setdefault(name, []).append(field)
        assert int(key) == 2 + len(fields[name])
        assert not shape.startswith("tstr")
    assert {kind: len(found) for kind, found in fields.items()} == {
        KIND_NAMES[type(record)]: len(type(record).__dataclass_fields__) for record in EXAMPLES
    }
