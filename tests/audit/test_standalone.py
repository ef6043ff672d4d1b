"""The stand-alone verifier: what it refuses before it looks at any evidence."""

import pytest

import tallystick_verify as alone
from tallystick.canonical import b64


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31), (2**255 - 19).to_bytes(32, "little"), b"\x01" + bytes(30) + b"\x80"])
def test_a_key_for_which_anybody_could_sign_is_none(public: bytes) -> None:
    """Small order and second encodings are refused, as everywhere a key is pinned."""
    raw = b"\x01" + public
    text = f"a+{alone.sha(b'a', bytes([10]), raw)[:4].hex()}+{b64(raw)}"
    with pytest.raises(alone.Wrong, match="small order"):
        alone.Key(text)
