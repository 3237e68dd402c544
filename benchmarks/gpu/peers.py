"""Networks of other systems on the same card, by PyTorch, in half precision and channels last: in their favour."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.export_peers import PEERS, Peer
from benchmarks.gpu.rows import Bench, median_s


def measure(bench: Bench) -> None:
    """One after the other."""
    for peer in PEERS[1:2] if bench.quick else PEERS:
        bench.attempt("peers", peer.name, _peer, peer)


def _peer(bench: Bench, peer: Peer) -> None:
    gpu = bench.provider == "cuda"
    batch, kind = (8, torch.float16) if gpu else (1, torch.float32)
    layout = torch.channels_last if len(peer.shape) == 4 else torch.channels_last_3d
    torch.manual_seed(0)
    with torch.device(bench.provider):
        network = peer.network().eval().to(dtype=kind, memory_format=layout)  # type: ignore[call-overload]
    inputs = torch.randn(batch, *peer.shape[1:], device=bench.provider, dtype=kind)

    def answered(inputs: torch.Tensor) -> None:
        with torch.inference_mode():
            network(inputs).float().cpu()

    took = median_s(partial(answered, inputs.contiguous(memory_format=layout))) / batch
    used = {"runs_a_second": peer.per_second, "runs_a_video": peer.per_video}
    told = {name: count for name, count in used.items() if count is not None}
    total = took * (peer.per_second or peer.per_video or 1)
    bench.note("peers", peer=peer.name, batch=batch, ms_a_run=1000 * took, **told, s_in_all=total)
