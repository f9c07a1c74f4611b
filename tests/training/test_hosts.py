"""Two hosts, simulated by two network namespaces of this machine, which find each other by address alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tightbound.training import checkpoint
from tightbound.training.folder import RunFolder

TRAIN = [
    "train",
    "digits",
    "--network",
    "mlp(hidden=(16,))",
    "--steps",
    "6",
    "--batch-size",
    "64",
    "--evaluate-samples",
    "0",
]


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


@pytest.fixture
def hosts() -> Iterator[list[tuple[str, str, str]]]:
    """The name, network interface and address of each host."""
    own = os.getpid()
    both = [(f"tb{own}{n}", f"v{own}{n}", f"10.77.0.{i}") for i, n in enumerate("ab", 1)]
    (a, first, _), (b, second, _) = both
    if shutil.which("ip") is None:
        pytest.skip("there is no command `ip`, which makes network namespaces")
    try:
        try:
            for name, _, _ in both:
                _run("ip", "netns", "add", name)
            _run("ip", "link", "add", first, "netns", a, "type", "veth", "peer", "name", second, "netns", b)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine makes no network namespaces here: {error.stderr.strip()}")
        for name, interface, address in both:
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", interface)
            for each in ("lo", interface):
                _run("ip", "-n", name, "link", "set", each, "up")
        yield both
    finally:
        for name, _, _ in both:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.mark.slow
def test_two_hosts_train_as_one_process_does(hosts: list[tuple[str, str, str]], tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run"]
    meeting = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{hosts[0][2]}:29577", "--rdzv-id", "one"]
    together = [
        subprocess.Popen(
            [
                *("ip", "netns", "exec", name, *launch, *meeting),
                *("--rdzv-conf", f"is_host={int(number == 0)}", "--local-addr", address),
                *("-m", "--", "tightbound", *TRAIN, "--run", str(tmp_path / "two")),
            ],
            env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": interface},
        )
        for number, (name, interface, address) in enumerate(hosts)
    ]
    try:
        assert [host.wait(120) for host in together] == [0, 0]
    finally:
        for host in together:
            host.kill()
    _run(sys.executable, "-m", "tightbound", *TRAIN, "--run", str(tmp_path / "one"))
    one, two = (checkpoint.load(RunFolder(tmp_path / run).checkpoint("last"))[0] for run in ("one", "two"))
    for name, expected in one.items():
        torch.testing.assert_close(two[name], expected, rtol=1e-4, atol=1e-6)
