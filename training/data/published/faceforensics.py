"""FaceForensics++, and what is downloaded with it: FaceShifter and DeepFakeDetection.

    original_sequences/{youtube,actors}/{raw,c23,c40}/videos/
    manipulated_sequences/{Deepfakes,Face2Face,FaceSwap,NeuralTextures,FaceShifter,DeepFakeDetection}/{..}/videos/
    splits/{train,val,test}.json

The lists come from the project's repository, not with the videos; they may also lie beside the two folders. A fake
`003_000` shows sequence 003 with the face or expression of 000. Masks and extracted pictures are passed over.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from training.data.manifest import Clip, Split
from training.data.published.tree import Listing, Tree, read_json, videos_in

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
FACESHIFTER = "FaceShifter"
DEEPFAKEDETECTION = "DeepFakeDetection"
COMPRESSIONS = ("raw", "c0", "c23", "c40")
SPLITS: tuple[Split, ...] = ("train", "val", "test")
_LOSSLESS = {"raw": "c0", "c0": "raw"}  # the first release called it c0
_log = logging.getLogger(__name__)


def faceforensics(tree: Tree) -> Listing:
    """The four manipulations that the benchmark began with, and the 1,000 sequences, in the official split."""
    return _sequences(tree, METHODS)


def faceshifter(tree: Tree) -> Listing:
    """FaceShifter's fakes of the same sequences, in the same split."""
    return _sequences(tree, (FACESHIFTER,))


def deepfakedetection(tree: Tree) -> Listing:
    """DeepFakeDetection: 28 actors; without a published split, so all of it is `test`, as papers use it."""
    level = compression_of(tree)
    reals = tree.root / "original_sequences" / "actors" / level / "videos"
    fakes = tree.root / "manipulated_sequences" / DEEPFAKEDETECTION / level / "videos"
    clips = [Clip(file, "test", fake=False, identity=file.stem.split("__")[0]) for file in videos_in(reals)]
    for file in videos_in(fakes):  # 01_02__scene__ABCDEFGH: actor 01 in the scene, with the face of 02
        people, _, rest = file.stem.partition("__")
        shown, _, donor = people.partition("_")
        pair = reals / f"{shown}__{rest.rpartition('__')[0]}.mp4"
        clips.append(
            Clip(file, "test", fake=True, generator=DEEPFAKEDETECTION, pair=pair, identity=shown, donor=donor)
        )
    return Listing(clips, tuple(f"{folder}: no videos" for folder in (reals, fakes) if not videos_in(folder)))


def sequences_of(folder: Path, level: str) -> Path:
    """Where the real sequences of a FaceForensics++ tree lie."""
    return folder / "original_sequences" / "youtube" / level / "videos"


def sequences(root: Path, split: Split) -> frozenset[str]:
    """The names of the real sequences of a part, by FaceForensics++'s official lists."""
    return frozenset(name for pair in _pairs(root, split) for name in pair)


def compression_of(tree: Tree) -> str:
    """The folder name of the compression that is wanted; c23 unless another is asked for, or is the only one.

    Raises:
        FileNotFoundError: it is not there; the message says which are.
    """
    there = [level for level in COMPRESSIONS if any(tree.root.glob(f"*_sequences/*/{level}"))]
    wanted = tree.compression or ("c23" if len(there) != 1 else there[0])
    level = wanted if wanted in there else _LOSSLESS.get(wanted, wanted)
    if level not in there:
        raise FileNotFoundError(
            f"{tree.root}: no videos compressed as {wanted} (original_sequences/*/{wanted}); "
            f"there are {', '.join(there) or 'none at all'}"
        )
    if tree.compression is None and level != "c23":
        _log.warning("%s: read as %s, the only compression there", tree.root, level)
    return level


def _sequences(tree: Tree, methods: Sequence[str]) -> Listing:
    level, clips = compression_of(tree), []
    reals = sequences_of(tree.root, level)
    for split in SPLITS:
        for one, other in _pairs(tree.root, split):
            for shown, donor in ((one, other), (other, one)):
                real = reals / f"{shown}.mp4"
                clips.append(Clip(real, split, fake=False, identity=shown))
                for method in methods:
                    videos = tree.root / "manipulated_sequences" / method / level / "videos"
                    fake = videos / f"{shown}_{donor}.mp4"
                    clips.append(
                        Clip(fake, split, fake=True, generator=method, pair=real, identity=shown, donor=donor)
                    )
    return Listing(clips)


def _pairs(root: Path, split: Split) -> list[tuple[str, str]]:
    places = [folder / f"{split}.json" for folder in (root, root / "splits", root / "dataset" / "splits")]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"{root}: FaceForensics++'s split lists train.json, val.json and test.json are not there; take them from "
            f"github.com/ondyari/FaceForensics, dataset/splits, and put them in {root / 'splits'}"
        )
    rows = read_json(found)
    if not isinstance(rows, list) or any(not isinstance(row, list) or len(row) != 2 for row in rows):
        raise ValueError(f"{found}: a split list is a list of pairs of sequences")
    return [(str(one), str(other)) for one, other in rows]
