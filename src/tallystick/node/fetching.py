"""A get, over as many sessions as it takes."""

import hashlib
from collections.abc import Callable
from typing import TypedDict

from tallystick.canonical import decimal
from tallystick.errors import Unavailable, Unproven
from tallystick.node.client import HouseSession
from tallystick.node.httpclient import Response
from tallystick.node.upload import Progress


class Got(TypedDict):
    """What a get brought. `sha256`: of a whole file; None of a part."""

    bytes: int
    sha256: str | None
    entry: int


class Fetch:
    """One get, over as many sessions as it takes."""

    def __init__(
        self, target: str, sink: Callable[[bytes], object], span: tuple[int, int | None] | None, progress: Progress | None
    ) -> None:
        self._target = target
        self._sink = sink
        self._first, self._last = span or (0, None)
        self._whole = span is None
        self._progress = progress
        self._hash = hashlib.sha256()
        self._entry = 0
        self._total: int | None = None
        self._replaced = False
        self.at = self._first
        self.known: str | None = None

    async def run(self, session: HouseSession) -> None:
        """Fetch what is missing."""
        headers = []
        if not self._whole or self.at > self._first:
            if self._total is not None and self.at == self._first + self._total:
                return
            headers.append(("range", f"bytes={self.at}-{'' if self._last is None else self._last}"))
        response = await session.request("GET", self._target, verb="archive.get", headers=headers)
        async with response:
            self._check(response)
            async for piece in response.aiter_bytes():
                self._hash.update(piece)
                self.at += len(piece)
                self._sink(piece)
                if self._progress is not None:
                    self._progress(self.at - self._first, self._total)

    def may_go_on(self) -> bool:
        """Whether what is missing can be told from another file's bytes: by the hash the house names."""
        return not self._replaced and (self.known is not None or self.at == self._first)

    def _check(self, response: Response) -> None:
        known = response.header("content-sha256")
        length = response.header("content-length")
        if self.at > self._first and known != self.known:
            self._replaced = True
            raise Unavailable("the file was replaced while it was fetched", "fetch it again")
        self.known = known
        self._entry = response.entry or 0
        if self._total is None and length is not None:
            self._total = decimal(length)

    def result(self) -> Got:
        """What came. Raises: Unproven."""
        found = self._hash.hexdigest()
        if self._whole and self.known is not None and found != self.known:
            raise Unproven(
                "the bytes that came are not those the house has recorded", "fetch it again; if it stays so, ask the house's owner"
            )
        return Got(bytes=self.at - self._first, sha256=found if self._whole else None, entry=self._entry)
