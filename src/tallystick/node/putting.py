"""A put, over as many sessions as it takes: the bytes into a staged upload, then the closing signal that gives them their place."""

from typing import Final

from tallystick.errors import Malformed, Refused, Unavailable
from tallystick.node import answers
from tallystick.node.client import HouseSession
from tallystick.node.targets import plain, target_of
from tallystick.node.upload import Progress, Reader

SMALL_BYTES: Final = 65_536  # goes in one request: sending it again costs less than asking where it stands


class Put:
    """One put. `send` until it returns, then `commit` until it returns; both may be called again in a new session."""

    def __init__(self, path: str, reader: Reader, progress: Progress | None) -> None:
        self._path = path
        self._target = target_of("/v1/files", path)
        self._reader = reader
        self._progress = progress
        self._upload = ""
        self._lost = False

    async def send(self, session: HouseSession) -> None:
        """Bring the bytes that are missing."""
        reader = self._reader
        if not self._upload:
            small = reader.size is not None and reader.size <= SMALL_BYTES
            body = b"".join([piece async for piece in reader.chunks(0, self._progress)]) if small else b""
            begun = await session.json_of(
                await session.request("PUT", self._target, verb="archive.put", body=body, upload=True), answers.Staged
            )
            self._upload, offset = begun["upload"], begun["offset"]
        else:
            offset = (await session.get_json(self._place, verb="archive.put", kind=answers.Staged))["offset"]
        if reader.size is None or offset < reader.size:
            body_left = reader.chunks(offset, self._progress)
            answer = await session.request("PATCH", f"{self._place}?offset={offset}", verb="archive.put", body=body_left, upload=True)
            offset = (await session.json_of(answer, answers.Staged))["offset"]
        if offset != reader.read:
            raise Malformed(f"{session.pair.label} counts other bytes than were sent", "put the file again")

    @property
    def _place(self) -> str:
        return f"/v1/uploads/{self._upload}"

    async def commit(self, session: HouseSession) -> answers.Stored:
        """The closing signal. It may be given again when its answer was lost: an upload takes its place once and is gone."""
        reader = self._reader
        closing = {"upload": self._upload, "path": plain(self._path), "size": reader.read, "sha256": reader.sha256}
        try:
            return await session.post_json("/v1/commit", closing, verb="archive.commit", kind=answers.Stored)
        except Unavailable:
            self._lost = True
            raise
        except Refused:
            if not self._lost:
                raise
            found = await session.get_json(target_of("/v1/stat", self._path), verb="archive.stat", kind=answers.Stat)
            if found["sha256"] != reader.sha256 or found["bytes"] is None:
                raise
            version = found["version"] or 0
            return answers.Stored(path=found["path"], size=found["bytes"], sha256=found["sha256"], version=version, entry=version)
