"""That a GPU trains as a CPU does. `pytest -m gpu` runs these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from tests.sdk.footage import carphone
from tests.training.folders import folder_of, tiny_run
from tests.training.test_train import _train_until, rows
from tests.training.worlds import TINY, small_pairs
from training.batches import moved
from training.distributed import Place
from training.losses import LossWeights
from training.networks.two_stream import TwoStream
from training.objectives import ClipObjective
from training.train import train

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _whole_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in fp32 as it is: by default a GPU leaves out 13 bits of 23."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def test_a_step_has_the_cpus_loss_and_gradient(tmp_path: Path) -> None:
    batch = default_collate([small_pairs(tmp_path).pair(number) for number in range(2)])
    losses, gradients = [], []
    for device in (torch.device("cpu"), CUDA):
        torch.manual_seed(0)
        network = TwoStream(TINY).to(device)
        loss, _ = ClipObjective(LossWeights(), bf16=False)(network, moved(batch, device))
        loss.backward()
        losses.append(loss.item())
        gradients.append({n: p.grad.cpu() for n, p in network.named_parameters() if p.grad is not None})
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert gradients[0].keys() == gradients[1].keys()
    whole = torch.cat([gradient.flatten() for gradient in gradients[0].values()])
    away = torch.cat([(gradients[1][name] - value).flatten() for name, value in gradients[0].items()])
    assert float(away.norm() / whole.norm()) < 1e-3


def test_a_gpu_computes_in_bf16_unless_told_otherwise() -> None:
    here = Place(0, 1, CUDA)
    assert here.computes_in_bf16("auto")
    assert not here.computes_in_bf16("fp32")


def test_a_run_that_was_cut_off_on_a_gpu_goes_on(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data", real=carphone(), fake=carphone(), each=5)
    asked = {"device": "cuda", "clips": {"steps": 3}}
    train(tiny_run(data, tmp_path / "whole", **asked))
    broken = tiny_run(data, tmp_path / "cut", **asked)
    _train_until(broken, 3)
    train(broken)
    whole, cut = rows(tmp_path / "whole"), rows(tmp_path / "cut")
    assert [row["step"] for row in cut] == [row["step"] for row in whole]
    # gradients are added up in no fixed order there, so it is not the same to the bit
    assert [row["loss"] for row in cut] == pytest.approx([row["loss"] for row in whole], rel=1e-2)
    assert np.isfinite([row["loss"] for row in cut]).all()
