"""The plan: which layers judge which class (DESIGN 8; docs/spec/gate.md, section 2).

    plan = read_plan({"default": "crypto,deterministic", "sensor/camera": "crypto,sensory,deterministic"})
    plan.resolve("sensor/camera/front")     # the most specific name wins: the layers of `sensor/camera`

crypto is in every plan: the one who turned it off would believe anybody. A layer that this program does not have is an error and not
a layer less.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tallystick.errors import Misuse
from tallystick.gate.question import Layer

DEFAULT: Final = "default"
BUILT: Final = frozenset((Layer.CRYPTO, Layer.DETERMINISTIC))
"""The layers this program has. An extra that brings one more says so when it makes its plan."""

DEFAULT_LAYERS: Final = (Layer.CRYPTO, Layer.DETERMINISTIC)
MAX_NAMES: Final = 256
MAX_RESOLVED: Final = 4_096  # classes whose layers are remembered; an open list of words must not fill the memory
_ORDER: Final = {layer: place for place, layer in enumerate(Layer)}
_CLASS: Final = re.compile(r"[a-z][a-z0-9-]{0,31}(/[a-z0-9][a-z0-9-]{0,31}){0,2}")

Layers = tuple[Layer, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Layers by the name of a class, `default` among them. Made by `read_plan` and `plan_of`."""

    layers: Mapping[str, Layers]
    _resolved: dict[str, Layers] = field(default_factory=dict, repr=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and dict(self.layers) == dict(other.layers)

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.layers.items())))

    def resolve(self, signal_class: str) -> Layers:
        """The layers that judge a class: of its own name, else of what it inherits from, else `default`."""
        found = self._resolved.get(signal_class)
        if found is None:
            found = self.layers[self.name_for(signal_class)]
            if len(self._resolved) >= MAX_RESOLVED:
                self._resolved.clear()
            self._resolved[signal_class] = found
        return found

    def name_for(self, signal_class: str) -> str:
        """The name in the plan that decides about a class."""
        name = signal_class
        while name not in self.layers:
            name, _, _ = name.rpartition("/")
            if not name:
                return DEFAULT
        return name

    def words(self) -> dict[str, tuple[str, ...]]:
        """As a `plan` event holds it."""
        return {name: tuple(layer.value for layer in layers) for name, layers in sorted(self.layers.items())}


def read_plan(written: Mapping[str, str], *, built: Collection[Layer] = BUILT) -> Plan:
    """A plan as people write it: `default` or a class, then layers with commas between.

    Raises: Misuse: a name or layer that cannot be, a layer that is not built, or a plan without crypto; it names what is wrong.
    """
    return plan_of({name: [word.strip() for word in text.split(",")] for name, text in written.items()}, built=built)


def plan_of(words: Mapping[str, Sequence[str]], *, built: Collection[Layer] = BUILT) -> Plan:
    """A plan from words, as a `plan` event or statement holds it. Raises: Misuse, as `read_plan`."""
    if len(words) > MAX_NAMES - 1:
        raise Misuse(f"a plan has at most {MAX_NAMES - 1} names")
    layers: dict[str, Layers] = {DEFAULT: DEFAULT_LAYERS}
    for name, listed in words.items():
        if not _CLASS.fullmatch(name):
            raise Misuse(f"{name[:80]!r} is no class", "`default`, or a class like sensor or sensor/camera")
        layers[name] = _layers(name, listed, built)
    return Plan(layers)


def weaker(old: Plan, new: Plan) -> tuple[str, ...]:
    """The names for whose classes `new` lacks a layer that `old` has; empty: it is nowhere weaker.

    Every class is decided, in both plans, by the most specific name of the two that fits it: looking at all names is looking at
    all classes.
    """
    names = sorted({*old.layers, *new.layers})
    return tuple(name for name in names if not set(new.resolve(name)) >= set(old.resolve(name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The plan a start goes on with. `changed`: it is not the recorded one, and is recorded.

    `not_taken`: the names for which what is configured is weaker than the record: the record goes on.
    """

    plan: Plan
    changed: bool = False
    not_taken: tuple[str, ...] = ()


def settle(recorded: Plan | None, written: Mapping[str, str]) -> Settled:
    """The effective plan at a start.

    What is configured is taken where it is nowhere weaker than what the ledger holds. To weaken a plan is a human's to sign
    (`gate.plan`): whoever can write the environment of a process is not the one who decides whom the house believes.
    Raises: Misuse: as `read_plan`.
    """
    if recorded is None:
        return Settled(plan=read_plan(written), changed=True)
    if not written:
        return Settled(plan=recorded)
    configured = read_plan(written)
    less = weaker(recorded, configured)
    if less:
        return Settled(plan=recorded, not_taken=less)
    return Settled(plan=configured, changed=configured != recorded)


def _layers(name: str, listed: Sequence[str], built: Collection[Layer]) -> Layers:
    found: list[Layer] = []
    for word in listed:
        if word not in _ORDER:
            raise Misuse(f"layers of {name}: no layer is called {word[:40]!r}", f"layers are {', '.join(_ORDER)}")
        layer = Layer(word)
        if layer not in built:
            raise Misuse(
                f"layers of {name}: the layer {word} is not in this program",
                f"it has {', '.join(each.value for each in Layer if each in built)}",
            )
        if layer in found:
            raise Misuse(f"layers of {name}: {word} stands twice")
        found.append(layer)
    if Layer.CRYPTO not in found:
        raise Misuse(f"layers of {name}: crypto is missing", "crypto cannot be turned off: begin with crypto")
    return tuple(sorted(found, key=_ORDER.__getitem__))
