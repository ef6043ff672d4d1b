"""Trust policies: k of n by groups, each witness counted once, and a checkpoint that does not make the quorum is unproven."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.primitives import sha256
from tallystick.tlog.checkpoint import Checkpoint
from tallystick.tlog.note import SignatureType, VerifierKey
from tallystick.tlog.policy import MAX_OF_EACH, MAX_POLICY_BYTES, Policy, PolicyGroup, PolicyLog, PolicyWitness, read_policy
from tests.tlog.trees import LOG_KEY, ORIGIN, PQ_KEY, Witness, signed

X = [Witness(f"x{n}.test") for n in range(3)]
Y = [Witness(f"y{n}.test", pq=n == 1) for n in range(3)]
POINT = Checkpoint(origin=ORIGIN, size=42, root=sha256(b"root"))
TEXT = (
    "# who must have seen our log\n"
    "\n"
    f"log {LOG_KEY} https://log.test/\n"
    f"log {PQ_KEY}\n"
    + "".join(f"witness X{n} {witness.key}\n" for n, witness in enumerate(X))
    + "group X-witnesses 2 X0 X1 X2\n"
    + "".join(f"\twitness   Y{n}\t{witness.key} https://y{n}.test/ \n" for n, witness in enumerate(Y))
    + "group Y-witnesses any Y0 Y1 Y2\n"
    "  # both of them\n"
    "group X-and-Y all X-witnesses Y-witnesses\n"
    "quorum X-and-Y\n"
)
POLICY = read_policy(TEXT.encode())
NAMES = {f"X{n}": witness for n, witness in enumerate(X)} | {f"Y{n}": witness for n, witness in enumerate(Y)}


def test_the_policy_of_the_specification_is_read() -> None:
    """Two groups of three, two levels; addresses and comments; spaces and tabs as one likes."""
    assert [log.url for log in POLICY.logs] == ["https://log.test/", ""]
    assert [witness.name for witness in POLICY.witnesses] == list(NAMES)
    assert POLICY.groups == (
        PolicyGroup(name="X-witnesses", k=2, members=("X0", "X1", "X2")),
        PolicyGroup(name="Y-witnesses", k=1, members=("Y0", "Y1", "Y2")),
        PolicyGroup(name="X-and-Y", k=2, members=("X-witnesses", "Y-witnesses")),
    )
    assert POLICY.quorum == "X-and-Y"
    assert POLICY.needed == 3
    assert len(POLICY.verifiers) == 8
    assert read_policy(POLICY.to_bytes()) == POLICY


def test_the_quorum_is_two_of_x_and_one_of_y() -> None:
    """For every subset of the six, by set and by checkpoint, whatever order the lines have."""
    for count in range(7):
        for names in combinations(NAMES, count):
            enough = sum(name[0] == "X" for name in names) >= 2 and any(name[0] == "Y" for name in names)
            assert POLICY.satisfied(names) == enough
            data = signed(POINT, [NAMES[name] for name in reversed(names)])
            if enough:
                found = POLICY.check(data)
                assert found.checkpoint == POINT
                assert set(POLICY.witnessed(found.note)) == set(names)
            else:
                with pytest.raises(Unproven, match="no quorum"):
                    POLICY.check(data)


def test_names_the_policy_does_not_know_count_for_nothing() -> None:
    """Other names, the names of groups, and `none`; and a stranger's cosignature is passed over."""
    assert not POLICY.satisfied({"X-and-Y", "X-witnesses", "none", "Z"})
    stranger = Witness("z.test")
    with pytest.raises(Unproven):
        POLICY.check(signed(POINT, [X[0], X[1], stranger]))
    POLICY.check(signed(POINT, [X[0], stranger, X[1], Y[2]]))


def test_one_witness_does_not_count_twice() -> None:
    """Two lines by one key are one witness."""
    with pytest.raises(Unproven):
        POLICY.check(signed(POINT, [X[0], X[0], Y[0]]))


def test_a_known_witness_with_a_wrong_line_spoils_the_checkpoint() -> None:
    """Even where the quorum would be met without it; so does a cosignature of another checkpoint."""
    good = signed(POINT, [X[0], X[1], Y[0]])
    wrong = X[2].cosign(replace(POINT, size=43)).line().encode()
    with pytest.raises(Unproven):
        POLICY.check(good + wrong)


def test_a_cosignature_without_time_is_no_witness() -> None:
    """A time of zero is what subtrees are signed with."""
    data = signed(POINT, [X[0], X[1]]) + Y[0].cosign(POINT, time_s=0).line().encode()
    with pytest.raises(Unproven, match="no quorum"):
        POLICY.check(data)


