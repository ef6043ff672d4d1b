"""A story as programs read it: the JSON of `tally explain --json` and of `GET /v1/explain` (docs/explain.md).

The types are what is promised, and what a client makes of a house's answer: a name that is not in them is left out. References, keys
and hashes are hexadecimal; times are UTC nanoseconds since 1970; `facts` and entries are indices of the house's ledger.
"""

from typing import Annotated, TypedDict

import msgspec

from tallystick.node.answers import Count, Hash

Ppm = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class Layered(TypedDict):
    """What a layer saw: then (`entry`), or now (null). `matches`: attribute, result, score, threshold, quality in parts per million."""

    entry: Count | None
    layer: str
    outcome: str
    rule: str
    why: str
    facts: list[Count]
    confidence_ppm: Ppm | None
    matches: list[tuple[str, str, Ppm, Ppm, Ppm]]


class After(TypedDict):
    """What came of a signal. `kind`: proposal, approval, proposal-denied, proposal-ended, effect-begun, effect-done, effect-failed,
    effect-unknown. `by`: KeyId; `words`: why, as the signer said; `note`: why an approval proves nothing."""

    entry: Count
    time_ns: Count
    kind: str
    by: Hash | None
    reason: str
    words: str
    risk: str
    effect: str
    uses: Count | None
    expires_ns: Count | None
    scoped: bool
    signature: str
    note: str


class StoryStep(TypedDict):
    """A signal, or an entry that one names. `opening`: kept, erased, wrong, unread or none.

    `layers`: those that the plan of entry `plan` asked.  `proof`: from the leaf up to the checkpoint's root.
    """

    entry: Count
    depth: Count
    kind: str
    time_ns: Count
    issued_at_ns: Count | None
    reference: Hash | None
    key: Hash | None
    number: Count | None
    label: str
    signal_class: str
    action: str
    verb: str
    signature: str
    opening: str
    erased: Count | None
    target: str
    observations: list[str]
    place: str
    verdict: str
    reduced: bool
    reason: str
    rule: str
    facts: list[Count]
    context: str
    plan: Count | None
    layers: list[str]
    then: list[Layered]
    now: list[Layered]
    judged_now: bool
    after: list[After]
    leaf_hash: Hash
    proof: list[Hash]


class StoryLink(TypedDict):
    """From a step to one before it. `how`: signed, context, target; `earlier`: null where the ledger does not hold it."""

    later: Count
    earlier: Count | None
    reference: str
    how: str
    proven: bool
    why: str


class StoryFate(TypedDict):
    """What happened to a key."""

    entry: Count
    time_ns: Count
    what: str
    how: str
    since: Count | None
    reason: str
    by: Hash | None


class StoryKey(TypedDict):
    """A key of the story, or one that signed such a key in."""

    key: Hash
    number: Count | None
    label: str
    kind: str
    state: str
    introduced: Count | None
    by: Hash | None
    fates: list[StoryFate]


class StoryFact(TypedDict):
    """A fact that a rule named."""

    entry: Count
    words: str
    withdrawn: Count | None


class Explained(TypedDict):
    """The whole answer. `text`: the story in plain words, a line each. The proofs lead to `root`, of the note in `checkpoint`."""

    entry: Count
    reference: Hash
    text: list[str]
    steps: list[StoryStep]
    links: list[StoryLink]
    keys: list[StoryKey]
    facts: list[StoryFact]
    left_out: Count
    size: Count | None
    root: Hash | None
    checkpoint: str | None
