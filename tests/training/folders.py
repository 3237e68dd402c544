"""Folders of videos as a user brings them, and runs over them that take seconds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.sdk.footage import carphone
from tests.training.worlds import TINY
from training.config import TrainConfig

NETWORK = asdict(TINY)


def tinted(path: Path, *, frames: int = 60, green: int = 60) -> Path:
    """The talking face with a green cast: a forgery that a tiny network can learn in a few steps."""
    with av.open(carphone()) as source, av.open(path, "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"crf": "18", "preset": "ultrafast"})
        shown = source.streams.video[0]
        stream.height, stream.width, stream.pix_fmt = shown.height, shown.width, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == frames:
                break
            rgb = frame.to_ndarray(format="rgb24").astype(np.int16)
            rgb[..., 1] += green
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.clip(rgb, 0, 255).astype(np.uint8), "rgb24")))
        out.mux(stream.encode())
    return path


def folder_of(folder: Path, *, real: Path, fake: Path, each: int = 1) -> Path:
    """`real/` and `fake/` with so many names for the same two videos, each fake named after a real."""
    for label, video in (("real", real), ("fake", fake)):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            (folder / label / f"person{number}{'_swapped' * (label == 'fake')}.mp4").symlink_to(video)
    return folder


def tiny_run(data: Path, out: Path, **changes: Any) -> TrainConfig:  # noqa: ANN401 - any table or value
    """Two pictures' steps and two clips' steps of a tiny network."""
    tables: dict[str, Any] = {
        "pictures": {"steps": 2, "pairs": 2},
        "clips": {"steps": 2, "pairs": 2, "frames": 16},
        "tensorboard": {"every": 0},
        "network": {},
    }
    for name, table in tables.items():
        tables[name] = table | changes.pop(name, {})
    tables["network"] = NETWORK | tables["network"]
    plain = {
        "data": data, "cache": data.parent / "cache", "out": out, "workers": 0, "checkpoint_every": 1,
        "precision": "fp32", "device": "cpu",
    }  # fmt: skip
    return TrainConfig.model_validate(plain | tables | changes)


def as_toml(config: TrainConfig) -> str:
    """A configuration as the file that a user would write."""
    lines, tables = [], []
    for key, value in config.model_dump(mode="json", exclude_none=True).items():
        if isinstance(value, dict):
            tables.append(f"[{key}]\n" + "".join(f"{k} = {_toml(v)}\n" for k, v in value.items()))
        else:
            lines.append(f"{key} = {_toml(value)}\n")
    return "".join(lines) + "\n".join(tables)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)
