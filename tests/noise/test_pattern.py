"""Pattern names: what is known, what is put together from modifiers, and everything that is refused."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Misuse
from tallystick.noise import PATTERNS, Pattern, Protocol, Token, pattern_of
from tallystick.noise.pattern import check_valid

E, S, EE, ES, SE, SS, PSK = Token


def test_the_table_holds_the_patterns_of_the_specification() -> None:
    """3 one-way, 12 fundamental and 23 deferred patterns, each valid."""
    assert sum(pattern.one_way for pattern in PATTERNS.values()) == 3
    assert sum(re.fullmatch("[NKXI]{2}", name) is not None for name in PATTERNS) == 12
    assert sum("1" in name for name in PATTERNS) == 23
    assert len(PATTERNS) == 38
    for pattern in PATTERNS.values():
        check_valid(pattern)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_deferred_pattern_computes_what_its_fundamental_one_does(name: str) -> None:
    """A digit moves a Diffie-Hellman token to a later message and changes nothing else (Noise 7.6)."""
    deferred, fundamental = PATTERNS[name], PATTERNS[name.replace("1", "")]
    assert (deferred.initiator_pre, deferred.responder_pre) == (fundamental.initiator_pre, fundamental.responder_pre)
    tokens = [sorted(token for message in pattern.messages for token in message) for pattern in (deferred, fundamental)]
    # Whoever never gets to use `ss` early (7.6) trades it for es and se.
    assert set(tokens[0]) - {SS} == set(tokens[1]) - {SS}


@pytest.mark.parametrize("name", PATTERNS)
def test_every_psk_place_of_every_pattern_is_valid(name: str) -> None:
    """psk0 to pskN, alone and all together, give a valid pattern with the token where its number says (Noise 9.4)."""
    count = len(PATTERNS[name].messages)
    for place in range(count + 1):
        pattern = pattern_of(f"{name}psk{place}")
        message = pattern.messages[max(place - 1, 0)]
        assert message[0 if place == 0 else -1] is PSK
        assert pattern.psk_count == 1
    assert pattern_of(name + "+".join(f"psk{place}" for place in range(count + 1))).psk_count == count + 1
    with pytest.raises(Misuse):
        pattern_of(f"{name}psk{count + 1}")


def test_fallback_turns_the_roles_round() -> None:
    """XXfallback: Alice's `e` is known beforehand, Bob writes first and is the initiator (Noise 10.2, 7.2)."""
    pattern = pattern_of("XXfallback")
    assert (pattern.initiator_pre, pattern.responder_pre) == ((), (E,))
    assert pattern.messages == ((E, EE, S, SE), (S, ES))
    assert pattern_of("XXfallback+psk0").messages == ((PSK, E, EE, S, SE), (S, ES))
    assert not pattern_of("NNfallback").one_way


@pytest.mark.parametrize(
    "name",
    [
        *("", "xx", "QQ", "XX ", " XX", "XX1X", "NN2", "XX+psk0", "XXpsk", "XXpsk4", "XXpsk00", "XXpsk10", "XXpsk-1", "XXpsk٣"),
        *("XXpsk0+psk0", "XXpsk3+psk0", "XXpsk0psk3", "XXpsk0+", "XXpsk0++psk3", "XXpsk0+fallback", "XXfallback+fallback"),
        *("NKfallback", "KKfallback", "Nfallback", "XXhfs", "XXnoidh", "XXfallback+psk3", "XX\n", "XXpsk0\n", "XXPSK0"),
    ],
)
def test_other_names_are_refused(name: str) -> None:
    """A name that is unknown, not in its one form, or not possible is Misuse."""
    with pytest.raises(Misuse):
        pattern_of(name)


@given(st.text(max_size=40))
def test_no_text_but_a_name_is_a_pattern(text: str) -> None:
    """Any text is either refused with Misuse or gives a pattern of that very name."""
    with contextlib.suppress(Misuse):
        assert pattern_of(text).name == text


def made(*messages: tuple[Token, ...], pre: tuple[Token, ...] = (), one_way: bool = False) -> Pattern:
    return Pattern(name="made", initiator_pre=pre, responder_pre=pre, messages=messages, one_way=one_way)


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        (made((E, EE)), "rule 1"),
        (made((E, ES), (E, EE)), "rule 1"),
        (made((E,), (E, EE, E)), "rule 2"),
        (made((E, S), (E, EE, SE), (S,)), "rule 2"),
        (made((E,), (E, EE, EE)), "rule 3"),
        (made((E, SS), (E, EE), pre=(S,)), "rule 4"),
        (made((E,), (E, SE), (), pre=(S,)), "rule 4"),
        (made((E, ES), (E,), pre=(S,)), "rule 4"),
        (made((E, S), (E, SE, S), pre=()), "rule 3|rule 4"),
        (made((PSK,), (E,)), "9.3"),
        (made((E,), (PSK,)), "9.3"),
        (made((PSK, E), one_way=False), "9.3"),
        (made((PSK, S, E)), "9.3"),
    ],
)
def test_patterns_that_are_not_valid_are_refused(pattern: Pattern, rule: str) -> None:
    """Each rule of Noise 7.3 and 9.3 catches a pattern that breaks it."""
    with pytest.raises(Misuse, match=rule):
        check_valid(pattern)


def test_a_one_way_pattern_needs_no_ephemeral_of_its_responder() -> None:
    """The responder of a one-way pattern never encrypts, so psk needs no ephemeral of his."""
    check_valid(made((PSK, E), one_way=True))


@pytest.mark.parametrize(
    "name",
    [
        *("", "Noise", "Noise_XX", "Noise_XX_25519_ChaChaPoly", "Noise_XX_25519_ChaChaPoly_SHA256_", "noise_XX_25519_ChaChaPoly_SHA256"),
        *("NoisePSK_XX_25519_ChaChaPoly_SHA256", "Noise_XX_25519_ChaChaPoly_SHA3", "Noise_XX_X25519_ChaChaPoly_SHA256"),
        *("Noise_XX_25519_AES_SHA256", "Noise_XX_25519+448_AESGCM_SHA256", "Noise_ZZ_25519_AESGCM_SHA256", "Noise_XX_25519_AESGCM_sha256"),
        "Noise_XXpsk0" + "+psk1" * 60 + "_25519_ChaChaPoly_SHA256",
    ],
)
def test_protocol_names_are_read_strictly(name: str) -> None:
    """Five sections, each known in its one spelling, 255 bytes in all (Noise 8)."""
    with pytest.raises(Misuse):
        Protocol.parse(name)


def test_a_protocol_name_names_its_parts() -> None:
    """The parts of a pair's protocol."""
    protocol = Protocol.parse("Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s")
    assert (protocol.pattern.name, protocol.dh, protocol.public_bytes) == ("KKpsk0", "25519", 32)
    assert (protocol.cipher.name, protocol.hash.name) == ("ChaChaPoly", "BLAKE2s")
