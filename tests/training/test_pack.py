from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from typer.testing import CliRunner

from dmcl_sdk.faces import TEMPLATE
from dmcl_sdk.segment import Segment
from tests.made import make_video
from tests.training.folders import folder_of, tinted, tiny_run
from tests.training.worlds import TINY, drawn
from training.checkpoint import save_weights
from training.config import TrainConfig, checked
from training.data.clips import ClipPairs, Pair, read_photographs
from training.data.coding import decode, encode, psnr_db
from training.data.manifest import read_manifest
from training.data.packs import read_pack
from training.data.runs import cache_runs, margin_of, side_with_margin
from training.distributed import Place
from training.finetune import FinetuneConfig, finetune
from training.networks.two_stream import TwoStream
from training.pack import pack
from training.pack_command import command
from training.provenance import data_digest
from training.sources import read_clips
from training.train import load_pairs, train

HERE = Place(0, 1, torch.device("cpu"))
SIDE = side_with_margin(64)
ROWS = """file,split,label,generator,pair,identity,spans,rights
videos/man.mp4,train,real,,,1,,CC BY
videos/green.mp4,train,fake,greener,videos/man.mp4,1,0.25-1.5,CC BY
videos/empty.mp4,train,fake,greener,,3,,CC BY
elsewhere/../videos/other.mp4,val,real,,,2,,research
videos/unrelated.mp4,val,fake,other,videos/gone.mp4,4,,research
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of four videos with a face and one without, and photographs."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "videos").mkdir()
    (folder / "elsewhere").mkdir()
    man = tinted(folder / "videos" / "man.mp4", frames=40, green=0)
    (folder / "videos" / "other.mp4").symlink_to(man)
    tinted(folder / "videos" / "green.mp4", frames=40)
    (folder / "videos" / "unrelated.mp4").symlink_to(folder / "videos" / "green.mp4")
    (folder / "videos" / "empty.mp4").write_bytes(make_video(frames=8))
    (folder / "manifest.csv").write_text(ROWS)
    photographs(folder / "photographs.csv")
    return folder


@pytest.fixture(scope="module")
def packed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack, alone in its folder."""
    file = tmp_path_factory.mktemp("carried") / "set.zip"
    pack(of_videos(videos), file)
    return file


def photographs(path: Path) -> None:
    points = TEMPLATE * 64 + margin_of(64)
    names = [f"{point}_{axis}" for point in ("reye", "leye", "nose", "rmouth", "lmouth") for axis in "xy"]
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "split", "rights", *names])
        for number in range(4):
            cv2.imwrite(str(path.with_name(f"{number}.png")), drawn(1, SIDE, number)[0][..., ::-1])
            rows.writerow(
                [f"{number}.png", "val" * (number > 2) or "train", f"licence {number}", *points.flat]
            )


def of_videos(videos: Path, **changes: Any) -> TrainConfig:  # noqa: ANN401 - any table or value
    plain = {
        "data": videos / "manifest.csv", "out": videos / "out", "photographs": videos / "photographs.csv",
        "cache": videos / "cache",
    }  # fmt: skip
    return tiny_run(**plain | changes)


def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(command)
    return made


