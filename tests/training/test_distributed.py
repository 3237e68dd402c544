from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from tests.sdk.footage import carphone
from tests.training.folders import as_toml, folder_of, tiny_run
from training.batches import share
from training.distributed import Place, SyncedBatchNorm, processes, shared, sync_norms, together
from training.train import train

CPU = torch.device("cpu")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of one: what is summed over it stays as it is."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_processes_take_whole_pairs_and_together_what_one_would_take() -> None:
    shares = [share(2, 5, 4, Place(rank, 2, CPU)) for rank in range(2)]
    assert shares == [[8, 9, 12, 13, 16, 17], [10, 11, 14, 15, 18, 19]]
    assert sorted(shares[0] + shares[1]) == share(2, 5, 4, Place(0, 1, CPU))


def test_bf16_is_taken_when_it_is_asked_for_or_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Place(0, 1, CPU)
    assert here.computes_in_bf16("bf16")
    assert not here.computes_in_bf16("fp32")
    for amx, avx512 in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=amx: has)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=avx512: has)
        assert here.computes_in_bf16("auto") == (amx or avx512)


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="3 pairs a step do not divide among 2 processes"):
        share(0, 1, 3, Place(0, 2, CPU))


@pytest.mark.usefixtures("group")
def test_a_synced_norm_is_a_batch_norm_forward_and_backward() -> None:
    torch.manual_seed(0)
    plain = torch.nn.BatchNorm2d(3, eps=1e-3, momentum=0.01)
    torch.nn.init.uniform_(plain.weight)
    synced = copy.deepcopy(plain)
    sync_norms(torch.nn.Sequential(synced), Place(0, 2, CPU))
    assert type(synced) is SyncedBatchNorm
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    weight = torch.randn(4, 3, 5, 5)
    (plain(x) * weight).sum().backward()
    (synced(other) * weight).sum().backward()
    assert x.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(x.grad, other.grad)
    torch.testing.assert_close(plain.weight.grad, synced.weight.grad)
    torch.testing.assert_close(plain.state_dict(), synced.state_dict())
    torch.testing.assert_close(plain.eval()(x), synced.eval()(x))


def test_one_process_alone_has_nothing_to_gather() -> None:
    x = torch.randn(2, requires_grad=True)
    assert together(x) is x
    assert torch.equal(shared(x), x)


def test_a_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="PyTorch finds no GPU"), processes("cuda"):
        pass


@pytest.mark.slow
def test_two_processes_take_the_steps_that_one_would_take(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data", real=carphone(), fake=carphone(), each=5)
    changes = {"clips": {"steps": 3}, "validation": {"every": 1, "pairs": 2}}
    train(tiny_run(data, tmp_path / "alone", **changes))
    (tmp_path / "run.toml").write_text(as_toml(tiny_run(data, tmp_path / "two", **changes)))
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom training.config import read_config\n"
        "from training.train import train\ntrain(read_config(Path(sys.argv[1]), []))\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*torchrun, str(script), str(tmp_path / "run.toml")], check=True, cwd=Path(__file__).parents[2]
    )
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("alone", "two")
    ]
    assert len(logs[0]) == len(logs[1])
    for one, two in zip(*logs, strict=True):
        assert one.pop("stage", None) == two.pop("stage", None)
        assert one == pytest.approx(two, rel=1e-5, abs=1e-5)
    first, second = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("alone", "two"))
    # Adam divides by the gradient's size: where that is almost nothing, rounding decides, by a tenth of a step
    for name in first:
        if name.startswith("network."):
            torch.testing.assert_close(first[name], second[name], rtol=1e-3, atol=1e-4)
