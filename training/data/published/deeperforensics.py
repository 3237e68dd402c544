"""DeeperForensics-1.0: actors' faces put onto the sequences of FaceForensics++.

    manipulated_videos/{end_to_end,reenact_postprocess,end_to_end_level_1..5,..}/<target>_<actor>.mp4
    lists/splits/{train,val,test}.txt
    source_videos/

The publisher says that its `source_videos`, the actors before a wall, are not the real side of the task; they are
passed over. The real side are the targets, FaceForensics++'s own c23 videos, which its terms forbid to hand on: they
are read from `originals`, or from a folder or link `original_sequences` in this tree. Each is in the split of the
fake that was made from it. No actor is in two splits, and no target is; but a target of the official test part may
be in FaceForensics++'s train part.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from training.data.manifest import Clip, Split
from training.data.published.faceforensics import SPLITS, compression_of, sequences_of
from training.data.published.tree import Listing, Tree, video_folder, videos_in

END_TO_END = "end_to_end"
"""The swaps themselves; the other folders hold the same ones disturbed or otherwise finished."""


def deeperforensics(tree: Tree) -> Listing:
    """All versions that are there of the 1,000 swaps, and their targets, in the official split."""
    videos = tree.root / "manipulated_videos"
    folders = sorted(videos.iterdir()) if videos.is_dir() else []
    versions = [folder for folder in folders if videos_in(video_folder(folder))]
    reals = _originals(tree)
    clips = []
    for split in SPLITS:
        for name in _swaps(tree.root, split):
            target, _, actor = name.partition("_")
            real = None if reals is None else reals / f"{target}.mp4"
            if real is not None:
                clips.append(Clip(real, split, fake=False, identity=target))
            clips += [
                Clip(
                    video_folder(folder) / f"{name}.mp4",
                    split,
                    fake=True,
                    generator=folder.name,
                    pair=real,
                    identity=target,
                    donor=actor,
                )
                for folder in versions
            ]
    absent = [] if versions else [f"{videos}: no videos"]
    if reals is None:
        absent.append(
            "the real videos: FaceForensics++'s original_sequences/youtube/c23; link its original_sequences into "
            f"{tree.root}, or say where it is (dmcl manifest --originals)"
        )
    return Listing(clips, tuple(absent))


def _originals(tree: Tree) -> Path | None:
    for root in (tree.originals, tree.root):
        if root is not None and (root / "original_sequences" / "youtube").is_dir():
            return sequences_of(root, compression_of(Tree(root, compression=tree.compression)))
    return None


def _swaps(root: Path, split: Split) -> list[str]:
    path = root / "lists" / "splits" / f"{split}.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there; it comes with DeeperForensics-1.0, in its folder lists"
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    return [PurePosixPath(line.strip()).stem for line in lines if line.strip()]
