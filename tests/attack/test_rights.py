"""What a session may do is what its pair may do now (DESIGN 5.5; docs/spec/door.md)."""

import asyncio
import contextlib
import hashlib
import json
import secrets
import time
from pathlib import Path

import pytest

from tallystick.canonical import encode
from tallystick.gate.statement import sign_statement
from tallystick.ledger.event import Kind
from tallystick.node.client import HouseSession
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import PairDowngrade, PairSever, encode_statement
from tests.attack.rogue import Rogue
from tests.node.village import Village, village


def _closing(upload: str, path: str, content: bytes) -> bytes:
    body = {"upload": upload, "path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return json.dumps(body).encode()


async def _begin(rogue: Rogue, path: str, content: bytes) -> str:
    status, body = await rogue.ask("PUT", f"/v1/files/{path}", verb="archive.put", body=content, upload=True)
    assert status == 202
    return str(json.loads(body)["upload"])


def _bundle(
    found: Village, pairing: bytes, *, house: bytes | None = None, issued_at_ns: int | None = None, stream: bytes | None = None
) -> bytes:
    return sign_statement(
        found.human(),
        encode_statement(PairDowngrade(pairing_id=pairing, pair_type=PairType.USER)),
        house_id=found.machine.house_id if house is None else house,
        issued_at_ns=time.time_ns() if issued_at_ns is None else issued_at_ns,
        stream=secrets.token_bytes(16) if stream is None else stream,
        n=0,
        salt=secrets.token_bytes(32),
    )


@pytest.mark.parametrize("end", ["downgrade", "sever"])
def test_a_command_whose_body_came_too_late(tmp_path: Path, end: str) -> None:
    """A commit whose body is still on its way when the pair is narrowed or severed is judged by what the pair may do now."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("laptop")
            rogue = await Rogue.open(found.member("laptop"), row)
            upload = await _begin(rogue, "a.txt", b"content")
            request = rogue.request("POST", "/v1/commit", verb="archive.commit", body=_closing(upload, "a.txt", b"content"))
            await rogue.say(request[:-10])
            await asyncio.sleep(0.1)
            if end == "downgrade":
                await found.submit(PairDowngrade(pairing_id=row.pairing, pair_type=PairType.USER))
                await rogue.say(request[-10:])
                status, _ = await rogue.answer()
                assert status == 403
            else:
                await found.submit(PairSever(pairing_id=row.pairing, reason="stolen"))
                with contextlib.suppress(ConnectionError):
                    await rogue.say(request[-10:])
                assert await rogue.ended()
                assert len(rogue.telemetry()) == 1
            assert not (found.machine.settings.root / "a.txt").exists()
            assert not found.machine.store.entries(kinds=(Kind.EFFECT_DONE,))
            rogue.close()

    asyncio.run(scene())


@pytest.mark.parametrize("end", ["downgrade", "sever"])
def test_an_upload_under_way_ends_with_the_right_to_it(tmp_path: Path, end: str) -> None:
    """A pair that is narrowed while its bytes arrive may not commit them; one that is severed is cut at once."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("laptop")
            rogue = await Rogue.open(found.member("laptop"), row)
            await rogue.say(rogue.request("PUT", "/v1/files/a.txt", verb="archive.put", upload=True, length=2_000_000) + b"x" * 1_000_000)
            await asyncio.sleep(0.1)
            if end == "downgrade":
                await found.submit(PairDowngrade(pairing_id=row.pairing, pair_type=PairType.USER))
                await rogue.say(b"x" * 1_000_000)
                _, body = await rogue.answer()
                upload = str(json.loads(body).get("upload", 32 * "0"))
                content = b"x" * 2_000_000
                assert (await rogue.ask("POST", "/v1/commit", verb="archive.commit", body=_closing(upload, "a.txt", content)))[0] == 403
                assert (await rogue.ask("GET", f"/v1/uploads/{upload}", verb="archive.put"))[0] == 403
                assert (await rogue.ask("GET", "/v1/list", verb="archive.ls"))[0] == 200
            else:
                begun = time.monotonic()
                await found.house.sever(row.pairing, by="local", reason="stolen", tell=True)
                assert await rogue.ended() and time.monotonic() - begun < 1
            assert not (found.machine.settings.root / "a.txt").exists()
            rogue.close()

    asyncio.run(scene())


def test_an_upload_is_its_pairs_alone(tmp_path: Path) -> None:
    """Whoever knows the id of another pair's upload can neither look at it, nor go on with it, nor commit it."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            mine, theirs = await found.join("laptop"), await found.join("thief")
            rogue = await Rogue.open(found.member("laptop"), mine)
            upload = await _begin(rogue, "a.txt", b"content")
            thief = await Rogue.open(found.member("thief"), theirs)
            nobody = secrets.token_hex(16)
            for identity in (upload, nobody):
                answers = [
                    await thief.ask("GET", f"/v1/uploads/{identity}", verb="archive.put"),
                    await thief.ask("PATCH", f"/v1/uploads/{identity}?offset=7", verb="archive.put", body=b"more", upload=True),
                    await thief.ask("POST", "/v1/commit", verb="archive.commit", body=_closing(identity, "a.txt", b"content")),
                ]
                assert [status for status, _ in answers] == [403, 403, 403]
            assert (await rogue.ask("POST", "/v1/commit", verb="archive.commit", body=_closing(upload, "a.txt", b"content")))[0] == 200
            rogue.close()
            thief.close()

    asyncio.run(scene())


def test_a_statement_counts_once_and_here(tmp_path: Path) -> None:
    """A human statement is taken once, over an ADMIN pair, by the house it names, while it is young. Nothing of what is refused happens."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row, other = await found.join("laptop"), await found.join("other")
            good = _bundle(found, row.pairing)
            async with await HouseSession.open(found.member("owner"), found.pair_of("owner")) as session:

                async def submit(bundle: bytes, secret: bytes | None = None) -> str:
                    try:
                        await session.post_json("/v1/statements", encode([bundle, secret]), verb="statement.submit")
                    except Exception as error:
                        return f"{type(error).__name__}: {error}"
                    return "taken"

                assert (await submit(_bundle(found, row.pairing, house=secrets.token_bytes(32)))).startswith("Unproven")
                assert (await submit(_bundle(found, row.pairing, issued_at_ns=time.time_ns() - 601 * 10**9))).startswith("Unproven")
                assert (await submit(_bundle(found, row.pairing, issued_at_ns=time.time_ns() + 120 * 10**9))).startswith("Unproven")
                assert (await submit(good, secrets.token_bytes(16))).startswith("Malformed")
                stands = found.machine.store.pair(row.pairing)
                assert stands is not None and stands.effective is PairType.INPUT
                assert await submit(good) == "taken"
                assert "already" in await submit(good) or "USER" in await submit(good)
                # Another statement under the number of the first: a fork. The key is held, and says nothing more.
                stream = secrets.token_bytes(16)
                assert await submit(_bundle(found, other.pairing, stream=stream)) == "taken"
                assert (await submit(_bundle(found, row.pairing, stream=stream))).startswith("Unproven")
                key = found.machine.store.key(found.human().public.key_id)
                assert key is not None and key.state == "suspended"
                assert (await submit(_bundle(found, other.pairing))).startswith("Unproven")
            rogue = await Rogue.open(found.member("laptop"), row)
            status, _ = await rogue.ask("POST", "/v1/statements", verb="statement.submit", body=encode([good, None]))
            assert status == 403
            rogue.close()

    asyncio.run(scene())
