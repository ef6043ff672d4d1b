"""The shape of `tally explain --json`: see shapes.py for what a shape is, and docs/explain.md for what the names mean."""

from collections.abc import Mapping
from typing import Any, Final

_TEXT: Final = "text"
_MAYBE_TEXT: Final = "text?"
_NUMBER: Final = "number"
_MAYBE_NUMBER: Final = "number?"
_SWITCH: Final = "true or false"
_TEXTS: Final = "list of text"
_NUMBERS: Final = "list of number"
_OBJECT: Final = "object"

LAYERED: Final = {
    "entry": _MAYBE_NUMBER,  # of the finding; null: said now
    "layer": _TEXT,
    "outcome": _TEXT,  # pass reject noted low abstain unavailable
    "rule": _TEXT,
    "why": _TEXT,
    "facts": _NUMBERS,  # the entries it rests on
    "confidence_ppm": _MAYBE_NUMBER,
    "matches": _OBJECT,  # list of [attribute, result, score, threshold, quality], the last three in parts per million
}

AFTER: Final = {
    "entry": _NUMBER,
    "time_ns": _NUMBER,
    "kind": _TEXT,  # proposal approval proposal-denied proposal-ended effect-begun effect-done effect-failed effect-unknown
    "by": _MAYBE_TEXT,  # KeyId
    "reason": _TEXT,
    "words": _TEXT,  # why, as the signer said
    "risk": _TEXT,
    "effect": _TEXT,
    "uses": _MAYBE_NUMBER,
    "expires_ns": _MAYBE_NUMBER,
    "scoped": _SWITCH,
    "signature": _TEXT,
    "note": _TEXT,  # why an approval proves nothing
}

STEP: Final = {
    "entry": _NUMBER,
    "depth": _NUMBER,  # links to the signal that is explained
    "kind": _TEXT,
    "time_ns": _NUMBER,
    "issued_at_ns": _MAYBE_NUMBER,
    "reference": _MAYBE_TEXT,
    "key": _MAYBE_TEXT,
    "number": _MAYBE_NUMBER,
    "label": _TEXT,
    "signal_class": _TEXT,
    "action": _TEXT,
    "verb": _TEXT,
    "signature": _TEXT,  # holds, does not hold, by an unknown key, not checked, none
    "opening": _TEXT,  # kept erased wrong unread none
    "erased": _MAYBE_NUMBER,
    "target": _TEXT,
    "observations": _TEXTS,
    "place": _TEXT,
    "verdict": _TEXT,
    "reduced": _SWITCH,
    "reason": _TEXT,
    "rule": _TEXT,
    "facts": _NUMBERS,
    "context": _TEXT,
    "plan": _MAYBE_NUMBER,  # the entry of the plan in force
    "layers": _TEXTS,  # that it asked
    "then": (LAYERED,),
    "now": (LAYERED,),
    "judged_now": _SWITCH,
    "after": (AFTER,),
    "leaf_hash": _TEXT,
    "proof": _TEXTS,  # RFC 6962 inclusion proof of the leaf in the checkpoint; empty: not covered yet
}

LINK: Final = {
    "later": _NUMBER,
    "earlier": _MAYBE_NUMBER,  # null: not in this ledger
    "reference": _TEXT,
    "how": _TEXT,  # signed context target
    "proven": _SWITCH,
    "why": _TEXT,
}

FATE: Final = {
    "entry": _NUMBER,
    "time_ns": _NUMBER,
    "what": _TEXT,  # revoked suspended resumed forked rotated
    "how": _TEXT,  # retired compromised
    "since": _MAYBE_NUMBER,
    "reason": _TEXT,
    "by": _MAYBE_TEXT,
}

KEY: Final = {
    "key": _TEXT,
    "number": _MAYBE_NUMBER,
    "label": _TEXT,
    "kind": _TEXT,
    "state": _TEXT,
    "introduced": _MAYBE_NUMBER,
    "by": _MAYBE_TEXT,
    "fates": (FATE,),
}

FACT: Final = {"entry": _NUMBER, "words": _TEXT, "withdrawn": _MAYBE_NUMBER}

EXPLAIN: Final[Mapping[str, Any]] = {
    "entry": _NUMBER,
    "reference": _TEXT,
    "text": _TEXTS,  # the story in plain words
    "steps": (STEP,),
    "links": (LINK,),
    "keys": (KEY,),
    "facts": (FACT,),  # that rules named
    "left_out": _NUMBER,
    "size": _MAYBE_NUMBER,  # of the newest checkpoint; the proofs lead to its root
    "root": _MAYBE_TEXT,
    "checkpoint": _MAYBE_TEXT,  # the signed note
    "proofs": _MAYBE_TEXT,
    "seconds": "real number",
}
