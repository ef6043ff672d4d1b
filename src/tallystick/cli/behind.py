"""What the command line needs from the node: one function for each command, and nothing else.

The interface lives with the one who needs it; `tallystick.node.commands` keeps it. Each function takes the effective settings,
does its work to the end (it may run an event loop inside), raises only the five errors, and returns a mapping of the shape that
`tallystick.cli.shapes` promises under the command's name. Questions to a person come in as callables, so that the node never
reads a terminal.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from tallystick.cli.shapes import Result
from tallystick.node.settings import Settings

Progress = Callable[[int, int | None], None]
"""Bytes done, bytes in all (None while unknown). Called often; it returns at once."""

Steps = Callable[[str, int, int], None]
"""What is being done (entries, rows), how many of it, of how many. Called often; it returns at once."""

Passphrase = Callable[[str], bytes]
"""Asks for the passphrase of the human key that is described; from a terminal or a file descriptor."""

ShowWords = Callable[[Sequence[str], str], None]
"""Shows the words and the digits of a ceremony, once, while the other end shows the same."""

Confirm = Callable[[Result], bool]
"""Shows a proposal with its words and asks whether the other end shows the same."""

Hear = Callable[[int, bytes], None]
"""What a program says: 1 for its output, 2 for its errors. Called as it comes."""

Say = Callable[[Result], None]
"""Called once when the thing has come up (serve: bound and ready; quickstart: one step is over)."""


class Commands(Protocol):
    """The functions behind the commands, in the order of `tally --help`."""

    def init(self, settings: Settings, *, owner: str | None) -> Result:
        """Make a house in `settings.home`. `recovery` in the result is shown once and kept nowhere."""

    def serve(self, settings: Settings, *, ready: Say) -> None:
        """Run until SIGTERM or SIGINT, then stop gracefully."""

    def invite(
        self,
        settings: Settings,
        *,
        pair_type: str,
        label: str,
        approve: bool,
        for_key: str | None,
        ttl_s: int | None,
        passphrase: Passphrase,
    ) -> Result:
        """A one-use invite. `approve` with `for_key` pre-approves that key. `ttl_s` None: the default."""

    def inbox(self, settings: Settings) -> Result:
        """What waits for a human: pairings, held signals, what is suspended."""

    def inbox_show(self, settings: Settings, *, proposal: str) -> Result:
        """One held signal, and what exactly would be done."""

    def approve(
        self,
        settings: Settings,
        *,
        proposals: Sequence[str],
        confirm: Confirm,
        sure: Callable[[Sequence[Result]], bool],
        times: int | None,
        until_ns: int | None,
        only_body: bool,
        only_origins: bool,
        only_target: bool,
        reason: str,
        passphrase: Passphrase,
        scripted: bool,
    ) -> Result:
        """Sign a pairing after `confirm` said yes, or held signals after `sure` did: one signature over all of them.

        With `times`, `until_ns` or one of `only_...` more like these may go. `scripted`: the passphrase comes from a file descriptor.
        """

    def deny(self, settings: Settings, *, proposal: str, reason: str, passphrase: Passphrase) -> Result:
        """Turn a pairing or a held signal away."""

    def edit(
        self,
        settings: Settings,
        *,
        proposal: str,
        body: Path | None,
        target: str | None,
        sure: Callable[[Sequence[Result]], bool],
        passphrase: Passphrase,
    ) -> Result:
        """Ask for something else in the place of a held signal."""

    def pair(self, settings: Settings, *, invite: str, label: str, show_words: ShowWords, passphrase: Passphrase, scripted: bool) -> Result:
        """Redeem an invite; returns when the pair stands or waits for its approval (`state`)."""

    def status(self, settings: Settings) -> Result:
        """This machine and its pairs; works with and without a running house."""

    def house_status(self, settings: Settings, *, house: str) -> Result:
        """A house this machine is paired with, as it sees itself; over an ADMIN pair with every pair it has."""

    def ping(self, settings: Settings, *, house: str, count: int) -> Result:
        """Knock, connect and exchange `count` small messages."""

    def whois(self, settings: Settings, *, who: str, house: str) -> Result:
        """The pair or key behind a name, KeyId, short number (#12) or address; with `house` a pair of that house."""

    def downgrade(self, settings: Settings, *, name: str, pair_type: str, passphrase: Passphrase, scripted: bool) -> Result:
        """Narrow the type of a pair."""

    def sever(self, settings: Settings, *, name: str, reason: str, passphrase: Passphrase) -> Result:
        """End a pair at this end."""

    def put(self, settings: Settings, *, source: Path | None, house: str, path: str, progress: Progress) -> Result:
        """Store a file, or standard input where `source` is None. An empty `house` means the only one."""

    def get(
        self,
        settings: Settings,
        *,
        house: str,
        path: str,
        target: Path | None,
        span: tuple[int, int | None] | None,
        progress: Progress,
        version: int | None,
    ) -> Result:
        """Fetch a file, or some of its bytes, into `target`, or to standard output where that is None. `version`: an older content."""

    def ls(self, settings: Settings, *, house: str, path: str) -> Result:
        """A folder, complete. For an INTERFACE pair `files` is empty and `summary` holds the counts."""

    def versions(self, settings: Settings, *, house: str, path: str) -> Result:
        """The contents that a file once had, newest first. For an INTERFACE pair `versions` is empty and `summary` holds the counts."""

    def uploads(self, settings: Settings, *, house: str) -> Result:
        """What this machine has begun to store and neither finished nor given up."""

    def give_up(self, settings: Settings, *, house: str, upload: str) -> Result:
        """Give an unfinished upload up."""

    def rm(self, settings: Settings, *, house: str, path: str) -> Result:
        """Remove a file."""

    def mv(self, settings: Settings, *, house: str, path: str, target: str) -> Result:
        """Rename a file within a house."""

    def verb_ls(self, settings: Settings, *, house: str) -> Result:
        """The named programs of a house that this machine may ask for."""

    def verb_run(self, settings: Settings, *, name: str, house: str, given: bytes | None, hear: Hear, passphrase: Passphrase) -> Result:
        """Have a program run, to its end; `hear` is told what it says. One of class admin is signed by the human key."""

    def log(self, settings: Settings, *, house: str, query: Mapping[str, str | int], follow: bool) -> Iterator[Result]:
        """Entries, oldest first: of this machine's own ledger, or of `house` where one is named.

        `query`: kind, pair, key, action, verdict, target, since_ns, until_ns, limit; what is not asked for is left out.
        """

    def explain(self, settings: Settings, *, signal: str, house: str | None, quick: bool, all_now: bool, proofs: Path | None) -> Result:
        """The story of a signal: of this machine's own ledger, or of `house`. `proofs`: where its evidence is written."""

    def emit(
        self,
        settings: Settings,
        *,
        key: str,
        signal_class: str,
        action: str,
        verb: str,
        target: str | None,
        body: str | None,
        place: str | None,
        prev: tuple[str, ...],
        deliver_to: tuple[str, ...],
        house: str,
    ) -> Result:
        """Sign a signal with a source key of this machine; hand it to the gate of this house, or of the one it is paired with."""

    def erase(
        self,
        settings: Settings,
        *,
        spans: Sequence[tuple[int, int]],
        pair: str | None,
        key: str | None,
        before_ns: int | None,
        house: str | None,
        reason: str,
        sure: Callable[[Result], bool],
        passphrase: Passphrase,
    ) -> Result:
        """Erase the openings of the entries that all of these choose, once `sure` was shown how many they are and said yes.

        Of this machine's own ledger; or of `house`, signed: then entries are named and nothing else chooses.
        """

    def verify(
        self,
        settings: Settings,
        *,
        target: Path | None,
        keys: Sequence[str],
        witnesses: Sequence[str],
        checkpoints: Sequence[Path],
        policy: Path | None,
        full: bool,
        state: Path | None,
        progress: Steps,
    ) -> Result:
        """Verify a ledger or an evidence file; `target` None: this machine's own. Nothing in it is changed."""

    def rebuild(self, settings: Settings, *, from_tiles: bool, progress: Steps) -> Result:
        """Make the database anew, from its entries or from what was published."""

    def log_prove(self, settings: Settings, *, index: int, target: Path | None) -> Result:
        """Write the proof that an entry is in the log."""

    def log_check(self, settings: Settings, *, source: Path, keys: Sequence[str], leaf: str | None) -> Result:
        """Check such a proof; without `keys` against this machine's own log."""

    def log_export(self, settings: Settings, *, target: Path, start: int, stop: int | None, query: Mapping[str, object]) -> Result:
        """Write evidence of the entries from `start` to `stop` that agree with the filters."""

    def key_new(self, settings: Settings, *, label: str, passphrase: Passphrase, scripted: bool, source: bool) -> Result:
        """A new human key, locked by a passphrase; or with `source` one for what runs on this machine."""

    def key_ls(self, settings: Settings) -> Result:
        """The human keys and the source keys in this machine's vault."""

    def key_ls_house(self, settings: Settings, *, house: str) -> Result:
        """Every key that a house knows."""

    def key_show(self, settings: Settings, *, key: str, house: str) -> Result:
        """All that a house knows of a key."""

    def key_revoke(self, settings: Settings, *, key: str, since: int | None, house: str, passphrase: Passphrase) -> Result:
        """A key is over: retired, or with `since` compromised from that entry on."""

    def key_resume(self, settings: Settings, *, key: str, house: str, passphrase: Passphrase) -> Result:
        """A suspended key stands again."""

    def context_begin(self, settings: Settings, *, key: str, house: str, passphrase: Passphrase) -> Result:
        """The context of a model, tool or skill begins."""

    def context_end(self, settings: Settings, *, key: str, house: str, passphrase: Passphrase) -> Result:
        """The context of a model, tool or skill ends."""

    def grant(
        self,
        settings: Settings,
        *,
        key: str,
        classes: Sequence[str],
        actions: Sequence[str],
        targets: Sequence[str],
        schedule: str,
        place: str,
        expires_ns: int | None,
        label: str,
        house: str,
        passphrase: Passphrase,
    ) -> Result:
        """A source key comes in, or gets one more row of the matrix."""

    def grant_withdraw(self, settings: Settings, *, grant: str, house: str, passphrase: Passphrase) -> Result:
        """A row of the matrix, or an advance approval, is gone."""

    def fact_add(
        self,
        settings: Settings,
        *,
        predicate: str,
        value: str,
        key: str,
        personal: bool,
        since_ns: int | None,
        until_ns: int | None,
        house: str,
        passphrase: Passphrase,
    ) -> Result:
        """A fact holds."""

    def fact_ls(self, settings: Settings, *, key: str, predicate: str, every: bool, house: str) -> Result:
        """Facts, newest first."""

    def fact_withdraw(self, settings: Settings, *, fact: str, house: str, passphrase: Passphrase) -> Result:
        """A fact no longer holds."""

    def gate_eval_schonlau(self, settings: Settings, *, folder: str, rehearsal: bool) -> Result:
        """The behaviour profile on the masquerade data of Schonlau et al. in `folder`; `rehearsal`: on the training part alone."""

    def rights_ls(self, settings: Settings, *, house: str) -> Result:
        """The matrix, key x action."""

    def rights_why(self, settings: Settings, *, query: Mapping[str, str], house: str) -> Result:
        """Why a key may do something, or not."""

    def plan(self, settings: Settings, *, house: str) -> Result:
        """Which layers judge which class, and why."""

    def plan_set(self, settings: Settings, *, changes: Sequence[str], house: str, passphrase: Passphrase) -> Result:
        """Other layers for some classes, signed."""

    def config_plan(self, settings: Settings) -> Result:
        """The plan of the house of this home, if it has one."""

    def key_replace_admins(self, settings: Settings, *, recovery: str, admins: list[str]) -> Result:
        """The recovery key's one statement, given at the house itself. `admins`: public keys in hexadecimal."""

    def witness_serve(self, settings: Settings, *, ready: Say) -> None:
        """Be a witness until SIGTERM or SIGINT; `ready` is told once submissions are taken."""

    def witness_keys(self, settings: Settings) -> Result:
        """The verifier keys of this machine."""

    def witness_ls(self, settings: Settings) -> Result:
        """The witnesses of this house's log, and the logs that this machine witnesses."""

    def witness_show(self, settings: Settings, *, house: str) -> Result:
        """The newest checkpoint of a house that this machine has seen, cosigned."""

    def witness_compare(self, settings: Settings, *, house: str, file: Path) -> Result:
        """Whether somebody else's checkpoint and ours are of one history."""

    def key_rotate(self, settings: Settings, *, use: str) -> Result:
        """New keys of one use for a house that is stopped."""

    def backup(self, settings: Settings, *, target: Path, passphrase: Passphrase, progress: Progress) -> Result:
        """Everything of this machine in one sealed file."""

    def restore(self, settings: Settings, *, source: Path, owner: str | None, passphrase: Passphrase, progress: Progress) -> Result:
        """A backup into an empty home."""

    def restore_owner(self, settings: Settings, *, owner: str) -> Result:
        """At a closed house: who may open it."""

    def restore_show(self, settings: Settings, *, house: str) -> Result:
        """Why a house is closed, and what its pairs have seen."""

    def restore_sign(self, settings: Settings, *, house: str, passphrase: Passphrase) -> Result:
        """The owner opens it, and signs the own pair."""

    def restore_pair(self, settings: Settings, *, house: str, names: Sequence[str], keys: Sequence[str], passphrase: Passphrase) -> Result:
        """The owner signs pairs and keys that wait."""

    def migrate_ticket(self, settings: Settings, *, target: Path) -> Result:
        """The new machine's keys and ticket."""

    def migrate_to(self, settings: Settings, *, ticket: Path, house: str, passphrase: Passphrase) -> Result:
        """The owner signs that the house moves."""

    def migrate_send(self, settings: Settings, *, target: Path, progress: Progress) -> Result:
        """The old machine's copy, sealed for the new one."""

    def migrate_receive(self, settings: Settings, *, source: Path, progress: Progress) -> Result:
        """The new machine takes the house."""

    def quickstart(self, settings: Settings, *, once: bool, step: Say) -> Result:
        """A house and four machines in a folder of their own; `step` is told each step as it ends."""


def load() -> Commands:
    """The functions that do the work. Loaded on use: they bring asyncio, cryptography and the whole house."""
    from tallystick.node import commands

    return cast("Commands", commands)
