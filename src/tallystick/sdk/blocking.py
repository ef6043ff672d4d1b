"""The same for programs without an event loop: one runs in a thread of its own, so that the session stays alive between two calls."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from tallystick.errors import Misuse
from tallystick.node import answers
from tallystick.node.remote import Got, HouseClient, Stored
from tallystick.node.storyanswers import Explained
from tallystick.node.upload import Progress, Source
from tallystick.sdk.connecting import connect

_T = TypeVar("_T")


class BlockingClient:
    """`HouseClient`, call by call; each returns when it is done. Any thread may call. Callbacks run in the thread of the loop."""

    def __init__(self, client: HouseClient, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        """Use `connect_blocking`."""
        self._client = client
        self._loop = loop
        self._thread = thread

    @property
    def name(self) -> str:
        """What this machine calls the house."""
        return self._client.name

    def ping(self) -> float:
        """As `HouseClient.ping`."""
        return self._run(self._client.ping())

    def status(self) -> answers.Status:
        """As `HouseClient.status`."""
        return self._run(self._client.status())

    def summary(self) -> answers.Summary:
        """As `HouseClient.summary`."""
        return self._run(self._client.summary())

    def checkpoint(self, old: int = 0) -> answers.SignedCheckpoint:
        """As `HouseClient.checkpoint`."""
        return self._run(self._client.checkpoint(old))

    def inbox(self) -> list[answers.Proposal]:
        """As `HouseClient.inbox`."""
        return self._run(self._client.inbox())

    def pairs(self) -> list[answers.Pair]:
        """As `HouseClient.pairs`."""
        return self._run(self._client.pairs())

    def explain(self, signal: str, *, quick: bool = False, all_now: bool = False) -> Explained:
        """As `HouseClient.explain`."""
        return self._run(self._client.explain(signal, quick=quick, all_now=all_now))

    def log(self, *, after: int | None = None, limit: int = 50, **filters: str | int) -> list[answers.Entry]:
        """As `HouseClient.log`."""
        return self._run(self._client.log(after=after, limit=limit, **filters))

    def follow(self, *, after: int | None = None, **filters: str | int) -> Generator[answers.Entry, None, None]:
        """As `HouseClient.follow`: waits for each entry. Other calls wait until it is closed, or its loop is left by an error."""
        entries, turn = self._client.follow(after=after, **filters), asyncio.Lock()

        async def step() -> answers.Entry | None:
            async with turn:
                return await anext(entries, None)

        async def over() -> None:
            async with turn:  # after Ctrl-C the last step may still be ending
                await entries.aclose()

        try:
            while (entry := self._run(step())) is not None:
                yield entry
        finally:
            with suppress(Misuse):  # a client that is closed follows nothing any more
                self._run(over())

    def ls(self, path: str = "/") -> list[answers.File]:
        """As `HouseClient.ls`."""
        return self._run(self._client.ls(path))

    def stat(self, path: str) -> answers.Stat:
        """As `HouseClient.stat`."""
        return self._run(self._client.stat(path))

    def versions(self, path: str) -> list[answers.Version]:
        """As `HouseClient.versions`."""
        return self._run(self._client.versions(path))

    def uploads(self) -> list[answers.Upload]:
        """As `HouseClient.uploads`."""
        return self._run(self._client.uploads())

    def give_up(self, upload: str) -> answers.Removed:
        """As `HouseClient.give_up`."""
        return self._run(self._client.give_up(upload))

    def rm(self, path: str) -> answers.Removed:
        """As `HouseClient.rm`."""
        return self._run(self._client.rm(path))

    def mv(self, path: str, target: str, *, overwrite: bool = False) -> answers.Moved:
        """As `HouseClient.mv`."""
        return self._run(self._client.mv(path, target, overwrite=overwrite))

    def put(self, path: str, source: Source, *, progress: Progress | None = None) -> Stored:
        """As `HouseClient.put`."""
        return self._run(self._client.put(path, source, progress=progress))

    def get(
        self,
        path: str,
        sink: Callable[[bytes], object],
        *,
        span: tuple[int, int | None] | None = None,
        version: int | None = None,
        progress: Progress | None = None,
    ) -> Got:
        """As `HouseClient.get`."""
        return self._run(self._client.get(path, sink, span=span, version=version, progress=progress))

    def read(self, path: str, limit: int = 67_108_864) -> bytes:
        """As `HouseClient.read`."""
        return self._run(self._client.read(path, limit))

    def fetch(self, path: str, target: Path, *, progress: Progress | None = None) -> Got:
        """As `HouseClient.fetch`."""
        return self._run(self._client.fetch(path, target, progress=progress))

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            work.close()
            raise Misuse(
                "this client is closed, or was called from one of its own callbacks", "call it inside its `with`, from your own thread"
            )
        return _wait(work, self._loop)


def _wait(work: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> _T:
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()  # Ctrl-C in our thread: nothing goes on in the other
        raise


@contextmanager
def connect_blocking(home: str | Path | None = None, house: str = "", *, timeout_s: float | None = None) -> Iterator[BlockingClient]:
    """As `tallystick.sdk.connect`, for programs without an event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tallystick", daemon=True)
    thread.start()
    try:
        found = connect(home, house, timeout_s=timeout_s)
        client = _wait(found.__aenter__(), loop)
        try:
            yield BlockingClient(client, loop, thread)
        except BaseException as error:
            if not _wait(found.__aexit__(type(error), error, error.__traceback__), loop):
                raise
        else:
            _wait(found.__aexit__(None, None, None), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
