"""What a shape is made of: the kinds of its values (shapes.py)."""

from collections.abc import Mapping
from typing import Any, Final

Shape = Mapping[str, "str | tuple[Shape, ...]"]
"""Key -> kind, or a tuple with the one shape every element of a list has."""

Result = Mapping[str, Any]

TEXT: Final = "text"
MAYBE_TEXT: Final = "text?"
NUMBER: Final = "number"
MAYBE_NUMBER: Final = "number?"
SWITCH: Final = "true or false"
TEXTS: Final = "list of text"
NUMBERS: Final = "list of number"
OBJECT: Final = "object"
REAL: Final = "real number"
