"""One who names many keys and has none of them: the names are in every ledger, and the ledger must not fill with them."""

import itertools

from tallystick.node.gaterates import OF_A_SENDER, GateRates


def test_who_names_many_keys_fills_no_more_of_the_ledger() -> None:
    """A thousand keys, a hundred forgeries each: one sender's worth of entries, and the rest is counted. Another's are still recorded."""
    rates = GateRates(0, itertools.count(10**18).__next__)
    names = [b"%032d" % number for number in range(1_000)]
    recorded = sum(rates.records(name, b"uid 1001") for _ in range(100) for name in names)
    assert OF_A_SENDER * 20 <= recorded < OF_A_SENDER * 20 * 4
    assert rates.records(names[0], b"uid 1002")
    told = rates.events(all_of_them=True)
    counts = [event.get("counts") for event in told]
    assert sum(count["refusals-not-recorded"] for count in counts if isinstance(count, dict)) == 100_000 - recorded
