"""Processes that learn side by side take one step, and stop together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from kintsugi.training.crew import agree, average_gradients, join

WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import conftest
import torch
from torch import nn
from kintsugi.training.crew import agree, average_gradients, join, leave

torch.set_num_threads(1)
rank = join()
network = nn.Linear(2, 1, bias=False)
network.weight.grad = torch.tensor([[1.0 + rank, 10.0 * rank]])
average_gradients(network)
said = agree(5.0 + rank)
Path(sys.argv[1], str(rank)).write_text(str([*network.weight.grad[0].tolist(), said]))
leave()
"""


def test_alone_nothing_changes(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    network = nn.Linear(2, 1)
    network.weight.grad = torch.tensor([[1.0, 2.0]])
    assert join() == 0
    average_gradients(network)
    assert network.weight.grad.tolist() == [[1.0, 2.0]]
    assert agree(3.25) == 3.25


@pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="this torch has no gloo",
)
def test_two_processes_share_gradients_and_the_first_one_s_clock(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = subprocess.run(
        [*launch, str(script), str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    for rank in ("0", "1"):
        assert (tmp_path / rank).read_text() == "[1.5, 5.0, 5.0]"
