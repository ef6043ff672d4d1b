"""At the house itself: other users, other threads, other people's terminals (docs/spec/door.md, section 5)."""

import asyncio
import io
import logging
import os
import stat
from pathlib import Path

from tallystick.node import logging as lines
from tallystick.node.local import LocalServer, call
from tallystick.node.settings import load


def test_the_socket_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """With umask 0 and with 077 the socket has mode 0600, a planted link is not followed, and no other thread feels a umask of ours."""

    async def scene(umask: int) -> None:
        victim, path = tmp_path / "victim", tmp_path / "house.sock"
        victim.write_text("kept")
        path.unlink(missing_ok=True)
        path.symlink_to(victim)
        old = os.umask(umask)
        try:
            seen: set[int] = set()

            def folders() -> None:
                for number in range(300):
                    folder = tmp_path / f"{umask}-{number}"
                    folder.mkdir()
                    seen.add(stat.S_IMODE(folder.stat().st_mode))

            making = asyncio.create_task(asyncio.to_thread(folders))
            await asyncio.sleep(0.001)

            async def status(_: object) -> str:
                return "here"

            server = LocalServer(path, {"status": status}, {})
            await server.start()
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600 and stat.S_ISSOCK(path.lstat().st_mode)
            assert victim.read_text() == "kept"
            assert await call(path, "status", {}) == "here"
            await making
            assert seen == {0o777 & ~umask}
            await server.stop()
        finally:
            os.umask(old)

    for umask in (0o000, 0o077):
        asyncio.run(scene(umask))


def test_no_escape_sequence_leaves_the_log(tmp_path: Path) -> None:
    """Foreign text in a message, in a field or in a traceback reaches no terminal as it is."""
    evil = "\x1b]0;owned\x07\x1b[2J\u202e\r"
    for form in ("plain", "json"):
        out = io.StringIO()
        logger = lines.start(load({"log_format": form}, home=tmp_path, env={}), out)
        try:
            raise ValueError(evil)
        except ValueError:
            logger.exception("a defect: %s", evil, extra={"label": evil})
        text = out.getvalue()
        assert text.count("\n") >= 1 and all(char == "\n" or char.isprintable() for char in text), form
        assert "ValueError" in text
    logging.getLogger(lines.LOGGER).handlers.clear()