def test_the_log_must_be_one_of_the_policys() -> None:
    """Another origin, another key under the same origin, and a policy without a log."""
    other = replace(POINT, origin="other.test/log")
    with pytest.raises(Unproven, match="no log called"):
        POLICY.check(signed(other, [X[0], X[1], Y[0]]))
    imposter = VerifierKey(name=ORIGIN, type=SignatureType.ED25519, public=Witness("imposter").key.public)
    with pytest.raises(Unproven):
        replace(POLICY, logs=(PolicyLog(key=imposter),)).check(signed(POINT, [X[0], X[1], Y[0]]))
    with pytest.raises(Misuse):
        replace(POLICY, logs=()).check(signed(POINT))
    # Any one of its keys is enough for the policy, as the specification says.
    replace(POLICY, logs=POLICY.logs[1:]).check(signed(POINT, [X[0], X[1], Y[0]]))


def test_no_quorum_and_one_witness() -> None:
    """`none` asks for nobody; a witness's name asks for that one; witnesses outside the quorum are optional."""
    base = "".join(line + "\n" for line in TEXT.splitlines() if line.split()[:1] in (["log"], ["witness"]))
    nobody, one = read_policy((base + "quorum none\n").encode()), read_policy((base + "quorum Y1\n").encode())
    assert (nobody.needed, one.needed) == (0, 1)
    assert POLICY.logs == nobody.logs
    nobody.check(signed(POINT))
    nobody.check(signed(POINT, [X[0]]))
    with pytest.raises(Unproven):
        one.check(signed(POINT, [X[0]]))
    assert one.witnessed(one.check(signed(POINT, [Y[1], X[0]])).note) == ("X0", "Y1")


BAD: dict[str, str] = {
    "nothing": "",
    "no quorum": "\n".join(TEXT.splitlines()[:-1]) + "\n",
    "two quorums": TEXT + "quorum none\n",
    "no newline at the end": TEXT[:-1],
    "an unknown word": TEXT + "extra x\n",
    "a log without key": "log\nquorum none\n",
    "a log with too much": f"log {LOG_KEY} a b\nquorum none\n",
    "a log twice": f"log {LOG_KEY}\nlog {LOG_KEY}\nquorum none\n",
    "a log twice under two names": f"log {LOG_KEY}\nlog {replace(LOG_KEY, name='b')}\nquorum none\n",
    "a log with a witness's key": f"log {X[0].key}\nquorum none\n",
    "a witness with a log's key": f"witness a {LOG_KEY}\nquorum none\n",
    "a witness twice": f"witness a {X[0].key}\nwitness b {X[0].key}\nquorum none\n",
    "a witness of the same name": f"witness a {X[0].key}\nwitness a {X[1].key}\nquorum none\n",
    "a witness called none": f"witness none {X[0].key}\nquorum none\n",
    "a witness without key": "witness a\nquorum none\n",
    "a key that is not its own": f"witness a {str(X[0].key).replace('+', '+0', 1)}\nquorum none\n",
    "a key with bytes that are no UTF-8": f"witness a \udcff{X[0].key}\nquorum none\n",
    "a group called none": f"witness a {X[0].key}\ngroup none 1 a\nquorum a\n",
    "a group called as a witness": f"witness a {X[0].key}\ngroup a 1 a\nquorum a\n",
    "a group of nobody": "group g any\nquorum none\n",
    "a group without threshold": f"witness a {X[0].key}\ngroup g a\nquorum none\n",
    "a group of itself": "group g 1 g\nquorum g\n",
    "a group of what comes later": f"group g 1 a\nwitness a {X[0].key}\nquorum g\n",
    "a group of none": "group g 1 none\nquorum g\n",
    "a member twice": f"witness a {X[0].key}\ngroup g 1 a a\nquorum g\n",
    "a member of two groups": f"witness a {X[0].key}\ngroup g 1 a\ngroup h 1 a\nquorum h\n",
    "a group in two groups": f"witness a {X[0].key}\ngroup g 1 a\ngroup h 1 g\ngroup i 1 g\nquorum h\n",
    "a quorum that comes later": f"quorum a\nwitness a {X[0].key}\n",
    "a quorum of two": f"witness a {X[0].key}\nwitness b {X[1].key}\nquorum a b\n",
    "a quorum of nobody known": "quorum a\n",
    "a null": "quorum none\n\0",
    "a carriage return": "quorum none\r\n",
    "a form feed": "quorum\x0cnone\n",
    "a delete": "quorum none\x7f\n",
    "a space of another kind": "quorum\u00a0none\n",
    **{
        f"a threshold of {k!r}": f"witness a {X[0].key}\nwitness b {X[1].key}\ngroup g {k} a b\nquorum g\n"
        for k in ("0", "3", "-1", "+1", "01", "1.0", "ALL", "١", "18446744073709551616")
    },
}


