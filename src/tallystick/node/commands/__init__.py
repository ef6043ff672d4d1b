"""What stands behind the command line: one function for each command (the promise is cli/behind.py's `Commands`).

Each takes the effective settings, does its work to the end, raises only the five errors and returns a mapping of the shape that
docs/cli.md promises. Questions to a person come in as callables; nothing here reads a terminal. A command's module is loaded when
it is called: `tally status` need not wait for what `tally serve` needs.
"""

import importlib
from typing import Any, Final

_MODULES: Final = {
    "copies": ("backup", "restore", "restore_owner"),
    "moving": ("migrate_receive", "migrate_send", "migrate_ticket", "migrate_to"),
    "reopening": ("restore_pair", "restore_show", "restore_sign"),
    "emitting": ("emit",),
    "erasing": ("erase",),
    "evaluating": ("gate_eval_schonlau",),
    "explaining": ("explain",),
    "files": ("get", "give_up", "ls", "mv", "put", "rm", "uploads", "versions"),
    "granting": (
        "context_begin",
        "context_end",
        "fact_add",
        "fact_withdraw",
        "grant",
        "grant_withdraw",
        "key_resume",
        "key_revoke",
        "plan_set",
    ),
    "house": ("init", "invite", "log", "serve"),
    "keys": ("key_ls", "key_new", "key_replace_admins", "key_rotate"),
    "decisions": ("approve", "deny", "edit", "inbox", "inbox_show"),
    "pairs": ("downgrade", "pair", "ping", "sever"),
    "quickstart": ("quickstart",),
    "record": ("log_check", "log_export", "log_prove"),
    "rights": ("config_plan", "fact_ls", "key_ls_house", "key_show", "plan", "rights_ls", "rights_why"),
    "state": ("status", "whois"),
    "auditing": ("rebuild", "verify"),
    "there": ("house_status",),
    "verbs": ("verb_ls", "verb_run"),
    "witness": ("witness_compare", "witness_keys", "witness_ls", "witness_serve", "witness_show"),
}
_HOME: Final = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """The function of a command, from the module it lives in."""
    if name not in _HOME:
        raise AttributeError(f"no command is called {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
