"""Seeded bit flips in everything that a house keeps, each with the words by which a finding must name it."""

import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tallystick.ledger.audit import Finding


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One bit. In a file: its name below the home and the byte; in a row: table, key column, key and column."""

    file: str
    at: int = 0
    bit: int = 0
    table: str = ""
    column: str = ""
    key: tuple[tuple[str, object], ...] = ()

    def apply(self, home: Path) -> None:
        """Flip it; a second time undoes it (files)."""
        path = home / self.file
        if self.table:
            self._row(path)
            return
        path.chmod(0o600)
        with path.open("r+b") as file:
            file.seek(self.at)
            byte = file.read(1)[0]
            file.seek(self.at)
            file.write(bytes((byte ^ 1 << self.bit,)))

    @property
    def place(self) -> str:
        """Two flips at different places do not meet."""
        return self.table or self.file

    def try_apply(self, home: Path) -> bool:
        """Flip it; False when the database itself refuses such a row (a key twice)."""
        try:
            self.apply(home)
        except sqlite3.IntegrityError:
            return False
        return True

    def _row(self, path: Path) -> None:
        where = " AND ".join(f"{name} IS ?" for name, _ in self.key)
        keys = [value for _, value in self.key]
        db = sqlite3.connect(path)
        try:
            db.execute("PRAGMA ignore_check_constraints = ON")
            (old,) = db.execute(f"SELECT {self.column} FROM {self.table} WHERE {where}", keys).fetchone()
            changed = db.execute(f"UPDATE {self.table} SET {self.column} = ? WHERE {where}", [self.flipped(old), *keys]).rowcount
            db.commit()
            assert changed == 1
        finally:
            db.close()

    def flipped(self, value: object) -> object:
        """The value with one bit changed."""
        match value:
            case bytes(raw):
                at = self.at % len(raw)
                return raw[:at] + bytes((raw[at] ^ 1 << self.bit,)) + raw[at + 1 :]
            case int(number):
                return number ^ 1 << (self.at % 40)
            case str(text):
                at = self.at % len(text)
                return text[:at] + chr(ord(text[at]) ^ 1 << (self.bit % 5)) + text[at + 1 :]
        raise AssertionError(f"no flip for {value!r}")

    def named_by(self, finding: Finding) -> bool:
        """Whether a finding speaks of this flip: the file and the byte or entry, or the row."""
        if finding.file != self.file:
            # A body that does not decrypt may have been changed itself, or its key: the finding names both places.
            return self.file == "bodies/keys.bin" and f"{self.file}, byte {self.at // 64 * 64})" in finding.meaning
        if self.table:
            return finding.row.split(" ")[0] == self.table or (self.table == "bodies" and finding.row == "")
        return True


def in_files(dice: random.Random, home: Path, names: list[str], count: int) -> Iterator[Flip]:
    """Flips at random places of these files, each file as often as the others."""
    for n in range(count):
        name = names[n % len(names)]
        yield Flip(file=name, at=dice.randrange((home / name).stat().st_size), bit=dice.randrange(8))


def in_rows(dice: random.Random, home: Path, tables: list[str], count: int) -> Iterator[Flip]:
    """Flips in random cells of these tables that hold something."""
    db = sqlite3.connect(home / "house.sqlite")
    cells: dict[str, list[Flip]] = {}
    for table in tables:
        info = db.execute(f"PRAGMA table_info({table})").fetchall()
        columns = [row[1] for row in info]
        keys = [row[1] for row in sorted(info, key=lambda row: row[5]) if row[5]]
        found = cells.setdefault(table, [])
        for row in db.execute(f"SELECT * FROM {table}"):
            values = dict(zip(columns, row, strict=True))
            key = tuple((name, values[name]) for name in keys)
            found += [
                Flip(file="house.sqlite", table=table, column=name, key=key, at=dice.randrange(1 << 16), bit=dice.randrange(8))
                for name, value in values.items()
                if value is not None and value != "" and value != b""
            ]
    db.close()
    filled = [table for table in tables if cells[table]]
    for n in range(count):
        yield dice.choice(cells[filled[n % len(filled)]])
