"""LAV-DF and AV-Deepfake1M: a few words of a talk made anew, in picture, in sound, or in both.

    LAV-DF          metadata.min.json (or metadata.json), {train,dev,test}/000123.mp4
    AV-Deepfake1M   {train,val}_metadata.json, {train,val}/<speaker>/<video>/<clip>/{real,fake_video_..}.mp4

The detector sees pictures alone: a video whose sound only was changed counts as real here, and spans are those of the
picture. So figures are not those of papers that count every change. The test part of AV-Deepfake1M has no published
labels and is not read; its `val` is what there is to evaluate on. Its later edition (++), with the folders of three
sources, is read as well.

In AV-Deepfake1M's lists some rows of changed sound carry a picture's spans, copied from the sound's; `modify_type` is
what counts. Rows that say the picture was changed, but at no time of any length, are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from dmcl_sdk.segment import Segment
from training.data.manifest import Clip, Split
from training.data.published.tree import Listing, Tree, read_json

Row = dict[str, Any]
LAV_DF_LISTS = ("metadata.min.json", "metadata.json")
AV_DEEPFAKE1M_LISTS: dict[Split, str] = {"train": "train_metadata.json", "val": "val_metadata.json"}
_SPLITS: dict[str, Split] = {"train": "train", "dev": "val", "test": "test"}
_CORPORA = frozenset({"vox_celeb_2", "lrs3", "silent_videos"})
_log = logging.getLogger(__name__)


def lav_df(tree: Tree) -> Listing:
    """LAV-DF in its official split, `dev` as `val`. Who speaks is not published."""
    path = next((tree.root / name for name in LAV_DF_LISTS if (tree.root / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{tree.root / LAV_DF_LISTS[0]} is not there; it comes with LAV-DF")
    clips, rows = [], _rows(path)
    for row in rows:
        if row.get("split") not in _SPLITS:
            raise ValueError(f"{path}: {row['file']}: split is train, dev or test, got {row.get('split')!r}")
        split = _SPLITS[row["split"]]
        if not row["modify_video"]:
            clips.append(Clip(tree.root / row["file"], split, fake=False))
        elif spans := _spans(row["fake_periods"]):
            original = row.get("original")
            pair = tree.root / original if original else None
            clips.append(
                Clip(tree.root / row["file"], split, fake=True, generator="LAV-DF", pair=pair, spans=spans)
            )
    _say_left_out(path, len(rows) - len(clips))
    return Listing(clips)


def av_deepfake1m(tree: Tree) -> Listing:
    """AV-Deepfake1M, the labelled parts that are there; a clip's identity is its speaker, or its source video."""
    clips: list[Clip] = []
    for split, name in AV_DEEPFAKE1M_LISTS.items():
        if (tree.root / name).is_file():
            clips += _part(tree.root, split, tree.root / name)
    if not clips:
        raise FileNotFoundError(f"{tree.root}: none of {', '.join(AV_DEEPFAKE1M_LISTS.values())} is there")
    return Listing(clips)


def _part(root: Path, split: Split, path: Path) -> list[Clip]:
    clips, rows = [], _rows(path)
    folder = root / split if (root / split).is_dir() else root
    for row in rows:
        kind = str(row["modify_type"]).replace("-", "_")
        video, person = folder / row["file"], _speaker(PurePosixPath(row["file"]))
        if kind in {"real", "audio_modified"}:
            clips.append(Clip(video, split, fake=False, identity=person))
        elif kind not in {"visual_modified", "both_modified"}:
            raise ValueError(f"{path}: {row['file']}: unknown modify_type {row['modify_type']!r}")
        elif spans := _spans(row.get("visual_fake_segments") or row.get("fake_segments") or ()):
            original = row.get("original")
            pair = folder / original if original else None
            generator = str(row.get("video_model") or "AV-Deepfake1M")
            clips.append(
                Clip(video, split, fake=True, generator=generator, pair=pair, identity=person, spans=spans)
            )
    _say_left_out(path, len(rows) - len(clips))
    return clips


def _rows(path: Path) -> list[Row]:
    rows = read_json(path)
    if not isinstance(rows, list) or any(not isinstance(row, dict) or "file" not in row for row in rows):
        raise ValueError(f"{path}: expected a list of rows with a file each")
    return rows


def _spans(periods: Iterable[tuple[float, float]]) -> tuple[Segment, ...]:
    """Periods in seconds; those of no length, where words were cut out, show nothing that was made."""
    return tuple(Segment(max(0.0, start), end) for start, end in sorted(periods) if end > max(0.0, start))


def _speaker(file: PurePosixPath) -> str:
    """`id00012` of id00012/video/clip/real.mp4; with its source where there are several."""
    parts = file.parts
    if parts[0] not in _CORPORA:
        return parts[0]
    who = "_".join(parts[1].split("_")[:2]) if parts[0] == "silent_videos" else parts[1]  # subject_17_..
    return f"{parts[0]} {who}"


def _say_left_out(path: Path, count: int) -> None:
    if count:
        _log.warning("%s: left out %d videos whose picture was changed, but at no known time", path, count)
