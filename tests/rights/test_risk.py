"""The risk of a verb: a fixed table, the same in the specification."""

from tallystick.pair import statement as pairs
from tallystick.rights.action import ActionClass
from tallystick.rights.risk import RISKS, UNLISTED, Risk, risk_of
from tallystick.rights.statement import SPOKEN
from tallystick.rights.verb import VERBS
from tests.support import PROJECT


def test_every_verb_of_ours_is_listed() -> None:
    """What the house knows has a level that somebody chose."""
    assert set(VERBS) | SPOKEN | set(pairs.VERBS.values()) <= set(RISKS)
    assert all(risk_of(verb, ActionClass.ADMIN) is RISKS[verb] for verb in RISKS)


def test_an_unlisted_verb_has_the_level_of_its_class() -> None:
    """No class is missing, and what nobody knows is never less than what is known of its class."""
    assert set(UNLISTED) == set(ActionClass)
    for action in ActionClass:
        assert risk_of("mail.send", action) is UNLISTED[action]
        assert min((RISKS[verb] for verb, known in VERBS.items() if known is action), default=Risk.LOW) <= UNLISTED[action]
    assert (risk_of("x.y", ActionClass.METADATA), risk_of("x.y", ActionClass.WRITE), risk_of("x.y", ActionClass.ADMIN)) == (
        Risk.LOW,
        Risk.HIGH,
        Risk.CRITICAL,
    )


def test_the_specification_has_the_same_table() -> None:
    """docs/spec/rights.md, section 6."""
    text = (PROJECT / "docs/spec/rights.md").read_text().split("## 6.")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")][2:]
    assert {verb: row[0] for row in rows for verb in row[2].split()} == {verb: level.word for verb, level in RISKS.items()}
    assert {action: row[0] for row in rows for action in row[3].split()} == {action.value: level.word for action, level in UNLISTED.items()}