def rewritten(packed: Path, out: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of a pack whose members were changed."""
    with zipfile.ZipFile(packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out


def pairs_of(config: TrainConfig, split: str = "train") -> ClipPairs:
    return load_pairs(config, read_clips(config.data), HERE, split=split)


def test_labels_runs_and_photographs_come_out_as_they_went_in(
    videos: Path, packed: Path, tmp_path: Path
) -> None:
    before, after = read_clips(videos / "manifest.csv"), read_clips(packed)
    assert [clip.path.relative_to(packed).as_posix() for clip in after] == [
        "videos/man.mp4", "videos/green.mp4", "videos/empty.mp4", "videos/other.mp4", "videos/unrelated.mp4"
    ]  # fmt: skip
    for old, new in zip(before, after, strict=True):
        for field in ("split", "fake", "generator", "identity", "spans", "donor", "rights"):
            assert getattr(old, field) == getattr(new, field)
    assert after[1].pair == after[0].path
    assert after[1].spans == (Segment(0.25, 1.5),)
    assert after[4].pair == packed / "videos" / "gone.mp4"
    old_runs, new_runs = (
        list(cache_runs([clip.path for clip in clips], cache, size_px=64, workers=1))
        for clips, cache in ((before, videos / "cache"), (after, tmp_path))
    )
    assert [len(runs) for runs in new_runs] == [1, 1, 0, 1, 1]
    for was, now in zip(chain(*old_runs), chain(*new_runs), strict=True):
        assert (now.frames, now.track, now.frame_index, now.time_s) == (
            was.frames, was.track, was.frame_index, was.time_s
        )  # fmt: skip
        assert similar(was.crops(), now.crops())
    stills = [
        read_photographs(path, split="train", size_px=64) for path in (videos / "photographs.csv", packed)
    ]
    assert len(stills[0]) == len(stills[1]) == 3
    assert similar(np.stack(stills[0]), np.stack(stills[1]))
    assert len(read_photographs(packed, split="train", size_px=64, rights=("licence 1",))) == 1
    with pytest.raises(ValueError, match=r"no photograph's of the split train begin with any of \('CC',\)"):
        read_photographs(packed, split="train", size_px=64, rights=("CC",))


def similar(one: Any, other: Any) -> bool:  # noqa: ANN401 - pixels
    """Whether pixels differ by coding alone, and colours not at all."""
    error = one.astype(np.float32) - other
    return psnr_db(float(np.square(error).mean())) > 37 and np.abs(error.mean((0, 1, 2))).max() < 1


def test_from_a_pack_the_very_pairs_are_drawn_that_are_drawn_from_the_videos(
    videos: Path, packed: Path, tmp_path: Path
) -> None:
    first = pairs_of(of_videos(videos))
    second = pairs_of(tiny_run(packed, tmp_path / "out", cache=tmp_path / "cache"))
    drawn_pairs = [(first.pair(number), second.pair(number)) for number in range(3)]
    for one, other in drawn_pairs:
        assert np.array_equal(one.labels, other.labels)
        assert alike(one, other) > 0.95
    assert alike(drawn_pairs[0][0], drawn_pairs[1][1]) < 0.95


def alike(one: Pair, other: Pair) -> float:
    return float(np.corrcoef(one.rgb.ravel(), other.rgb.ravel())[0, 1])


def test_it_trains_and_validates_from_a_pack_and_knows_it_again_elsewhere(
    packed: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"cache": tmp_path / "cache", "validation": {"every": 1, "pairs": 2}}
    asked |= {"pictures": {"steps": 1, "pairs": 1}, "clips": {"steps": 1, "pairs": 1}}
    weights = train(tiny_run(packed, tmp_path / "out", **asked))
    assert all(value.isfinite().all() for value in load_file(weights).values())
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == 2 + 1
    moved = tmp_path / "renamed.zip"
    moved.write_bytes(packed.read_bytes())
    assert train(tiny_run(moved, tmp_path / "out", **asked)) == weights, (
        "a run of other data would be refused"
    )


def test_a_pack_says_which_videos_it_was_made_of_but_is_other_data(videos: Path, packed: Path) -> None:
    stills, clips = videos / "photographs.csv", read_clips(videos / "manifest.csv")
    of_the_videos = data_digest(clips, videos / "manifest.csv", [stills])
    assert read_pack(packed).index.videos_sha256 == of_the_videos
    assert data_digest(read_clips(packed), packed, [packed]) != of_the_videos


def test_a_configuration_that_leaves_some_out_packs_the_others(videos: Path, tmp_path: Path) -> None:
    made = pack(of_videos(videos, rights=["CC", "licence 0"], without=["greener"]), tmp_path / "set.zip")
    assert [video.name for video in made.index.videos] == ["videos/man.mp4"]
    assert [[row.name for row in part.rows] for part in made.index.photographs] == [["0.png"]]


def test_the_same_set_makes_the_same_bytes(videos: Path, packed: Path, tmp_path: Path) -> None:
    for coded in (videos / "cache").glob("*.coded"):
        coded.unlink()
    pack(of_videos(videos), tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_what_cannot_be_packed_leaves_the_old_file_as_it_was(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(b"as it was")
    (tmp_path / "bad.csv").write_text("file,split\nmissing.jpg,train\n")
    with pytest.raises(ValueError, match=r"missing\.jpg is missing"):
        pack(of_videos(videos, photographs=tmp_path / "bad.csv"), tmp_path / "set.zip")
    assert {path.name: path.read_bytes()[:9] for path in tmp_path.iterdir()}["set.zip"] == b"as it was"
    assert not list(tmp_path.glob("*.partial"))


def test_two_videos_of_one_name_outside_of_the_folder_stay_two(videos: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    above = "\n".join(f"{up}videos/man.mp4,train,real" for up in ("../", ""))
    for folder in (tmp_path, inner):
        (folder / "videos").symlink_to(videos / "videos")
    (inner / "manifest.csv").write_text(f"file,split,label\n{above}\n")
    made = pack(tiny_run(inner / "manifest.csv", tmp_path, cache=videos / "cache"), tmp_path / "set.zip")
    assert [video.name for video in made.index.videos] == ["videos/man.mp4", "2/videos/man.mp4"]


def test_crops_of_another_size_are_refused_with_the_way_out(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set\.zip: its crops are 64 px .* takes 128 px .* dmcl pack"):
        train(tiny_run(packed, tmp_path, cache=tmp_path / "cache", network={"size_px": 128}))
    with pytest.raises(ValueError, match="its crops are 64 px"):
        read_photographs(packed, split="train", size_px=128)


def _other(index: dict[str, Any], **changes: Any) -> bytes:  # noqa: ANN401 - JSON
    return json.dumps(index | changes).encode()


def _cut(data: bytes) -> bytes:
    return data[:-1000] + bytes(1000)


DAMAGES: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "other pixels": (
        lambda m: m.update({"crops/000000.mkv": _cut(m["crops/000000.mkv"])}),
        "man.mp4 has another digest",
    ),
    "other runs": (
        lambda m: m.update({"crops/000000.json": m["crops/000000.json"].replace(b'"track":', b'"track":1')}),
        "man.mp4 has another digest",
    ),
    "fewer runs": (lambda m: m.update({"crops/000000.json": b"[]"}), "man.mp4 has other frames"),
    "no times": (
        lambda m: m.update(
            {"crops/000000.json": m["crops/000000.json"].replace(b'"time_s":[', b'"time_s":[9,')}
        ),
        "man.mp4: 0: Value error, a run has one time a frame",
    ),
    "no pixels": (lambda m: m.pop("crops/000000.mkv"), r"no crops/000000\.mkv"),  # type: ignore[dict-item]
    "no index": (lambda m: m.pop("set.json"), r"no set\.json"),  # type: ignore[dict-item]
    "no JSON": (lambda m: m.update({"set.json": b"{"}), "no pack that this version reads"),
    "another version": (
        lambda m: m.update({"set.json": _other(json.loads(m["set.json"]), format="dmcl.pack/9")}),
        r"format: Input should be 'dmcl\.pack/2'",
    ),
    "a name that leads out": (
        lambda m: m.update({"set.json": m["set.json"].replace(b'"videos/man.mp4"', b'"../man.mp4"')}),
        "plain path inside",
    ),
    "a name twice": (
        lambda m: m.update({"set.json": m["set.json"].replace(b"videos/other.mp4", b"videos/man.mp4")}),
        "two videos have one name",
    ),
}


@pytest.mark.parametrize(("change", "why"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_pack_is_refused_and_named(
    packed: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None], why: str
) -> None:
    bad = rewritten(packed, tmp_path / "bad.zip", change)
    with pytest.raises(ValueError, match=rf"bad\.zip.*{why}.*dmcl pack"):
        train(tiny_run(bad, tmp_path / "out", cache=tmp_path / "cache"))


def test_an_archive_that_was_cut_off_or_is_none_is_refused_and_named(packed: Path, tmp_path: Path) -> None:
    for number, data in enumerate((packed.read_bytes()[:-5000], b"", b"PK\3\4 and so on")):
        bad = tmp_path / f"bad{number}.zip"
        bad.write_bytes(data)
        with pytest.raises(ValueError, match=rf"bad{number}\.zip is damaged, or no pack"):
            read_clips(bad)


def test_crops_that_are_compressed_or_would_fill_the_disk_are_refused(packed: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ValueError, match=r"crops/000000\.mkv is compressed"):
        next(cache_runs([bomb / "videos" / "man.mp4"], tmp_path, size_px=64, workers=1))
    frames = shutil.disk_usage(tmp_path).free // (side_with_margin(1024) ** 2 * 3) + 1

    def enlarge(members: dict[str, bytes]) -> None:
        index = json.loads(members["set.json"]) | {"size_px": 1024, "margin_px": margin_of(1024)}
        index["videos"][0]["crops"]["frames"] = frames
        members["set.json"] = json.dumps(index).encode()
        run = {"track": 0, "frame_index": list(range(frames)), "time_s": list(range(frames))}
        members["crops/000000.json"] = json.dumps([run]).encode()

    large = rewritten(packed, tmp_path / "large.zip", enlarge)
    with pytest.raises(ValueError, match=r"man\.mp4 takes .* GB .* choose another `cache`"):
        next(cache_runs([large / "videos" / "man.mp4"], tmp_path, size_px=1024, workers=1))


def test_nothing_is_decoded_but_crops(tmp_path: Path) -> None:
    crops = drawn(3, SIDE, 0)
    file = io.BytesIO()
    encode([crops], file, side_px=SIDE)
    file.seek(0)
    assert len(list(decode(file, side_px=SIDE))) == 3
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n")
    with av.open(tmp_path / "other.mkv", "w") as other:
        stream = other.add_stream("mjpeg", rate=25)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuvj420p"
        other.mux(stream.encode(av.VideoFrame.from_ndarray(crops[0], "rgb24")))
        other.mux(stream.encode())
    for data in [b"", *(path.read_bytes() for path in tmp_path.iterdir())]:
        with pytest.raises(ValueError, match="crops"):
            list(decode(io.BytesIO(data), side_px=SIDE))
    file.seek(0)
    with pytest.raises(ValueError, match="no crops of 32 x 32 pixels"):
        list(decode(file, side_px=32))


def test_what_needs_videos_says_that_a_pack_has_none(packed: Path, videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"set\.zip is an archive.*only crops for dmcl train"):
        read_manifest(packed)
    with pytest.raises(ValueError, match="is a pack already"):
        pack(of_videos(videos, data=packed), tmp_path / "again.zip")
    with pytest.raises(ValueError, match=r"gone\.csv is not there.*or with those of .*set\.zip"):
        train(tiny_run(packed, tmp_path, photographs=tmp_path / "gone.csv"))


def test_a_folder_is_packed_by_the_command_with_its_splits(videos: Path, tmp_path: Path) -> None:
    data = folder_of(
        tmp_path / "mine", real=videos / "videos" / "man.mp4", fake=videos / "videos" / "green.mp4", each=4
    )
    asked = [f"--set=cache={videos / 'cache'}", "--set=network.size_px=64", "--set=workers=1"]
    ran = CliRunner().invoke(app(), [str(data), str(tmp_path / "mine.zip"), *asked])
    assert ran.exit_code == 0, ran.output
    assert "8 videos, " in ran.output
    assert "PSNR " in ran.output
    assert [clip.split for clip in read_clips(tmp_path / "mine.zip")] == [
        clip.split for clip in read_clips(data)
    ]
    wrong = CliRunner().invoke(app(), [str(data), str(tmp_path / "mine.tar"), *asked])
    assert wrong.exit_code == 2


@pytest.mark.slow
def test_it_fine_tunes_on_a_pack_with_the_same_people_held_out(videos: Path, tmp_path: Path) -> None:
    green, man = (videos / "videos" / f"{name}.mp4" for name in ("green", "man"))
    data = folder_of(tmp_path / "mine", real=man, fake=green, each=4)
    pack(tiny_run(data, tmp_path, cache=videos / "cache"), tmp_path / "mine.zip")
    save_weights(tmp_path / "start.safetensors", TwoStream(TINY), {})
    plain = {
        "start": tmp_path / "start.safetensors", "cache": videos / "cache", "steps": 1, "pairs": 1, "frames": 16,
        "judged": 8, "workers": 0, "device": "cpu", "tolerance": 1.0, "tensorboard": {"every": 0},
    }  # fmt: skip
    outcomes = [
        finetune(checked(FinetuneConfig, plain | {"data": path, "out": tmp_path / f"of {path.name}"}, []))
        for path in (data, tmp_path / "mine.zip")
    ]
    first, second = ((one.real, one.fake, one.held_out.real, one.held_out.fake) for one in outcomes)
    assert first == second == (3, 3, 1, 1)
