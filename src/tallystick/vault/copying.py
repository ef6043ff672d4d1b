"""The files of a vault as they lie there, for a backup; and a vault made of such files (docs/spec/restore.md, section 8)."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tallystick.errors import Malformed, Refused
from tallystick.vault.private import Disk, PrivateDirectory, destroy_tree, exists, foreign_errors, locked

FOLDERS: Final = ("", "secrets", "humans")
INVITES: Final = "invite+"  # secrets of open invites: no backup makes one open again
OLDER: Final = "static+"  # Noise keys of before
NEXT: Final = "next+"  # keys of a rotation that was not finished
_LONGEST: Final = 200


def vault_files(path: Path, *, machine: bool = True, humans: bool = True) -> tuple[tuple[str, bytes], ...]:
    """Name (`machine.key`, `secrets/pair+...`) and content of every file but the secrets of invites.

    Args: machine: with the machine's own keys.  humans: with the human keys.
    Raises: Refused when others can touch them, Unavailable.
    """
    found: list[tuple[str, bytes]] = []
    for folder in FOLDERS:
        if (folder == "" and not machine) or (folder == "humans" and not humans):
            continue
        directory = PrivateDirectory(path / folder if folder else path, Disk())
        directory.check()
        for name in directory.names():
            left = (INVITES, NEXT) if machine else (INVITES, NEXT, OLDER)
            if (not folder and not name.endswith(".key")) or (folder == "secrets" and name.startswith(left)):
                continue
            data = directory.read(name)
            if data is not None:
                found.append((f"{folder}/{name}" if folder else name, data))
    return tuple(found)


def make_vault(path: Path, files: Sequence[tuple[str, bytes]]) -> None:
    """A vault of these files; it appears whole or not at all.

    Raises: Refused: something stands there.  Malformed: a name that no vault has.  Unavailable.
    """
    disk, new = Disk(), path.with_name(f".{path.name}.new")
    with locked(path.parent):
        if exists(path):
            raise Refused(f"a vault already stands at {path}", "nothing is made over it")
        if exists(new):
            destroy_tree(new, disk)
        directories = {folder: PrivateDirectory(new / folder if folder else new, disk) for folder in FOLDERS}
        for directory in directories.values():
            directory.make()
        for name, data in files:
            folder, _, file = name.rpartition("/")
            if folder not in directories or not file or file.startswith(".") or os.sep in file or len(file) > _LONGEST or "\0" in file:
                raise Malformed(f"not a file of a vault: {name[:80]!r}")
            directories[folder].write(file, data)
        for directory in reversed(directories.values()):
            directory.sync()
        with foreign_errors(path):
            disk.rename(new, path)
        PrivateDirectory(path.parent, disk).sync()
