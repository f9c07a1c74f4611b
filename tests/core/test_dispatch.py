"""Functions that dispatch on a type, and cached properties."""

from __future__ import annotations

from torch import Tensor

from tightbound.core.dispatch import Dispatched, cached


def test_a_method_is_chosen_by_the_nearest_class() -> None:
    @Dispatched
    def size(x: object) -> str:
        return "any"

    @size.register
    def _(x: int) -> str:
        return "int"

    assert (size(1.0), size(1), size(True)) == ("any", "int", "int")
    assert size.default(True) == "any"


def test_a_cached_property_is_computed_once() -> None:
    class Holder:
        calls = 0

        @cached
        def value(self) -> Tensor | None:
            self.calls += 1
            return None

    holder = Holder()
    assert holder.value is holder.value is None
    assert holder.calls == 1
