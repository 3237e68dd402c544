from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from training.data.manifest import Clip
from training.provenance import data_digest


def world(folder: Path) -> list[Clip]:
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.mp4").write_bytes(name.encode() * 200_000)
    real = Clip(folder / "a.mp4", "train", fake=False)
    return [real, Clip(folder / "b.mp4", "train", fake=True, pair=real.path)]


def test_a_copy_elsewhere_with_other_times_has_the_same_digest(tmp_path: Path) -> None:
    first, second = world(tmp_path / "here"), world(tmp_path / "there")
    os.utime(second[0].path, (1, 1))
    assert data_digest(first, tmp_path / "here") == data_digest(second, tmp_path / "there")


def test_a_label_a_split_or_a_byte_near_either_end_changes_it(tmp_path: Path) -> None:
    clips = world(tmp_path / "here")
    digests = {data_digest(clips, tmp_path / "here")}
    digests.add(data_digest([replace(clips[0], split="val"), clips[1]], tmp_path / "here"))
    digests.add(data_digest([replace(clips[0], fake=True), clips[1]], tmp_path / "here"))
    digests.add(data_digest(clips[:1], tmp_path / "here"))
    for place in (5, 199_990):
        shutil.copy(clips[0].path, tmp_path / "kept")
        with clips[0].path.open("r+b") as file:
            file.seek(place)
            file.write(b"x")
        digests.add(data_digest(clips, tmp_path / "here"))
        shutil.copy(tmp_path / "kept", clips[0].path)
    assert len(digests) == 6
