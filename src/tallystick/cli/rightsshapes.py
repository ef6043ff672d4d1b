"""The shapes of what a house knows of keys, rights, facts and its plan: see shapes.py for what a shape is, docs/keys.md for the words."""

from collections.abc import Mapping
from typing import Final

from tallystick.cli.kinds import MAYBE_NUMBER, MAYBE_TEXT, NUMBER, OBJECT, REAL, SWITCH, TEXT, TEXTS, Shape

HOUSE_KEY: Final[Shape] = {
    "number": NUMBER,
    "key": TEXT,  # KeyId
    "label": TEXT,
    "kind": TEXT,  # human, machine, source, recovery, witness
    "state": TEXT,  # standing, suspended, retired, compromised, replaced
    "classes": TEXTS,
    "actions": TEXTS,  # of a source none means metadata, read, propose
    "targets": TEXTS,  # none means every one
    "schedule": MAYBE_TEXT,
    "place": MAYBE_TEXT,  # where it may be
    "place_erased": SWITCH,  # it was signed, and is forgotten
    "expires_ns": MAYBE_NUMBER,
    "introduced": NUMBER,  # entry
    "introduced_by": MAYBE_TEXT,  # #2
    "pair": MAYBE_TEXT,
    "changed": NUMBER,  # entry that set its state
    "since": MAYBE_NUMBER,  # compromised from this entry on
}

SUSPENDED: Final[Shape] = {"kind": TEXT, "id": TEXT, "entry": NUMBER, "cause": NUMBER}

GRANT: Final[Shape] = {
    "entry": NUMBER,
    "classes": TEXTS,
    "actions": TEXTS,
    "targets": TEXTS,
    "schedule": MAYBE_TEXT,
    "place": MAYBE_TEXT,
    "expires_ns": MAYBE_NUMBER,
    "by": MAYBE_TEXT,
}

SCOPE: Final[Shape] = {
    "scope": TEXT,
    "entry": NUMBER,
    "state": TEXT,  # open, used, suspended, ended, void
    "verb": TEXT,
    "targets": TEXTS,
    "uses_left": MAYBE_NUMBER,
    "until_ns": NUMBER,
}

FACT: Final[Shape] = {
    "entry": NUMBER,
    "predicate": TEXT,
    "subject": MAYBE_TEXT,  # #12; null: about all
    "value": OBJECT,  # text, whole number, true, false; null: personal and erased
    "personal": SWITCH,
    "state": TEXT,  # standing, suspended, withdrawn
    "observed_ns": NUMBER,
    "until_ns": MAYBE_NUMBER,
    "by": MAYBE_TEXT,
}

CELLS: Final[Shape] = {
    "number": NUMBER,
    "key": TEXT,
    "label": TEXT,
    "kind": TEXT,
    "state": TEXT,
    **dict.fromkeys(("metadata", "read", "egress", "propose", "write", "admin"), TEXT),  # yes, some, ask, no
}

PLAN: Final[Shape] = {
    "house": TEXT,
    "entry": MAYBE_NUMBER,  # that recorded it; null: the default
    "classes": ({"class": TEXT, "layers": TEXTS, "why": TEXT},),
    "plan": OBJECT,  # class -> layers, as it was recorded
}

RIGHTS: Final[Mapping[str, Shape]] = {
    "key ls --house": {"house": TEXT, "keys": (HOUSE_KEY,), "suspended": (SUSPENDED,)},
    "key show": {
        "house": TEXT,
        **HOUSE_KEY,
        "public": TEXT,  # COSE_Key
        "grants": (GRANT,),
        "scopes": (SCOPE,),
        "facts": (FACT,),
        "sightings": NUMBER,
        "context": MAYBE_NUMBER,  # entry of the open one
        "changes": ({"entry": NUMBER, "time_ns": NUMBER, "kind": TEXT, "by": MAYBE_TEXT},),
    },
    "key revoke": {
        "key": TEXT,
        "number": NUMBER,
        "label": TEXT,
        "how": TEXT,  # retired, compromised
        "since": MAYBE_NUMBER,
        "entry": NUMBER,
        "suspended": (SUSPENDED,),  # what fell with it
    },
    "key resume": {"key": TEXT, "number": NUMBER, "label": TEXT, "entry": NUMBER},
    "grant": {"key": TEXT, "number": NUMBER, "label": TEXT, "entry": NUMBER, "introduced": SWITCH},
    "grant withdraw": {"withdrawn": TEXT, "entry": NUMBER},
    "context begin": {"key": TEXT, "number": NUMBER, "label": TEXT, "entry": NUMBER},
    "context end": {"key": TEXT, "number": NUMBER, "label": TEXT, "entry": NUMBER},
    "fact add": {"predicate": TEXT, "personal": SWITCH, "entry": NUMBER},
    "fact ls": {"house": TEXT, "facts": (FACT,)},
    "fact withdraw": {"fact": NUMBER, "entry": NUMBER},
    "rights ls": {"house": TEXT, "keys": (CELLS,)},
    "rights why": {
        "house": TEXT,
        "key": TEXT,
        "label": TEXT,
        "action": TEXT,
        "class": TEXT,
        "target": MAYBE_TEXT,
        "signal": MAYBE_NUMBER,
        "cap": TEXT,
        "verdict": TEXT,  # allow, hold, refuse
        "scope": MAYBE_TEXT,
        "layers": TEXTS,
        "layers_from": TEXT,
        "voices": ({"source": TEXT, "subject": TEXT, "verdict": TEXT, "why": TEXT},),
        "rows": ({"key": TEXT, "entry": NUMBER, "allows": SWITCH, "misses": MAYBE_TEXT, "row": TEXT},),
    },
    "plan": PLAN,
    "plan set": {"plan": OBJECT, "weakened": TEXTS, "entry": NUMBER},  # weakened: classes that lost a layer
    "gate eval schonlau": {
        "data": TEXT,
        "rehearsal": SWITCH,
        "users": NUMBER,
        "commands": NUMBER,  # of each user
        "rows": (
            {
                "review": SWITCH,  # a human looks at each flagged block
                "threshold": NUMBER,  # log odds of somebody else
                "blocks": NUMBER,
                "masked": NUMBER,
                "flagged": NUMBER,
                "hit": REAL,  # these four in percent
                "false_alarm": REAL,
                "miss": REAL,
                "cost": REAL,
            },
        ),
    },
}