@pytest.mark.parametrize("text", list(BAD.values()), ids=list(BAD))
def test_what_is_no_policy_is_malformed(text: str) -> None:
    """Names missing, taken or used twice; thresholds that cannot be met or have another form; keys of the wrong kind."""
    with pytest.raises(Malformed):
        read_policy(text.encode("utf-8", "surrogateescape"))


def test_policies_have_limits() -> None:
    """32 of each and more are read; over 256 or over 1 MiB are not."""
    many = "".join(f"witness w{n} {Witness(f'w{n}').key}\n" for n in range(33))
    assert read_policy((many + "group g 32 " + " ".join(f"w{n}" for n in range(33)) + "\nquorum g\n").encode()).needed == 32
    groups = "".join(f"witness w{n} {Witness(f'w{n}').key}\n" for n in range(MAX_OF_EACH + 1))
    with pytest.raises(Malformed, match="more than"):
        read_policy((groups + "quorum none\n").encode())
    with pytest.raises(Malformed):
        read_policy(b"#" * MAX_POLICY_BYTES + b"\nquorum none\n")


def test_names_are_bytes() -> None:
    """A name that is no UTF-8 is read and written as it is; a Kelvin sign is not the letter K."""
    data = (
        f"witness K {X[0].key}\nwitness \u212a {X[1].key}\n".encode()
        + b"witness \xff\xfe "
        + f"{X[2].key}\n".encode()
        + b"quorum \xff\xfe\n"
    )
    policy = read_policy(data)
    assert len({witness.name for witness in policy.witnesses}) == 3
    assert policy.to_bytes() == data
    assert policy.satisfied([policy.witnesses[2].name])
    assert not policy.satisfied(["K", "\u212a"])


def test_what_no_file_can_hold_is_misuse() -> None:
    """A name with a space or a newline, an empty one, a comment sign in front of an address is none."""
    key = X[0].key
    for name in ("a b", "a\nb", "a\tb", "", "\ud800"):
        with pytest.raises(Misuse):
            Policy(witnesses=(PolicyWitness(name=name, key=key),)).to_bytes()
    for url in ("https://a b", "x\n"):
        with pytest.raises(Misuse):
            Policy(logs=(PolicyLog(key=LOG_KEY, url=url),)).to_bytes()


names = st.text(alphabet="abcXYZ-_.0", min_size=1, max_size=4).filter(lambda name: name != "none")


@given(st.lists(names, unique=True, min_size=1, max_size=6), st.data())
def test_any_policy_that_holds_together_survives(chosen: list[str], data: st.DataObject) -> None:
    """It is written and read as it was, and its quorum is met by `needed` witnesses, never by fewer."""
    count = data.draw(st.integers(1, len(chosen)))
    witnesses = [PolicyWitness(name=name, key=Witness(name).key) for name in chosen[:count]]
    free, groups = [witness.name for witness in witnesses], []
    for name in chosen[count:]:
        size = data.draw(st.integers(1, len(free)))
        members, free = tuple(free[:size]), free[size:]
        groups.append(PolicyGroup(name=name, k=data.draw(st.integers(1, size)), members=members))
        free.append(name)
    policy = Policy(witnesses=tuple(witnesses), groups=tuple(groups), quorum=data.draw(st.sampled_from(["none", *chosen])))
    assert read_policy(policy.to_bytes()) == policy
    sizes = [len(some) for n in range(count + 1) for some in combinations(chosen[:count], n) if policy.satisfied(some)]
    assert min(sizes) == policy.needed


def test_a_history_is_witnessed_as_far_as_the_quorum_saw_it() -> None:
    """Each witness saw a prefix of one history: what k of them saw is as long as the k-th longest."""
    witnesses = tuple(PolicyWitness(name=name, key=Witness(name).key) for name in "abc")
    for k, reached in ((1, 30), (2, 20), (3, 10)):
        policy = Policy(witnesses=witnesses, groups=(PolicyGroup(name="g", k=k, members=("a", "b", "c")),), quorum="g")
        assert policy.reached({"a": 20, "b": 30, "c": 10}) == reached
        assert policy.reached({"a": 20, "b": 30}) == (reached if k < 3 else 0)
        assert policy.reached({"x": 40}) == 0
    assert Policy(witnesses=witnesses).reached({"a": 5}) == 5


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_malformed(junk: bytes) -> None:
    """Alone and after lines that stand; what is read can be written and read again."""
    for data in (junk, TEXT.encode() + junk, TEXT.encode().replace(b"X1", junk)):
        try:
            policy = read_policy(data)
        except Malformed:
            continue
        assert read_policy(policy.to_bytes()) == policy
