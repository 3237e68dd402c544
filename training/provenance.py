"""What a run was made of: code, packages, data and device, so that its result can be traced."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from training.data.manifest import Clip
from training.data.packs import inside_of, is_pack, read_pack
from training.distributed import Place

_PACKAGES = ("dmcl-sdk", "torch", "numpy", "opencv-python-headless", "av", "onnxruntime", "safetensors")
_ENDS = 1 << 16


def data_digest(clips: Iterable[Clip], root: Path, others: Iterable[Path] = ()) -> str:
    """SHA-256 of what is trained on: labels, relative paths, sizes, and the contents' two ends.

    The same for a copy elsewhere; another one when a file, a label or a split changes. Of each video only the first
    and last 64 KiB are read: sets are large. A pack says its contents' digests.

    Args:
        clips: labelled videos.
        root: what paths are relative to.
        others: other files that matter, such as a list of photographs, or the pack that holds them.
    """
    folder = root if root.is_dir() or is_pack(root) else root.parent

    def plain(value: object) -> str:
        return os.path.relpath(value, folder) if isinstance(value, Path) else str(value)

    lines = [
        json.dumps([asdict(clip), _contents(clip.path)], default=plain, sort_keys=True) for clip in clips
    ]
    lines += [
        read_pack(path).sha256 if is_pack(path) else json.dumps([path.name, _ends(path)]) for path in others
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def run_info(digest: str, place: Place) -> dict[str, Any]:
    """Code, packages, data and device of a run, for `run.json`.

    `git` is None outside a repository; `dirty` tells whether its files differ from the commit.
    """
    cuda = place.device.type == "cuda"
    return {
        "data_sha256": digest,
        "git": _git(Path(__file__).parent),
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name(place.device) if cuda else platform.processor() or "cpu",
        "cuda": torch.version.cuda if cuda else None,
        "processes": place.world,
        "threads": torch.get_num_threads(),
    }


def _contents(video: Path) -> list[str | int] | None:
    packed = inside_of(video)
    if packed is None:
        return _ends(video)
    coded = packed[0].crops_of(packed[1])
    return None if coded is None else [coded.frames, coded.sha256]


def _ends(path: Path) -> list[str | int]:
    size = path.stat().st_size
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_ENDS))
        file.seek(max(_ENDS, size - _ENDS))
        digest.update(file.read(_ENDS))
    return [size, digest.hexdigest()]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(folder: Path) -> dict[str, str | bool] | None:
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*question: str) -> str | None:
        answer = subprocess.run(  # noqa: S603 - git itself, with fixed questions
            [git, "-C", str(folder), *question], capture_output=True, text=True, check=False
        )
        return answer.stdout.strip() if answer.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    return None if commit is None else {"commit": commit, "dirty": bool(ask("status", "--porcelain", "-uno"))}
