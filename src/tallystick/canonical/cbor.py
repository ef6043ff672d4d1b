"""Deterministic CBOR (RFC 8949 4.2.1), the few types we need and no others.

    encode({1: b"hi", "a": [True, None, -1]}).hex() == "a201426869616183f5f620"

Integers from -2**63 to 2**64-1, byte strings, UTF-8 text, arrays, maps with integer or text keys, false, true and null.
No floats, tags, other simple values or indefinite lengths. Arguments are in their shortest form; map keys stand in the
bytewise order of their encodings, so no key stands twice.

The reader is strict by construction: each byte it consumes is either checked against the only form the writer makes or
is content of a string; the tests compare every accepted input with its re-encoding. (Decoding, encoding again and
comparing was refused: it doubles the cost of the hottest parser and proves nothing more.)
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from tallystick.errors import Malformed, Misuse

# Values as the reader makes them, and as the writer takes them.
Value: TypeAlias = int | bytes | str | bool | list["Value"] | dict[int | str, "Value"] | None
Encodable: TypeAlias = (
    int
    | bytes
    | str
    | bool
    | Sequence["Encodable"]
    | Mapping[int, "Encodable"]
    | Mapping[str, "Encodable"]
    | Mapping[int | str, "Encodable"]
    | None
)

# Implementation constants: defaults of the reader's limits.
MAX_BYTES: Final = 65_535  # DESIGN 4: the largest ledger leaf
MAX_DEPTH: Final = 16  # arrays and maps inside each other
MAX_ITEMS: Final = 4_096  # array elements, map keys and map values, in all

INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**64 - 1

# RFC 8949 3: the major type stands in the upper three bits of the initial byte.
_TEXT: Final = 0x60
_ARRAY: Final = 0x80
_MAP: Final = 0xA0

_HEADS: Final = tuple(bytes((major << 5 | n,)) if n < 24 else bytes((major << 5 | 24, n)) for major in range(8) for n in range(256))
_SIMPLE: Final[dict[int, bool | None]] = {0xF4: False, 0xF5: True, 0xF6: None}  # RFC 8949 3.3


def encode(value: Encodable, *, max_depth: int = MAX_DEPTH) -> bytes:
    """Write a value in its one form.

    Args: value: see the module's list; tuples are written as arrays.  max_depth: arrays and maps inside each other.
    Raises: Misuse when the value holds another type, an integer out of range, a lone surrogate, or is too deep.
    Source: RFC 8949 4.2.1 (core deterministic encoding).
    """
    parts: list[bytes] = []
    try:
        _write(value, parts.append, max_depth)
    except UnicodeEncodeError as error:
        raise Misuse("canonical CBOR: text holds a lone surrogate") from error
    return b"".join(parts)


def _head(major: int, argument: int) -> bytes:
    """The initial byte and its shortest argument (RFC 8949 3 and 4.2.1)."""
    if argument < 256:
        return _HEADS[major << 8 | argument]
    if argument < 65_536:
        return bytes((major << 5 | 25,)) + argument.to_bytes(2, "big")
    if argument < 4_294_967_296:
        return bytes((major << 5 | 26,)) + argument.to_bytes(4, "big")
    return bytes((major << 5 | 27,)) + argument.to_bytes(8, "big")


def _integer(value: int) -> bytes:
    if value >= 0:
        if value > INT_MAX:
            raise Misuse("canonical CBOR: integer above 2**64-1")
        return _head(0, value)
    if value < INT_MIN:
        raise Misuse("canonical CBOR: integer below -2**63")
    return _head(1, -1 - value)


def _text(value: str) -> bytes:
    raw = value.encode("utf-8")
    return _head(3, len(raw)) + raw


def _write(value: Encodable, add: Callable[[bytes], None], depth: int) -> None:
    # Every entry and every signal is written here: the exact types first, without a call for what is short.
    kind = type(value)
    if kind is bytes:
        size = len(value)  # type: ignore[arg-type]
        add(_HEADS[0x200 | size] if size < 256 else _head(2, size))
        add(value)  # type: ignore[arg-type]
    elif kind is int:
        add(_HEADS[value] if 0 <= value < 256 else _integer(value))  # type: ignore[index, operator, arg-type]
    elif kind is str:
        add(_text(value))  # type: ignore[arg-type]
    elif kind is dict:
        _write_map(value, add, depth)  # type: ignore[arg-type]
    elif kind is list or kind is tuple:
        _write_array(value, add, depth)  # type: ignore[arg-type]
    elif value is None:
        add(b"\xf6")
    elif value is True:
        add(b"\xf5")
    elif value is False:
        add(b"\xf4")
    else:
        _write_kin(value, add, depth)


def _write_kin(value: Encodable, add: Callable[[bytes], None], depth: int) -> None:
    """Kinds of our own (KeyId, enumerations, mapping proxies) are written as what they are."""
    if isinstance(value, bytes):
        add(_head(2, len(value)))
        add(value)
    elif isinstance(value, int):
        add(_integer(value))
    elif isinstance(value, str):
        add(_text(value))
    elif isinstance(value, (list, tuple)):
        _write_array(value, add, depth)
    elif isinstance(value, Mapping):
        _write_map(value, add, depth)
    else:
        raise Misuse(f"canonical CBOR: cannot write {type(value).__name__}")


def _write_array(value: Sequence[Encodable], add: Callable[[bytes], None], depth: int) -> None:
    if not depth:
        raise Misuse("canonical CBOR: nested too deeply")
    add(_head(4, len(value)))
    for item in value:
        _write(item, add, depth - 1)


def _write_map(value: Mapping[Any, Encodable], add: Callable[[bytes], None], depth: int) -> None:
    if not depth:
        raise Misuse("canonical CBOR: nested too deeply")
    add(_head(5, len(value)))
    fields = [(_HEADS[key] if type(key) is int and 0 <= key < 256 else _key(key), item) for key, item in value.items()]
    fields.sort(key=_first)
    for head, item in fields:
        add(head)
        _write(item, add, depth - 1)


def _first(pair: tuple[bytes, Encodable]) -> bytes:
    return pair[0]


def _key(key: object) -> bytes:
    if isinstance(key, bool):
        raise Misuse("canonical CBOR: map keys are integers or text")
    if isinstance(key, int):
        return _integer(key)
    if isinstance(key, str):
        return _text(key)
    raise Misuse("canonical CBOR: map keys are integers or text")


def decode(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH, max_items: int = MAX_ITEMS) -> Value:
    """Read the one form of one value, and nothing after it.

    Args: max_bytes: of the whole input.  max_depth: arrays and maps inside each other.
        max_items: array elements, map keys and map values, in all.
    Raises: Malformed for any other bytes and whenever a limit is passed.
    Source: RFC 8949 3, 4.2.1, 5.3.1 and Appendix C.
    """
    if len(data) > max_bytes:
        raise Malformed(f"canonical CBOR: {len(data)} bytes, at most {max_bytes} allowed")
    reader = Reader(bytes(data), max_items)
    try:
        value, end = reader.item(0, max_depth)
    except IndexError:
        raise Malformed("canonical CBOR: ends too early") from None
    except UnicodeDecodeError as error:
        raise Malformed("canonical CBOR: text is not UTF-8") from error
    if end != len(data):
        raise Malformed(f"canonical CBOR: {len(data) - end} bytes too many")
    return value


class Reader:
    """One pass over the bytes; `left` is what remains of the item budget. An IndexError means: ends too early.

    For `decode`, and for readers that need to know where a value begins and ends (gate/opening.py).
    """

    __slots__ = ("data", "left", "size")

    def __init__(self, data: bytes, max_items: int) -> None:
        self.data = data
        self.size = len(data)
        self.left = max_items

    def item(self, at: int, depth: int) -> tuple[Value, int]:
        """The value that begins at `at`, and where it ends."""
        data = self.data
        initial = data[at]
        argument = initial & 31
        at += 1
        if argument >= 24:
            argument, at = self._long_argument(initial, at)
        if initial < 0x20:
            return argument, at
        if initial < 0x40:
            if argument >= 2**63:
                raise Malformed("canonical CBOR: integer below -2**63")
            return -1 - argument, at
        if initial < _ARRAY:
            end = at + argument
            if end > self.size:
                raise Malformed("canonical CBOR: string runs past the end")
            return (data[at:end] if initial < _TEXT else str(data[at:end], "utf-8")), end
        if initial < 0xC0:
            if not depth:
                raise Malformed("canonical CBOR: nested too deeply")
            # Each item takes a byte at least, so a false count fails here and not after a long loop.
            self.left -= argument if initial < _MAP else 2 * argument
            if self.left < 0 or argument > self.size - at:
                raise Malformed("canonical CBOR: too many items")
            return self._array(at, argument, depth - 1) if initial < _MAP else self._map(at, argument, depth - 1)
        if initial in _SIMPLE:
            return _SIMPLE[initial], at
        raise Malformed("canonical CBOR: tags, floats and other simple values are not allowed")

    def _long_argument(self, initial: int, at: int) -> tuple[int, int]:
        """An argument of 1, 2, 4 or 8 bytes that would not fit into fewer (RFC 8949 4.2.1)."""
        info = initial & 31
        if info > 27 or initial >= 0xE0:
            raise Malformed("canonical CBOR: indefinite lengths, floats and reserved bytes are not allowed")
        if info == 24:
            argument = self.data[at]
            if argument < 24:
                raise Malformed("canonical CBOR: not in shortest form")
            return argument, at + 1
        width = 1 << info - 24
        end = at + width
        if end > self.size:
            raise Malformed("canonical CBOR: ends too early")
        argument = int.from_bytes(self.data[at:end], "big")
        if not argument >> 4 * width:
            raise Malformed("canonical CBOR: not in shortest form")
        return argument, end

    def _array(self, at: int, count: int, depth: int) -> tuple[Value, int]:
        items: list[Value] = []
        for _ in range(count):
            value, at = self.item(at, depth)
            items.append(value)
        return items, at

    def _map(self, at: int, count: int, depth: int) -> tuple[Value, int]:
        data = self.data
        fields: dict[int | str, Value] = {}
        last = b""
        for _ in range(count):
            start = at
            initial = data[at]
            key: Value
            if initial < 24:
                key = initial
                at += 1
            elif initial < 0x40 or _TEXT <= initial < _ARRAY:
                key, at = self.item(at, 0)
            else:
                raise Malformed("canonical CBOR: map keys are integers or text")
            raw = data[start:at]
            if raw <= last:
                raise Malformed("canonical CBOR: map keys out of order or twice")
            last = raw
            fields[key], at = self.item(at, depth)  # type: ignore[index]
        return fields, at
