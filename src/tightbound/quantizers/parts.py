"""Quantizers that others are made of."""

from __future__ import annotations

from tightbound.components import make
from tightbound.core.errors import InputError
from tightbound.quantizers.base import Quantizer


def as_quantizer(given: Quantizer | str) -> Quantizer:
    """A quantizer, as an object or as text.

    Raises:
        InputError: neither.
    """
    found = make("quantizer", given) if isinstance(given, str) else given
    if not isinstance(found, Quantizer):
        raise InputError(f"of = {given!r}; needed: a quantizer, such as of='vq(codebook_size=256)'")
    return found
