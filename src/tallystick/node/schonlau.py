"""The behaviour profile measured on the masquerade data of Schonlau et al. (docs/evaluation.md).

Each user is a key, each command a signal whose one word is its verb. The first 5,000 commands train; then 100 blocks of 100 follow, some of
them typed by somebody else. A block is flagged where the profile's score at its end is low. With review, a human looks at each flagged
block: what is the user's own is approved and learned, what is not is denied. All by the profile that the gate uses.

`rehearse` is how its constants were chosen: on the first 5,000 commands alone, users typing in the place of each other.
"""

import gzip
import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick.errors import Malformed, Unavailable
from tallystick.evidence.behaviour import REVIEWED_THRESHOLD, THRESHOLD, WINDOW, Peers, Profile, parse, word

TRAINING: Final = 5_000
BLOCKS: Final = 100
COMMANDS: Final = TRAINING + BLOCKS * WINDOW
MAX_USERS: Final = 70
MAX_TEXT: Final = 4_194_304
MAX_COMMAND: Final = 256
FALSE_ALARM_COST: Final = 6  # one false alarm for six misses: Maxion and Townsend 2002
BEGIN: Final = 0.02
GO_ON: Final = 0.8
HORIZONS: Final = (20, 35)  # blocks a rehearsal trains on, of 50

Block = Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """The data. `blocks`: of each user, 50 that train and 100 more; `masked`: which of the 100 somebody else typed."""

    names: tuple[str, ...]
    blocks: tuple[tuple[Block, ...], ...]
    masked: tuple[tuple[bool, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One block after its judgement. `odds`: log odds of somebody else, millionths."""

    user: str
    masked: bool
    flagged: bool
    odds: int


def read_users(folder: Path) -> Users:
    """User1.gz, User2.gz, ... and labels.txt. Raises: Unavailable, Malformed."""
    names: list[str] = []
    blocks: list[tuple[Block, ...]] = []
    while len(names) < MAX_USERS and (path := folder / f"User{len(names) + 1}.gz").exists():
        commands = _text(path).split("\n")
        if len(commands) != COMMANDS + 1 or commands.pop() or not all(0 < len(each) <= MAX_COMMAND for each in commands):
            raise Malformed(f"{path.name} does not hold {COMMANDS} commands, one a line")
        signals = [(word("verb", command),) for command in commands]
        names.append(path.stem)
        blocks.append(tuple(signals[at : at + WINDOW] for at in range(0, COMMANDS, WINDOW)))
    if len(names) < 2:
        raise Unavailable(f"no users in {folder}", "it holds User1.gz, User2.gz, ... and labels.txt: docs/evaluation.md")
    rows = [line.split() for line in _text(folder / "labels.txt").splitlines()]
    if len(rows) != BLOCKS or any(len(row) != len(names) or not set(row) <= {"0", "1"} for row in rows):
        raise Malformed(f"labels.txt does not hold {BLOCKS} rows of {len(names)} digits 0 and 1")
    masked = tuple(tuple(row[user] == "1" for row in rows) for user in range(len(names)))
    return Users(names=tuple(names), blocks=tuple(blocks), masked=masked)


def evaluate(users: Users, *, review: bool = False) -> list[Judged]:
    """Train every user, then judge the blocks of each. What one user's profile learns then, no other's peers see."""
    found: list[Judged] = []
    threshold = REVIEWED_THRESHOLD if review else THRESHOLD
    training = TRAINING // WINDOW
    profiles, peers = _trained([blocks[:training] for blocks in users.blocks])
    for user, name in enumerate(users.names):
        rest = list(zip(users.blocks[user][training:], users.masked[user], strict=True))
        found += _judge(name, _among(profiles, peers, user), rest, review=review, threshold=threshold)
    return found


def rehearse(users: Users, *, rounds: int = 4, review: bool = False, threshold: int = THRESHOLD) -> list[Judged]:
    """The same on the training part: it trains on the first blocks, and in the rest another user types now and then.

    That other user is not among the peers. Nothing depends on a label or a command after the first 5,000.
    """
    found: list[Judged] = []
    total = TRAINING // WINDOW
    for first in HORIZONS:
        profiles, peers = _trained([blocks[:first] for blocks in users.blocks])
        for turn in range(rounds):
            for user, name in enumerate(users.names):
                dice = random.Random(turn * 1_000 + user)
                other = dice.choice([each for each in range(len(users.names)) if each != user])
                rest: list[tuple[Block, bool]] = []
                away = False
                for n in range(first, total):
                    away = dice.random() < (GO_ON if away else BEGIN)
                    rest.append((users.blocks[other][dice.randrange(total)] if away else users.blocks[user][n], away))
                found += _judge(name, _among(profiles, peers, user, other), rest, review=review, threshold=threshold)
    return found


def figures(judged: Sequence[Judged]) -> dict[str, float]:
    """Hit, false alarm and miss in percent, and cost = 6 * false alarm + miss."""
    theirs = [each for each in judged if each.masked]
    own = [each for each in judged if not each.masked]
    hit = 100 * sum(each.flagged for each in theirs) / max(1, len(theirs))
    alarm = 100 * sum(each.flagged for each in own) / max(1, len(own))
    return {"hit": hit, "false_alarm": alarm, "miss": 100 - hit, "cost": FALSE_ALARM_COST * alarm + 100 - hit}


def _judge(name: str, profile: Profile, blocks: Sequence[tuple[Block, bool]], *, review: bool, threshold: int) -> list[Judged]:
    found: list[Judged] = []
    for block, masked in blocks:
        score = [profile.observe(signal, threshold=threshold) for signal in block][-1]
        flagged = score.odds > threshold
        if flagged and review:
            if masked:
                profile.deny()
            else:
                profile.approve(block)
        found.append(Judged(user=name, masked=masked, flagged=flagged, odds=score.odds))
    return found


def _trained(users: Sequence[Sequence[Block]]) -> tuple[list[Profile], Peers]:
    """All users side by side, block by block, as keys of one house."""
    peers = Peers()
    profiles = [Profile(peers) for _ in users]
    for turn in range(max(map(len, users))):
        for profile, blocks in zip(profiles, users, strict=True):
            profile.train(blocks[turn])
    return profiles, peers


def _among(profiles: Sequence[Profile], peers: Peers, user: int, absent: int | None = None) -> Profile:
    """A user's profile among a copy of its peers; `absent` was never there."""
    left = peers.copy()
    for each in {user} if absent is None else {user, absent}:
        for known, count in profiles[each].counts.items():
            left.move(known, -count)
    return parse(profiles[user].encode(), left)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                raw = file.read(MAX_TEXT + 1)
        text = raw.decode("ascii")
    except (OSError, EOFError, zlib.error) as error:
        raise Unavailable(f"cannot read {path}", "check the file and its owner") from error
    except UnicodeDecodeError:
        raise Malformed(f"{path.name} is not text in ASCII") from None
    if len(text) > MAX_TEXT:
        raise Malformed(f"{path.name} is longer than {MAX_TEXT} bytes")
    return text
