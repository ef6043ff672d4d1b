"""The plan: the most specific name wins, crypto stays, and what is weaker is found for every class."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Misuse
from tallystick.gate.plan import DEFAULT_LAYERS, MAX_RESOLVED, Plan, plan_of, read_plan, settle, weaker
from tallystick.gate.question import Layer

ALL = frozenset(Layer)
parts = st.sampled_from(["sensor", "camera", "front", "feed", "x"])
classes = st.lists(parts, min_size=1, max_size=3).map("/".join)
layer_sets = st.sets(st.sampled_from([layer.value for layer in Layer if layer is not Layer.CRYPTO])).map(lambda more: ["crypto", *more])
plans = st.dictionaries(classes | st.just("default"), layer_sets, max_size=6).map(lambda words: plan_of(words, built=ALL))


def test_the_most_specific_name_wins() -> None:
    plan = read_plan({"sensor": "crypto", "sensor/camera/front": "crypto"})
    short, full = (Layer.CRYPTO,), DEFAULT_LAYERS
    plan = plan_of({"sensor": ["crypto"], "sensor/camera": ["crypto", "deterministic"]})
    assert [plan.resolve(each) for each in ("sensor", "sensor/radar", "sensor/camera", "sensor/camera/front", "sensors", "feed")] == [
        short,
        short,
        full,
        full,
        full,
        full,
    ]


def test_layers_stand_in_their_own_order() -> None:
    assert read_plan({"default": "deterministic,crypto"}).resolve("feed") == (Layer.CRYPTO, Layer.DETERMINISTIC)


@pytest.mark.parametrize("layers", ["", "deterministic", "crypto,", "crypto,crypto", "crypto,sensory", "Crypto", "crypto;deterministic"])
def test_no_plan_without_crypto_or_with_what_is_not_there(layers: str) -> None:
    with pytest.raises(Misuse):
        read_plan({"default": layers})


def test_an_open_list_of_classes_fills_no_memory() -> None:
    plan = read_plan({})
    for number in range(2 * MAX_RESOLVED):
        plan.resolve(f"class-{number}")
    assert len(plan._resolved) <= MAX_RESOLVED


@given(plans, plans, classes)
def test_weaker_says_what_looking_at_every_class_says(old: Plan, new: Plan, signal_class: str) -> None:
    """If nothing is called weaker, no class has lost a layer; and each name that is called weaker has."""
    found = weaker(old, new)
    for name in found:
        assert not set(new.resolve(name)) >= set(old.resolve(name))
    if not found:
        assert set(new.resolve(signal_class)) >= set(old.resolve(signal_class))


@given(plans)
def test_a_plan_is_read_back_from_its_words(plan: Plan) -> None:
    assert plan_of(plan.words(), built=ALL) == plan
    assert weaker(plan, plan) == ()


def test_what_is_configured_strengthens_and_never_weakens() -> None:
    weak, strong = plan_of({"cron": ["crypto"]}), read_plan({})
    assert settle(None, {"cron": "crypto"}).plan == weak
    assert settle(None, {}).changed and settle(None, {}).plan == strong
    kept = settle(strong, {"cron": "crypto"})
    assert (kept.plan, kept.changed, kept.not_taken) == (strong, False, ("cron",))
    assert settle(weak, {}).plan == weak and not settle(weak, {}).changed
    assert settle(weak, {"default": "crypto,deterministic"}).changed
    assert not settle(weak, {"cron": "crypto"}).changed
