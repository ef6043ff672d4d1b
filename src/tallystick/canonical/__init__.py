"""Bytes that have exactly one form (docs/spec/canonical.md).

Whatever is signed, hashed or compared goes through here: deterministic CBOR, strict decimal and base64, length-prefixed
lists, and the texts by which people name keys. Each reader accepts the one form its writer makes; only `parse_id` is
forgiving, because people type, and it reads nothing that its check characters do not confirm.
"""

from tallystick.canonical.cbor import MAX_BYTES, MAX_DEPTH, MAX_ITEMS, Encodable, Value, decode, encode
from tallystick.canonical.checked import id_text, parse_id
from tallystick.canonical.text import b64, b64url, decimal, length_prefixed, split_length_prefixed, to_decimal, unb64, unb64url

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_ITEMS",
    "Encodable",
    "Value",
    "b64",
    "b64url",
    "decimal",
    "decode",
    "encode",
    "id_text",
    "length_prefixed",
    "parse_id",
    "split_length_prefixed",
    "to_decimal",
    "unb64",
    "unb64url",
]
