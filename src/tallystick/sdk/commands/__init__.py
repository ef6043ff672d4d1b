"""What stands behind the command line: one function for each command (the promise is cli/behind.py's `Commands`).

Each takes the effective settings, does its work to the end, raises only the five errors and returns a mapping of the shape that
docs/cli.md promises. Questions to a person come in as callables; nothing here reads a terminal.
"""

from tallystick.sdk.commands.files import get, ls, mv, put, rm
from tallystick.sdk.commands.house import init, invite, log, serve, status, whois
from tallystick.sdk.commands.keys import key_ls, key_new, key_replace_admins
from tallystick.sdk.commands.pairs import approve, deny, downgrade, inbox, pair, ping, sever
from tallystick.sdk.commands.quickstart import quickstart

__all__ = [
    "approve",
    "deny",
    "downgrade",
    "get",
    "inbox",
    "init",
    "invite",
    "key_ls",
    "key_new",
    "key_replace_admins",
    "log",
    "ls",
    "mv",
    "pair",
    "ping",
    "put",
    "quickstart",
    "rm",
    "serve",
    "sever",
    "status",
    "whois",
]
