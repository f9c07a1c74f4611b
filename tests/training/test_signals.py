"""Signals during training."""

from __future__ import annotations

import signal

import pytest

from tightbound.training.signals import stop_on_signals


def test_one_signal_asks_and_the_second_acts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signals() as flag:
        assert flag.raised is None
        signal.raise_signal(signal.SIGINT)
        assert flag.raised is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_that_is_passed_on_to_a_process_that_had_it_does_not_cut_its_checkpoint_off() -> None:
    """As where a batch system ends all processes of a job, and torchrun or a sweep passes it on."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with stop_on_signals() as flag:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert flag.raised is signal.SIGTERM
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals() as flag:
            signal.raise_signal(signal.SIGINT)
            assert flag.raised is None
    finally:
        signal.signal(signal.SIGINT, before)
