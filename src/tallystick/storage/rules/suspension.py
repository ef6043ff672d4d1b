"""What a compromised key signed falls with it, and what that signed, and so on (docs/spec/state.md, section 6).

Nothing of it is taken back for ever: it is suspended, and a human says of each whether it counts.
"""

from typing import Final

from tallystick.storage.rules.state import State

_BROUGHT: Final = "SELECT key_id, introduced FROM keys WHERE introduced_by = ? AND introduced >= ?"
_SIGNED: Final = (
    "UPDATE keys SET state = 'suspended', changed = ?3 WHERE introduced_by = ?1 AND introduced >= ?2 AND state = 'standing'",
    "UPDATE grants SET state = 'suspended', changed = ?3 WHERE granted_by = ?1 AND entry >= ?2 AND state = 'standing'",
    "UPDATE facts SET state = 'suspended', changed = ?3 WHERE stated_by = ?1 AND entry >= ?2 AND state = 'standing'",
    "UPDATE scopes SET state = 'suspended', changed = ?3 WHERE granted_by = ?1 AND entry >= ?2 AND state = 'open'",
    # Approved and not yet under way: it waits again.
    "UPDATE proposals SET state = 'held', approved = NULL, approved_by = NULL, ended = NULL"
    " WHERE approved_by = ?1 AND approved >= ?2 AND state = 'approved' AND ?3",
    # A pair waits to be signed again by another key; its machine's key stands again with it.
    "UPDATE pairs SET state = 'restored' WHERE state = 'standing' AND role = 'house' AND ?3 AND (pairing IN"
    " (SELECT pairing FROM keys WHERE introduced_by = ?1 AND introduced >= ?2 AND kind = 'machine')"
    " OR invite IN (SELECT invite FROM invites WHERE created_by = ?1 AND created >= ?2 AND preapproved = 1))",
    "UPDATE keys SET state = 'suspended', changed = ?3 WHERE state = 'standing' AND kind = 'machine' AND pairing IN"
    " (SELECT pairing FROM pairs WHERE state = 'restored' AND invite IN"
    " (SELECT invite FROM invites WHERE created_by = ?1 AND created >= ?2 AND preapproved = 1))",
    "UPDATE invites SET state = 'void', ended = ?3 WHERE created_by = ?1 AND created >= ?2 AND state = 'open'",
)


def suspend(state: State, index: int, key: bytes, since: int) -> None:
    """Suspend what this key signed in entries from `since` on, and what keys signed that came in so."""
    seen, waiting = {key}, [(key, since)]
    while waiting:
        signer, first = waiting.pop()
        for brought, introduced in state.all(_BROUGHT, (signer, first)):
            if isinstance(brought, bytes) and isinstance(introduced, int) and brought not in seen:
                seen.add(brought)
                waiting.append((brought, introduced))
        for sql in _SIGNED:
            state.run(sql, (signer, first, index))
