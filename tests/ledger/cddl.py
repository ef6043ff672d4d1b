"""The table of events written as CDDL (RFC 8610): what docs/spec/events.cddl must say, apart from its comments."""

from tallystick.ledger.table import FIELDS, HEADER, KINDS, VERSION, Kind

_IN_EVERY_EVENT = ("version", "kind", "time", "actor")


def rule_name(name: str) -> str:
    """The name of a field's rule: with dashes; `time` is taken by CDDL's prelude."""
    return "time-ns" if name == "time" else name.lower().replace("_", "-")


def kind_rule(kind: Kind) -> str:
    """The name of a kind's rule."""
    return f"{rule_name(kind.name)}-event"


def line(name: str, *, required: bool) -> str:
    """A field as a member of a map."""
    number = (HEADER.get(name) or FIELDS[name])[0]
    return f"{'' if required else '? '}{number} => {rule_name(name)}"


def rules() -> list[str]:
    """Every rule, in the order of the document."""
    optional = [name for name in HEADER if name not in _IN_EVERY_EVENT]
    out = [
        "event = " + " / ".join(kind_rule(kind) for kind in Kind),
        'word = tstr .regexp "[a-z0-9]([a-z0-9._/-]{0,62}[a-z0-9])?"',
        f"head = (1 => {VERSION}, 3 => time-ns, 4 => actor)",
        f"context-of = ({', '.join(line(name, required=False) for name in optional)})",
    ]
    for kind, shape in KINDS.items():
        members = ["head", f"2 => {int(kind)}"]
        if shape.needs:
            members += [line(name, required=name in shape.needs) for name in optional]
        else:
            members.append("context-of")
        members += [line(name, required=True) for name in shape.required]
        members += [line(name, required=False) for name in shape.optional]
        out.append(f"{kind_rule(kind)} = {{{', '.join(members)}}}")
    for name, (_, of) in (*HEADER.items(), *FIELDS.items()):
        if name not in ("version", "kind"):
            out.append(f"{rule_name(name)} = {of.cddl()}")
    return out


def read(text: str) -> list[str]:
    """The rules of a document: comments dropped, each rule on one line, single spaces."""
    found: list[str] = []
    for raw in text.splitlines():
        stripped = raw.split(" ;")[0].rstrip() if not raw.startswith(";") else ""
        if not stripped:
            continue
        if raw[0].isspace() or raw[0] in "})":
            found[-1] = f"{found[-1]} {stripped.strip()}"
        else:
            found.append(stripped)
    return [rule.replace("{ ", "{").replace(" }", "}").replace("( ", "(").replace(" )", ")") for rule in found]
