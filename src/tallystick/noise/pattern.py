"""Handshake patterns as tables of tokens (Noise 7), their modifiers (9.4, 10.2) and validity (7.3, 9.3).

A pattern says, message by message, which public keys travel and which Diffie-Hellman results are mixed in. Messages
alternate and the initiator writes the first. The table holds all 38 patterns of the specification; `pattern_of` adds
the modifiers of a name section such as `XXfallback+psk0` and checks the result:

    >>> [[str(token) for token in message] for message in pattern_of("KKpsk0").messages]
    [['psk', 'e', 'es', 'ss'], ['e', 'ee', 'se']]

Source: The Noise Protocol Framework, revision 34; the sections are named at each function.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tallystick.errors import Misuse


class Token(StrEnum):
    """One word of a message pattern (Noise 7.1, 9.2)."""

    E = "e"
    S = "s"
    EE = "ee"
    ES = "es"
    SE = "se"
    SS = "ss"
    PSK = "psk"


Message = tuple[Token, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A handshake pattern. The pre-messages are keys both sides know beforehand; `one_way` forbids the responder to send."""

    name: str
    initiator_pre: Message
    responder_pre: Message
    messages: tuple[Message, ...]
    one_way: bool

    @property
    def psk_count(self) -> int:
        """How many pre-shared keys a handshake needs, in the order of their tokens."""
        return sum(message.count(Token.PSK) for message in self.messages)


# name, initiator's pre-message, responder's pre-message ("-" for none), then the messages, first the initiator's.
_TABLE: Final = """
N    -  s  e,es
K    s  s  e,es,ss
X    -  s  e,es,s,ss

NN   -  -  e      e,ee
NK   -  s  e,es   e,ee
NX   -  -  e      e,ee,s,es
XN   -  -  e      e,ee            s,se
XK   -  s  e,es   e,ee            s,se
XX   -  -  e      e,ee,s,es       s,se
KN   s  -  e      e,ee,se
KK   s  s  e,es,ss    e,ee,se
KX   s  -  e      e,ee,se,s,es
IN   -  -  e,s    e,ee,se
IK   -  s  e,es,s,ss  e,ee,se
IX   -  -  e,s    e,ee,se,s,es

NK1  -  s  e      e,ee,es
NX1  -  -  e      e,ee,s          es
X1N  -  -  e      e,ee            s          se
X1K  -  s  e,es   e,ee            s          se
XK1  -  s  e      e,ee,es         s,se
X1K1 -  s  e      e,ee,es         s          se
X1X  -  -  e      e,ee,s,es       s          se
XX1  -  -  e      e,ee,s          es,s,se
X1X1 -  -  e      e,ee,s          es,s       se
K1N  s  -  e      e,ee            se
K1K  s  s  e,es   e,ee            se
KK1  s  s  e      e,ee,se,es
K1K1 s  s  e      e,ee,es         se
K1X  s  -  e      e,ee,s,es       se
KX1  s  -  e      e,ee,se,s       es
K1X1 s  -  e      e,ee,s          se,es
I1N  -  -  e,s    e,ee            se
I1K  -  s  e,es,s e,ee            se
IK1  -  s  e,s    e,ee,se,es
I1K1 -  s  e,s    e,ee,es         se
I1X  -  -  e,s    e,ee,s,es       se
IX1  -  -  e,s    e,ee,se,s       es
I1X1 -  -  e,s    e,ee,s          se,es
"""  # Noise 7.4 (one-way), 7.5 (fundamental), appendix 18.1 (deferred)


def _tokens(text: str) -> Message:
    return () if text == "-" else tuple(Token(word) for word in text.split(","))


def _read_table() -> dict[str, Pattern]:
    patterns = {}
    for line in _TABLE.split("\n"):
        if line:
            name, initiator_pre, responder_pre, *messages = line.split()
            patterns[name] = Pattern(
                name=name,
                initiator_pre=_tokens(initiator_pre),
                responder_pre=_tokens(responder_pre),
                messages=tuple(_tokens(message) for message in messages),
                one_way=len(messages) == 1,
            )
    return patterns


PATTERNS: Final = _read_table()

# A base name in capitals and digits, then modifiers: the first is appended, the others follow a plus sign (Noise 8.1).
_NAME: Final = re.compile(r"([A-Z][A-Z0-9]*)(?:([a-z][a-z0-9]*(?:\+[a-z][a-z0-9]*)*))?")
_PSK: Final = re.compile(r"psk([0-9])")
_REVERSED: Final = {Token.ES: Token.SE, Token.SE: Token.ES}


