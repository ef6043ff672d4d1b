"""The log's files at the door: a paired machine checks the log from them, and whoever read records is on record."""

from pathlib import Path

from tallystick.ledger.event import Kind
from tallystick.pair.pairing import PairType
from tallystick.primitives import sha256
from tallystick.tlog.bundle import read_bundle
from tallystick.tlog.checkpoint import read_checkpoint
from tallystick.tlog.proof import inclusion_proof, verify_inclusion
from tallystick.tlog.tile import ENTRIES, Tile, TileTree, check_entries, edge_tiles
from tests.node.door_scene import NAME_OF, Scene, Visit, play, settled


async def fetched(visit: Visit, size: int, root: bytes) -> TileTree:
    """A tree from the tiles of the door."""
    tiles = {tile: await get(visit, tile) for tile in edge_tiles(size)}
    return TileTree(size, root, tiles.__getitem__)


async def get(visit: Visit, tile: Tile) -> bytes:
    verb = "house.entries" if tile.level == ENTRIES else "house.tile"
    said = await visit.ask("GET", f"/v1/log/{tile.path}", verb)
    assert (said.status, said.headers["content-type"]) == (200, "application/octet-stream")
    return said.body


def test_a_log_is_checked_over_the_pair(tmp_path: Path) -> None:
    """An ADMIN reads checkpoint, tiles and bundles: they hold together, and are the files of the house."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        await settled(here)
        here.house.publisher.publish()
        said = await visit.ask("GET", "/v1/log/checkpoint", "house.checkpoint")
        assert said.headers["content-type"] == "text/plain; charset=utf-8"
        assert said.body == (here.estate.house.home.tiles / "checkpoint").read_bytes()
        point, _ = read_checkpoint(said.body)
        tree = await fetched(visit, point.size, point.root)
        bundle = Tile(ENTRIES, 0, point.size)
        entries = read_bundle(await get(visit, bundle), point.size)
        check_entries(entries, tree.hashes(0, 0), 0)
        assert [row.leaf for row in here.estate.house.store.entries(0, point.size)] == list(entries)

    play(tmp_path, act)


def test_who_may_read_proves_an_entry_without_seeing_another(tmp_path: Path) -> None:
    """INPUT and USER have hashes and no bundles; INTERFACE has the checkpoint alone."""

    async def act(here: Scene) -> None:
        here.house.publisher.publish()
        for kind, name in NAME_OF.items():
            visit = here.visit(name)
            point, _ = read_checkpoint((await visit.ask("GET", "/v1/log/checkpoint", "house.checkpoint")).body)
            tile, bundle = edge_tiles(point.size)[0], Tile(ENTRIES, 0, point.size)
            may_read, may_see = kind is not PairType.INTERFACE, kind is PairType.ADMIN
            assert ((await visit.ask("GET", f"/v1/log/{tile.path}", "house.tile")).status == 200) == may_read
            said = await visit.ask("GET", f"/v1/log/{bundle.path}", "house.entries")
            assert said.status == (200 if may_see else 403)
            if may_read:
                tree = await fetched(visit, point.size, point.root)
                proof = inclusion_proof(0, point.size, tree.subtree)
                verify_inclusion(index=0, size=point.size, leaf=tree.leaf(0), root=point.root, proof=proof)

    play(tmp_path, act)


def test_each_bundle_that_was_read_is_on_record(tmp_path: Path) -> None:
    """One `query` entry with the reader's session, caused by its signal; none for hashes, checkpoints and what is not there."""

    async def act(here: Scene) -> None:
        store = here.estate.house.store
        here.house.publisher.publish()
        visit = here.visit("owner")
        point, _ = read_checkpoint((await visit.ask("GET", "/v1/log/checkpoint", "house.checkpoint")).body)
        await fetched(visit, point.size, point.root)
        assert (await visit.ask("GET", "/v1/log/tile/entries/000", "house.entries")).status == 404
        assert store.entries(kinds=(Kind.QUERY,)) == ()
        bundle = Tile(ENTRIES, 0, point.size)
        said = await visit.ask("GET", f"/v1/log/{bundle.path}", "house.entries")
        assert said.status == 200
        (row,) = store.entries(kinds=(Kind.QUERY,))
        event = row.event
        assert (event.text("what"), event.number("first"), event.number("count")) == ("entries", 0, point.size)
        assert event.blob("digest") == sha256(bundle.path.encode())
        assert (event.blob("pairing"), event.blob("session")) == (visit.ear.asker.pair, visit.ear.asker.session)
        assert event.number("cause") == said.entry

    play(tmp_path, act)


def test_what_is_not_there_is_404_and_what_is_no_path_400(tmp_path: Path) -> None:
    """A tile beyond the log, a partial one of another width; dots, other digits, levels and lengths."""

    async def act(here: Scene) -> None:
        visit = here.visit("owner")
        here.house.publisher.publish()
        for path, verb in (("tile/0/000", "house.tile"), ("tile/3/000.p/1", "house.tile"), ("tile/entries/000.p/1", "house.entries")):
            assert (await visit.ask("GET", f"/v1/log/{path}", verb)).error == (404, "refused")
        for path in ("0/00", "0/x000/000", "8/000.p/1", "0/000.p/0", "0/../../vault", "0/%2e%2e/000", "", "checkpoint", "0/000%00"):
            assert (await visit.ask("GET", f"/v1/log/tile/{path}", "house.tile")).error == (400, "malformed")
        for path in ("0", "000.p/256", "../0/000.p/1"):
            assert (await visit.ask("GET", f"/v1/log/tile/entries/{path}", "house.entries")).error == (400, "malformed")
        assert not visit.ear.cuts  # it was signed as it came: no breach

    play(tmp_path, act)


def test_before_anything_is_published_there_is_no_checkpoint(tmp_path: Path) -> None:
    """404, as for any file that is not there."""

    async def act(here: Scene) -> None:
        here.house.publisher.stop()
        (here.estate.house.home.tiles / "checkpoint").unlink(missing_ok=True)
        assert (await here.visit("interface").ask("GET", "/v1/log/checkpoint", "house.checkpoint")).error == (404, "refused")

    play(tmp_path, act)
