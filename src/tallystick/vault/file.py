"""The vault in files: what every machine has (docs/spec/vault.md).

    vault/machine.key  witness.key  log.key      the machine's own keys; log.key at a house only
    vault/secrets/NAME                           shared secrets of pairs and invites
    vault/secrets/source+KEYID                   keys of sources that run on this machine
    vault/humans/KEYID                           human keys, each locked by passphrase or presence

Key class `file`: whoever becomes this user, or root, or takes the disk, has the machine's keys. A human key also needs
its passphrase. One process at a time owns a vault's machine (house.lock); readers and writers of several processes do
not disturb each other, each change is all or nothing.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from tallystick.errors import Malformed, Misuse, Refused, Unavailable
from tallystick.keys.identity import KeyId, KeyKind
from tallystick.keys.signer import Guarded, HumanKey, KeyClass, LogKeys, MachineKeys, Signer
from tallystick.primitives import Ed25519KeyPair, MLDSA44KeyPair
from tallystick.vault.container import damaged, pack, unpack
from tallystick.vault.human import HumanFile
from tallystick.vault.private import Disk, PrivateDirectory, destroy_tree, exists, foreign_errors, locked
from tallystick.vault.sealing import Entropy, Kdf
from tallystick.vault.signers import FileAgreement, FileSigner, OneSignature, PresenceSigner
from tallystick.vault.source import PREFIX, SourceKey

MAX_SECRET_BYTES: Final = 65_000
_SEED_BYTES: Final = 32
# One or two parts: `pair/6f3a...`, `invite/91c2...`. In the file's name `+`, which no part holds, stands for the slash.
_SECRET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}(?:/[a-z0-9][a-z0-9._-]{0,79})?\Z", re.ASCII)

# The machine's files: name -> bytes of entropy each of its seeds takes.
_MACHINE, _WITNESS, _LOG = "machine.key", "witness.key", "log.key"
_SEEDS: Final = {_MACHINE: 2, _WITNESS: 1, _LOG: 2}


NEXT: Final = "next"  # secrets: keys that wait to be promoted
OLDER: Final = "static"  # secrets: Noise keys of before


class Staged(Guarded):
    """New keys that are not in use yet: they sign that they are taken."""

    __slots__ = ("seeds", "signers", "static", "use")

    def __init__(self, use: str, seeds: list[bytes]) -> None:
        self.use = use
        self.seeds = seeds
        self.static = FileAgreement(seeds[0]) if use == "machine" else None
        self.signers: tuple[FileSigner, ...]
        if use == "log":
            self.signers = (_ed25519(seeds[0]), FileSigner(KeyKind.ML_DSA_44, MLDSA44KeyPair.from_private(seeds[1])))
        else:
            self.signers = (_ed25519(seeds[-1]),)


class FileVault(Guarded):
    """A vault in private files. Keeps the promises of `keys.Vault`."""

    __slots__ = ("_disk", "_entropy", "_humans", "_log", "_root", "_secrets", "machine", "path", "witness")

    key_class: Final = KeyClass.FILE

    def __init__(self, path: Path, *, entropy: Entropy, disk: Disk) -> None:
        """Use `create` or `open`."""
        self.path = path
        self._entropy = entropy
        self._disk = disk
        self._root, self._secrets, self._humans = _directories(path, disk)
        for directory in (self._root, self._secrets, self._humans):
            directory.check()
            directory.sweep()
        static, signing = self._seeds(_MACHINE)
        (witness,) = self._seeds(_WITNESS)
        self.machine: Final = MachineKeys(static=FileAgreement(static), signing=_ed25519(signing))
        self.witness: Final = _ed25519(witness)
        self._log = self._load_log()

    @classmethod
    def create(cls, path: Path | str, *, house: bool = True, entropy: Entropy = os.urandom, disk: Disk | None = None) -> Self:
        """Make a vault with fresh keys; it appears whole or not at all. `house`: with the keys of a log.

        Raises: Refused when something stands at `path`; Unavailable when its parent is not there or the disk fails.
        """
        path, disk = Path(os.path.abspath(path)), disk or Disk()
        exists(path)  # a path that cannot be is Misuse before anything is locked
        if not path.name:
            raise Misuse(f"{path} cannot be a vault", "Name a directory that does not exist yet.")
        new = path.with_name(f".{path.name}.new")
        with locked(path.parent):
            if exists(path):
                raise Refused(f"a vault already stands at {path}", "Use it, or choose another home; nothing is made over it.")
            if exists(new):
                destroy_tree(new, disk)  # of a creation that died: its keys were never used
            root, secrets, humans = _directories(new, disk)
            for directory in (root, secrets, humans):
                directory.make()
            for name in (_MACHINE, _WITNESS, _LOG) if house else (_MACHINE, _WITNESS):
                root.write(name, pack("machine", name, [entropy(_SEED_BYTES) for _ in range(_SEEDS[name])]))
            for directory in (humans, secrets, root):
                directory.sync()
            with foreign_errors(path):
                disk.rename(new, path)
            PrivateDirectory(path.parent, disk).sync()
        return cls(path, entropy=entropy, disk=disk)

    @classmethod
    def open(cls, path: Path | str, *, entropy: Entropy = os.urandom, disk: Disk | None = None) -> Self:
        """Open a vault, load the machine's keys, and destroy what a crash left over.

        Raises: Unavailable when there is none or a file is damaged; Refused when others can touch it.
        """
        path = Path(path)
        if not exists(path):
            raise Unavailable(f"there is no vault at {path}", "tally init makes one.")
        return cls(path, entropy=entropy, disk=disk or Disk())

    @property
    def log(self) -> LogKeys:
        """The log's keys. Raises: Misuse when this machine is not a house."""
        if self._log is None:
            raise Misuse("this machine keeps no log keys: it is not a house", "tally init makes a house.")
        return self._log

    def put_secret(self, name: str, secret: bytes) -> None:
        """Keep 1 to 65,000 bytes under a name; durable on return. Raises: Misuse, Refused, Unavailable."""
        file_name = _file_name(name)
        if not 1 <= len(secret) <= MAX_SECRET_BYTES:
            raise Misuse(f"a secret has 1 to {MAX_SECRET_BYTES} bytes")
        self._secrets.write(file_name, pack("secret", name, secret))

    def get_secret(self, name: str) -> bytes | None:
        """The secret, or None when there is none. Raises: Misuse, Refused, Unavailable."""
        data = self._secrets.read(_file_name(name))
        if data is None:
            return None
        secret = unpack(data, "secret", name)
        if not isinstance(secret, bytes):
            raise damaged(name)
        return secret

    def delete_secret(self, name: str) -> bool:
        """Overwrite and unlink; False when there was none. Raises: Misuse, Refused, Unavailable."""
        return self._secrets.delete(_file_name(name))

    def list(self, prefix: str = "") -> tuple[str, ...]:
        """The names of the secrets, sorted. Raises: Refused, Unavailable."""
        names = (name.replace("+", "/") for name in self._secrets.names())
        return tuple(sorted(name for name in names if name.startswith(prefix) and _SECRET_NAME.match(name)))

    def stage(self, use: str) -> "Staged":
        """Make new keys of this use (`log`, `machine`, `witness`) and keep them beside the old ones, durably; for `promote`.

        Raises: Misuse, Refused, Unavailable.
        """
        seeds = [self._entropy(_SEED_BYTES) for _ in range(_SEEDS[_file_of(use)])]
        self.put_secret(f"{NEXT}/{use}", b"".join(seeds))
        return Staged(use, seeds)

    def staged(self, use: str) -> "Staged | None":
        """The keys that wait to be promoted. Raises: Refused, Unavailable."""
        _file_of(use)
        raw = self.get_secret(f"{NEXT}/{use}")
        return None if raw is None else Staged(use, [raw[at : at + _SEED_BYTES] for at in range(0, len(raw), _SEED_BYTES)])

    def promote(self, use: str) -> None:
        """The keys that were staged take the place of the old ones. An older static key stays as a secret, for pairs that do not know yet.

        This object keeps the old keys: open the vault again. Raises: Refused, Unavailable; AssertionError when nothing was staged.
        """
        staged, name = self.staged(use), _file_of(use)
        if staged is None:
            raise AssertionError("no keys were staged")
        if use == "machine":
            static, _ = self._seeds(name)
            public = self.machine.static.public
            self.put_secret(f"{OLDER}/{public.hex()}", static)
        self._root.write(name, pack("machine", name, list(staged.seeds)))
        self.delete_secret(f"{NEXT}/{use}")

    def older_statics(self) -> tuple[FileAgreement, ...]:
        """The Noise keys that this machine had before. Raises: Refused, Unavailable."""
        found = (self.get_secret(name) for name in self.list(f"{OLDER}/"))
        return tuple(FileAgreement(private) for private in found if private is not None and len(private) == _SEED_BYTES)

    def new_source(self, label: str, *, now_ns: int) -> SourceKey:
        """Make a key for a source that runs on this machine. Raises: Misuse, Refused, Unavailable."""
        if any(key.label == label for key in self.sources()):
            raise Refused(f"a source key called {label[:60]!r} is in this vault already", "give it another --label")
        key = SourceKey.new(label, entropy=self._entropy, now_ns=now_ns)
        self.put_secret(key.name, key.write())
        return key

    def sources(self) -> tuple[SourceKey, ...]:
        """The source keys, by label, then KeyId. Raises: Refused, Unavailable."""
        kept = ((name, self.get_secret(name)) for name in self.list(PREFIX))
        keys = [SourceKey.read(name, secret) for name, secret in kept if secret is not None]
        return tuple(sorted(keys, key=lambda key: (key.label, key.key_id)))

    def new_human(self, label: str, passphrase: str, *, scripted: bool = False, kdf: Kdf | None = None) -> HumanKey:
        """Make a human key sealed by a passphrase. Raises: Misuse, Refused, Unavailable."""
        kdf = kdf or Kdf.new(self._entropy)
        return self._keep(HumanFile.new(label, passphrase, scripted=scripted, kdf=kdf, entropy=self._entropy))

    def new_human_present(self, label: str) -> HumanKey:
        """Make a human key that asks for presence at each signature. Raises: Misuse, Refused, Unavailable."""
        return self._keep(HumanFile.new(label, None, scripted=False, kdf=None, entropy=self._entropy))

    def humans(self) -> tuple[HumanKey, ...]:
        """The human keys, by label, then KeyId. Raises: Refused, Unavailable."""
        keys = [self._human(name).key for name in self._humans.names()]
        return tuple(sorted(keys, key=lambda key: (key.label, key.key_id)))

    def human_signer(self, key_id: KeyId, passphrase: str) -> OneSignature:
        """Open a human key for one signature; it is wiped after it.

        Raises: Unproven for a wrong passphrase; Misuse when there is no such key or it has none; Refused, Unavailable.
        """
        return self._human(key_id.hex()).open(passphrase)

    def presence_signer(self, key_id: KeyId, confirm: Callable[[str], bool]) -> Signer:
        """A signer that asks `confirm` before each signature. Raises: Misuse, Refused, Unavailable."""
        name = key_id.hex()
        file = self._human(name)
        if not file.key.presence:
            raise Misuse("this human key has a passphrase", "Give the passphrase; presence does not open it.")
        return PresenceSigner(public=file.key.public, label=file.key.label, load=lambda: self._human(name).open_present(), confirm=confirm)

    def delete_human(self, key_id: KeyId) -> bool:
        """Destroy a human key. False when there was none. Raises: Refused, Unavailable."""
        return self._humans.delete(key_id.hex())

    def _keep(self, file: HumanFile) -> HumanKey:
        name = file.key.key_id.hex()
        self._humans.write(name, pack("human", name, file.body()))
        return file.key

    def _human(self, name: str) -> HumanFile:
        data = self._humans.read(name)
        if data is None:
            raise Misuse("no such human key in this vault", "tally key lists the keys it holds.")
        try:
            file = HumanFile.read(unpack(data, "human", name))
        except Malformed as error:
            raise damaged(name) from error
        if file.key.key_id.hex() != name:
            raise damaged(name)
        return file

    def _seeds(self, name: str) -> tuple[bytes, ...]:
        data = self._root.read(name)
        if data is None:
            raise Unavailable(f"vault file {name} is missing", "Restore the vault from a backup; keys are never made anew in place.")
        match unpack(data, "machine", name):
            case [bytes(first), *others] if len(first) == _SEED_BYTES and len(others) == _SEEDS[name] - 1:
                seeds = tuple(seed for seed in (first, *others) if isinstance(seed, bytes) and len(seed) == _SEED_BYTES)
                if len(seeds) == _SEEDS[name]:
                    return seeds
        raise damaged(name)

    def _load_log(self) -> LogKeys | None:
        if _LOG not in self._root.names():
            return None
        ed25519, ml_dsa = self._seeds(_LOG)
        return LogKeys(ed25519=_ed25519(ed25519), ml_dsa_44=FileSigner(KeyKind.ML_DSA_44, MLDSA44KeyPair.from_private(ml_dsa)))


def _directories(path: Path, disk: Disk) -> tuple[PrivateDirectory, PrivateDirectory, PrivateDirectory]:
    return PrivateDirectory(path, disk), PrivateDirectory(path / "secrets", disk), PrivateDirectory(path / "humans", disk)


def _file_of(use: str) -> str:
    name = f"{use}.key"
    if name not in _SEEDS:
        raise Misuse(f"no keys are called {use[:40]!r}", "log, machine or witness")
    return name


def _ed25519(seed: bytes) -> FileSigner:
    return FileSigner(KeyKind.ED25519, Ed25519KeyPair.from_private(seed))


def _file_name(name: str) -> str:
    if not _SECRET_NAME.match(name):
        raise Misuse(f"not a name of a secret: {name[:80]!r}", "One or two parts of lower-case letters, digits, dot, dash and underscore.")
    return name.replace("/", "+")