def pattern_of(name: str) -> Pattern:
    """The pattern of a name section: a base name and its modifiers.

    Raises: Misuse when the base is unknown, a modifier is unknown, cannot be applied, is named twice or out of order
    (`fallback` first, then the psk modifiers ascending; Noise 8.1), or the result breaks a rule of validity.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in PATTERNS:
        raise Misuse(f"no Noise handshake pattern is named {name!r}")
    pattern = PATTERNS[match[1]]
    modifiers = match[2].split("+") if match[2] else []
    if modifiers != sorted(set(modifiers)):
        raise Misuse(f"the modifiers of {name!r} are not in order or not different")
    for modifier in modifiers:
        pattern = _fallback(pattern) if modifier == "fallback" else _psk(pattern, modifier)
    pattern = Pattern(
        name=name,
        initiator_pre=pattern.initiator_pre,
        responder_pre=pattern.responder_pre,
        messages=pattern.messages,
        one_way=pattern.one_way,
    )
    check_valid(pattern)
    return pattern


def _fallback(pattern: Pattern) -> Pattern:
    """Alice's first message becomes a pre-message, Bob writes first and is the initiator from now on (Noise 10.2, 7.2)."""
    first, *others = pattern.messages
    if first not in ((Token.E,), (Token.S,), (Token.E, Token.S)):
        raise Misuse(f"fallback needs a first message of public keys alone, {pattern.name} has {','.join(first)}")
    return Pattern(
        name=pattern.name,
        initiator_pre=pattern.responder_pre,
        responder_pre=pattern.initiator_pre + first,
        messages=tuple(tuple(_REVERSED.get(token, token) for token in message) for message in others),
        one_way=False,
    )


def _psk(pattern: Pattern, modifier: str) -> Pattern:
    """psk0 stands at the beginning of the first message, pskN at the end of the Nth (Noise 9.4)."""
    match = _PSK.fullmatch(modifier)
    if match is None or int(match[1]) > len(pattern.messages):
        raise Misuse(f"{pattern.name} has no modifier {modifier!r}")
    messages = list(pattern.messages)
    place = int(match[1])
    if place == 0:
        messages[0] = (Token.PSK, *messages[0])
    else:
        messages[place - 1] = (*messages[place - 1], Token.PSK)
    return Pattern(
        name=pattern.name,
        initiator_pre=pattern.initiator_pre,
        responder_pre=pattern.responder_pre,
        messages=tuple(messages),
        one_way=pattern.one_way,
    )


def check_valid(pattern: Pattern) -> None:
    """Check the four rules of Noise 7.3 and the one of 9.3. Raises: Misuse naming the rule that is broken."""
    sent: tuple[set[Token], set[Token]] = (set(pattern.initiator_pre), set(pattern.responder_pre))
    mixed: set[Token] = set()

    def need(condition: bool, rule: str) -> None:
        if not condition:
            raise Misuse(f"the pattern {pattern.name} is not valid: {rule}")

    def check_encryption(sender: int) -> None:
        # Own static key mixed with a remote key: only safe to encrypt once an own ephemeral met the same remote key.
        after_static, with_ephemeral = (Token.SE, Token.ES) if sender == 0 else (Token.ES, Token.SE)
        need(after_static not in mixed or Token.EE in mixed, f"{after_static} without ee before encrypting (7.3 rule 4)")
        need(Token.SS not in mixed or with_ephemeral in mixed, f"ss without {with_ephemeral} before encrypting (7.3 rule 4)")
        need(Token.PSK not in mixed or Token.E in sent[sender], "psk without an ephemeral before encrypting (9.3)")

    for number, message in enumerate(pattern.messages):
        sender = number % 2
        for token in message:
            if token in (Token.E, Token.S):
                need(token not in sent[sender], f"{token} sent twice (7.3 rule 2)")
                if token is Token.S and mixed:
                    check_encryption(sender)
                sent[sender].add(token)
            elif token is not Token.PSK:
                need(token not in mixed, f"{token} computed twice (7.3 rule 3)")
                need(token[0] in sent[0] and token[1] in sent[1], f"{token} of keys not yet known (7.3 rule 1)")
                mixed.add(token)
            else:
                mixed.add(token)
        if mixed:
            check_encryption(sender)
    for sender in (0,) if pattern.one_way else (0, 1):
        check_encryption(sender)
