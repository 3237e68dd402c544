from __future__ import annotations

import csv
import io
import json
import logging
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from dmcl_sdk.segment import Segment
from dmcl_sdk.video import open_video
from training.data.manifest import Clip, keep_apart, read_manifest, read_spans
from training.data.published import PUBLISHED, read_dataset, recognise
from training.data.published.faceforensics import METHODS, sequences
from training.data.published.wilddeepfake import pack

PAIRS = {"train": [("000", "003"), ("001", "870")], "val": [("010", "011")], "test": [("953", "974")]}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def people(clips: Iterable[Clip]) -> set[str]:
    return {person for clip in clips for person in clip.people}


def by_name(clips: Iterable[Clip]) -> dict[str, Clip]:
    return {clip.path.name: clip for clip in clips}


def faceforensics(root: Path, *, methods: Iterable[str] = METHODS, level: str = "c23") -> Path:
    for split, pairs in PAIRS.items():
        write(root / "splits" / f"{split}.json", pairs)
        for one, other in pairs:
            touch(root / f"original_sequences/youtube/{level}/videos", f"{one}.mp4", f"{other}.mp4")
            for method in methods:
                videos = root / f"manipulated_sequences/{method}/{level}/videos"
                touch(videos, f"{one}_{other}.mp4", f"{other}_{one}.mp4")
                touch(root / f"manipulated_sequences/{method}/masks/videos", f"{one}_{other}.mp4")
    return root


def celeb_df(root: Path) -> Path:
    real = [f"Celeb-real/id{person}_000{number}.mp4" for person in range(12) for number in range(2)]
    fake = [f"Celeb-synthesis/id{one}_id{(one + 1) % 12}_0000.mp4" for one in range(12)]
    others = [f"YouTube-real/{number:05}.mp4" for number in range(20)]
    touch(root, *real, *fake, *others)
    tested = ["1 Celeb-real/id0_0000.mp4", "0 Celeb-synthesis/id0_id1_0000.mp4", "1 YouTube-real/00003.mp4"]
    write(root / "List_of_testing_videos.txt", "\n".join(tested) + "\n")
    return root


def dfdc(root: Path, parts: int = 5) -> Path:
    for part in range(parts):
        folder = root / f"dfdc_train_part_{part}"
        labels = {
            f"real{part}.mp4": {"label": "REAL", "split": "train"},
            f"fake{part}.mp4": {"label": "FAKE", "split": "train", "original": f"real{part}.mp4"},
        }
        write(folder / "metadata.json", labels)
        touch(folder, *labels)
    write(root / "test" / "labels.csv", "filename,label\naa.mp4,0\nbb.mp4,1\n")
    touch(root / "test", "aa.mp4", "bb.mp4")
    return root


def dfdc_preview(root: Path) -> Path:
    rows: dict[str, dict[str, Any]] = {}
    for person in range(20):
        kind = "test" if person < 3 else "train"
        real, fake = (
            f"original_videos/{person}/{person}_C_001.mp4",
            f"method_B/{person}/{person}_C/{person + 100}_{person}_C_001.mp4",
        )
        rows[real] = {
            "label": "real",
            "set": kind,
            "target_id": person,
            "swapped_id": None,
            "augmentations": [],
        }
        rows[fake] = {"label": "fake", "set": kind, "target_id": person, "swapped_id": person + 100}
    write(root / "dataset.json", rows)
    touch(root, *rows)
    return root


def deeperforensics(root: Path, originals: Path) -> Path:
    swaps = {"train": ["000_M004", "953_M004"], "val": ["010_W101"], "test": ["003_W102", "974_W102"]}
    for split, names in swaps.items():
        write(root / "lists" / "splits" / f"{split}.txt", "\n".join(f"{name}.mp4" for name in names))
        for version in ("end_to_end", "end_to_end_level_5"):
            touch(root / "manipulated_videos" / version, *(f"{name}.mp4" for name in names))
        touch(originals / "original_sequences/youtube/c23/videos", *(f"{name[:3]}.mp4" for name in names))
    touch(root / "source_videos/M004/light_up/angry/camera_front", "M004_light_up_angry_camera_front.mp4")
    return root


def lav_df(root: Path) -> Path:
    def row(
        file: str, periods: list[list[float]], *, video: bool, audio: bool, original: str | None = None
    ) -> dict[str, object]:
        return {
            "file": file,
            "n_fakes": len(periods),
            "fake_periods": periods,
            "duration": 6.0,
            "original": original,
            "modify_video": video,
            "modify_audio": audio,
            "split": file.partition("/")[0],
        }

    rows = [
        row("train/000001.mp4", [], video=False, audio=False),
        row("dev/000002.mp4", [], video=False, audio=False),
        row("test/000003.mp4", [], video=False, audio=False),
        row("test/000004.mp4", [[4.1, 4.4], [1.2, 1.7]], video=True, audio=True, original="test/000003.mp4"),
        row("test/000005.mp4", [[1.2, 1.7]], video=False, audio=True, original="test/000003.mp4"),
        row("test/000006.mp4", [[2.0, 2.0]], video=True, audio=False, original="test/000003.mp4"),
    ]
    write(root / "metadata.min.json", rows)
    touch(root, *(str(one["file"]) for one in rows))
    return root


def av_deepfake1m(root: Path) -> Path:
    for split, speaker in (("train", "id00012"), ("val", "id00015")):
        clip = f"{speaker}/21Uxsk56VDQ/00001"
        kinds = {
            "real.mp4": ("real", [], []),
            "fake_video_real_audio.mp4": ("visual_modified", [[3.28, 3.46]], [[3.28, 3.46]]),
            "real_video_fake_audio.mp4": (
                "audio_modified",
                [[1.0, 1.5]],
                [[1.0, 1.5]],
            ),  # a picture's span, wrongly
            "fake_video_fake_audio.mp4": ("both_modified", [[0.5, 0.7]], [[0.5, 0.7], [2.0, 2.5]]),
        }
        rows = [
            {
                "file": f"{clip}/{name}",
                "original": None if kind == "real" else f"{clip}/real.mp4",
                "split": split,
                "modify_type": kind,
                "visual_fake_segments": picture,
                "fake_segments": either,
            }
            for name, (kind, picture, either) in kinds.items()
        ]
        write(root / f"{split}_metadata.json", rows)
        touch(root / split, *(str(row["file"]) for row in rows))
    return root


def wilddeepfake(
    root: Path, *, parts: Iterable[str] = ("real_train", "fake_train", "real_test", "fake_test")
) -> Path:
    """Archives as published, each with two sequences of three small pictures."""
    for place, part in enumerate(parts):
        (root / part).mkdir(parents=True)
        with tarfile.open(root / part / "7.tar.gz", "w:gz") as archive:
            for sequence in (41, 42):
                for frame in (10, 11, 14):
                    picture = np.full((48, 40, 3), (place * 40, sequence, frame * 10), np.uint8)
                    png = cv2.imencode(".png", picture)[1].tobytes()
                    member = tarfile.TarInfo(f"./7/{part[:4]}/{sequence}/{frame}.png")
                    member.size = len(png)
                    archive.addfile(member, io.BytesIO(png))
    return root


def test_faceforensics_is_read_in_its_official_split(tmp_path: Path) -> None:
    clips = read_dataset(faceforensics(tmp_path))
    assert {split: sum(clip.split == split for clip in clips) for split in PAIRS} == {
        "train": 4 * 5,
        "val": 2 * 5,
        "test": 2 * 5,
    }
    fake = next(clip for clip in clips if clip.generator == "FaceSwap" and clip.path.name == "953_974.mp4")
    assert (fake.fake, fake.split, fake.identity, fake.donor) == (True, "test", "953", "974")
    assert fake.pair == tmp_path / "original_sequences/youtube/c23/videos/953.mp4"
    assert not any("masks" in clip.path.parts for clip in clips)
    assert sequences(tmp_path, "test") == {"953", "974"}


def test_only_the_compression_that_is_asked_for_is_read(tmp_path: Path) -> None:
    faceforensics(tmp_path)
    faceforensics(tmp_path, level="c40")
    faceforensics(tmp_path, level="raw")
    for asked, folder in {None: "c23", "c40": "c40", "c0": "raw"}.items():
        clips = read_dataset(tmp_path, "ff++", split="val", compression=asked)
        assert len(clips) == 10
        assert all(folder in clip.path.parts for clip in clips)


def test_a_compression_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    faceforensics(tmp_path, level="c40")
    assert all("c40" in clip.path.parts for clip in read_dataset(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no videos compressed as c23 .* there are c40"):
        read_dataset(tmp_path, compression="c23")
    with pytest.raises(ValueError, match="Celeb-DF v2 comes in one compression"):
        read_dataset(celeb_df(tmp_path / "celeb"), compression="c23")


def test_half_a_download_says_what_is_missing_and_how_to_go_on(tmp_path: Path) -> None:
    root = faceforensics(tmp_path, methods=("Deepfakes", "FaceSwap"))
    (root / "manipulated_sequences/Deepfakes/c23/videos/001_870.mp4").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        read_dataset(root)
    message = str(caught.value)
    assert "FaceForensics++ is not complete: 23 of 40 videos are there" in message
    assert "NeuralTextures/c23/videos: 8 videos, first 000_003.mp4" in message
    assert "Deepfakes/c23/videos: 1 videos, first 001_870.mp4" in message
    assert "github.com/ondyari/FaceForensics" in message
    assert "--allow-missing" in message
    kept = read_dataset(root, allow_missing=True)
    assert len(kept) == 23
    assert {clip.generator for clip in kept} == {"", "Deepfakes", "FaceSwap"}


def test_missing_split_lists_say_where_they_come_from(tmp_path: Path) -> None:
    root = faceforensics(tmp_path)
    (root / "splits/test.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"split lists .* github\.com/ondyari/FaceForensics"):
        read_dataset(root)


def test_what_comes_with_faceforensics_is_recognised_alone(tmp_path: Path) -> None:
    shifted = faceforensics(tmp_path / "shifted", methods=("FaceShifter",))
    assert {clip.generator for clip in read_dataset(shifted)} == {"", "FaceShifter"}
    actors = tmp_path / "actors"
    touch(actors / "original_sequences/actors/c23/videos", "01__exit_phone_room.mp4", "02__hugging_happy.mp4")
    touch(
        actors / "manipulated_sequences/DeepFakeDetection/c23/videos", "01_02__exit_phone_room__YVGY8LOK.mp4"
    )
    clips = by_name(read_dataset(actors))
    fake = clips["01_02__exit_phone_room__YVGY8LOK.mp4"]
    assert (fake.split, fake.identity, fake.donor) == ("test", "01", "02")
    assert fake.pair == clips["01__exit_phone_room.mp4"].path


def test_celeb_df_tests_on_its_official_list_and_trains_on_nobody_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        clips = read_dataset(celeb_df(tmp_path))
    parts = {split: [clip for clip in clips if clip.split == split] for split in ("train", "val", "test")}
    assert sorted(clip.path.name for clip in parts["test"]) == [
        "00003.mp4",
        "id0_0000.mp4",
        "id0_id1_0000.mp4",
    ]
    fake = by_name(parts["test"])["id0_id1_0000.mp4"]
    assert (fake.fake, fake.identity, fake.donor, fake.pair) == (
        True,
        "id0",
        "id1",
        tmp_path / "Celeb-real/id0_0000.mp4",
    )
    assert all(parts.values())
    assert not people(parts["train"]) & people(parts["val"])
    assert not people(parts["test"]) & (people(parts["train"]) | people(parts["val"]))
    assert "train clips whose person or source is also in test" in caplog.text
    assert "24 of the 590 published videos" in caplog.text


def test_a_publishers_own_parts_can_be_had_whole(tmp_path: Path) -> None:
    root = celeb_df(tmp_path)
    apart, whole = (
        {clip.path.name for clip in read_dataset(root, people_apart=apart)} for apart in (True, False)
    )
    assert "id0_0001.mp4" in whole - apart


def test_a_test_list_that_calls_fakes_real_is_refused(tmp_path: Path) -> None:
    root = celeb_df(tmp_path)
    write(
        root / "List_of_testing_videos.txt", "1 Celeb-real/id0_0000.mp4\n1 Celeb-synthesis/id0_id1_0000.mp4\n"
    )
    with pytest.raises(ValueError, match=r"List_of_testing_videos\.txt:2: a line is 1 \(real\) or 0"):
        read_dataset(root)


def test_a_listed_test_video_that_is_not_there_is_missing(tmp_path: Path) -> None:
    root = celeb_df(tmp_path)
    (root / "YouTube-real/00003.mp4").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"2 of 3 videos are there\n.*YouTube-real: 1 videos, first 00003"
    ):
        read_dataset(root, split="test")


def test_dfdc_holds_back_whole_parts_and_tests_on_the_test_part(tmp_path: Path) -> None:
    clips = by_name(read_dataset(dfdc(tmp_path)))
    assert (clips["fake0.mp4"].fake, clips["fake0.mp4"].split) == (True, "train")
    assert clips["fake0.mp4"].pair == clips["real0.mp4"].path
    assert clips["fake0.mp4"].identity == clips["real0.mp4"].identity
    assert [name for name, clip in clips.items() if clip.split == "val"] == ["real4.mp4", "fake4.mp4"]
    assert (clips["aa.mp4"].split, clips["aa.mp4"].fake, clips["bb.mp4"].fake) == ("test", False, True)


def test_dfdcs_test_part_alone_is_a_tree_with_either_kind_of_labels(tmp_path: Path) -> None:
    write(
        tmp_path / "metadata.json", {"aa.mp4": {"is_fake": 0, "augmentations": {}}, "bb.mp4": {"is_fake": 1}}
    )
    touch(tmp_path, "aa.mp4", "bb.mp4")
    clips = read_dataset(tmp_path)
    assert [(clip.path.name, clip.fake, clip.split) for clip in clips] == [
        ("aa.mp4", False, "test"),
        ("bb.mp4", True, "test"),
    ]


def test_a_part_without_its_labels_is_missed_when_training_but_not_when_testing(tmp_path: Path) -> None:
    root = dfdc(tmp_path)
    (root / "dfdc_train_part_2/metadata.json").unlink()
    assert len(read_dataset(root, split="test")) == 2
    with pytest.raises(FileNotFoundError, match=r"dfdc_train_part_2/metadata\.json: the labels of this part"):
        read_dataset(root)


def test_a_broken_list_is_named(tmp_path: Path) -> None:
    root = dfdc(tmp_path)
    write(root / "dfdc_train_part_2/metadata.json", '{"real2.mp4": {"label"')
    with pytest.raises(ValueError, match=r"part_2/metadata\.json: not a whole JSON file"):
        read_dataset(root)


def test_the_preview_of_dfdc_is_split_by_its_sets_and_people(tmp_path: Path) -> None:
    clips = read_dataset(dfdc_preview(tmp_path))
    parts = {split: [clip for clip in clips if clip.split == split] for split in ("train", "val", "test")}
    assert len(parts["test"]) == 6
    assert all(parts.values())
    assert not people(parts["train"]) & people(parts["val"])
    fake = by_name(clips)["101_1_C_001.mp4"]
    assert (fake.generator, fake.identity, fake.donor) == ("method_B", "1", "101")
    assert fake.pair == tmp_path / "original_videos/1/1_C_001.mp4"


def test_deeperforensics_takes_its_real_videos_from_faceforensics(tmp_path: Path) -> None:
    originals = tmp_path / "ff"
    root = deeperforensics(tmp_path / "deeper", originals)
    clips = read_dataset(root, originals=originals)
    assert {clip.path.name for clip in clips if clip.split == "test"} == {
        "003.mp4",
        "003_W102.mp4",
        "974.mp4",
        "974_W102.mp4",
    }
    assert {clip.generator for clip in clips} == {"", "end_to_end", "end_to_end_level_5"}
    assert all(clip.pair is not None and clip.pair.stem == clip.identity for clip in clips if clip.fake)
    assert not any("source_videos" in clip.path.parts for clip in clips)
    with pytest.raises(FileNotFoundError, match="link its original_sequences into"):
        read_dataset(root)
    (root / "original_sequences").symlink_to(originals / "original_sequences")
    assert recognise(root) == "deeperforensics"
    assert len(read_dataset(root)) == len(clips)


def test_lav_dfs_changed_sound_is_real_and_its_changed_picture_has_spans(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        clips = by_name(read_dataset(lav_df(tmp_path)))
    assert [clips[f"00000{n}.mp4"].split for n in (1, 2, 3)] == ["train", "val", "test"]
    fake = clips["000004.mp4"]
    assert fake.spans == (Segment(1.2, 1.7), Segment(4.1, 4.4))
    assert fake.pair == tmp_path / "test/000003.mp4"
    assert (clips["000005.mp4"].fake, clips["000005.mp4"].spans) == (False, None)
    assert "000006.mp4" not in clips
    assert "left out 1 videos whose picture was changed, but at no known time" in caplog.text


def test_av_deepfake1m_goes_by_what_was_modified_and_by_spans_of_the_picture(tmp_path: Path) -> None:
    clips = [clip for clip in read_dataset(av_deepfake1m(tmp_path)) if clip.split == "val"]
    found = by_name(clips)
    assert {name for name, clip in found.items() if clip.fake} == {
        "fake_video_real_audio.mp4",
        "fake_video_fake_audio.mp4",
    }
    assert found["fake_video_fake_audio.mp4"].spans == (Segment(0.5, 0.7),)
    assert found["fake_video_real_audio.mp4"].pair == found["real.mp4"].path
    assert {clip.identity for clip in clips} == {"id00015"}


def test_the_part_that_is_reported_keeps_a_speaker_who_is_also_trained_on(tmp_path: Path) -> None:
    root = av_deepfake1m(tmp_path)
    (root / "train/id00015").symlink_to(root / "val/id00015")
    write(root / "train_metadata.json", json.loads((root / "val_metadata.json").read_text()))
    assert {clip.split for clip in read_dataset(root)} == {"val"}


def test_wilddeepfakes_pictures_are_packed_without_loss_and_with_their_gaps(tmp_path: Path) -> None:
    archives = wilddeepfake(tmp_path / "wild" / "deepfake_in_the_wild").parent
    with pytest.raises(
        FileNotFoundError, match=r"archives of pictures; pack them by `python -m training\.data"
    ):
        read_dataset(archives)
    out = tmp_path / "out"
    paths = list(pack(archives, out))
    assert len(paths) == 8
    clips = read_dataset(out, "wilddeepfake", split="test")
    assert {(clip.path.parent.name, clip.path.name, clip.fake) for clip in clips} == {
        (f"{label}_test", f"7-{sequence}.mkv", label == "fake")
        for label in ("real", "fake")
        for sequence in (41, 42)
    }
    with open_video(out / "fake_test" / "7-42.mkv") as video:
        assert [frame.start_s for frame in video] == pytest.approx([0.0, 0.04, 0.16])
    with av.open(out / "fake_test" / "7-42.mkv") as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert [np.unique(picture.reshape(-1, 3), axis=0).tolist() for picture in pictures] == [
        [[120, 42, frame * 10]] for frame in (10, 11, 14)
    ]


def test_packing_goes_on_where_it_stopped(tmp_path: Path) -> None:
    archives, out = wilddeepfake(tmp_path / "wild", parts=("real_test",)), tmp_path / "out"
    first = next(pack(archives, out))
    before = first.stat().st_mtime_ns
    assert len(list(pack(archives, out))) == 2
    assert first.stat().st_mtime_ns == before
    with pytest.raises(FileNotFoundError, match="no archives in"):
        next(pack(out, out / "again"))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("ff++", faceforensics),
        ("celeb-df-v2", celeb_df),
        ("dfdc", dfdc),
        ("dfdcp", dfdc_preview),
        ("lav-df", lav_df),
        ("av-deepfake1m", av_deepfake1m),
        ("wilddeepfake", wilddeepfake),
    ],
)
def test_each_tree_is_recognised_by_its_shape(
    name: str, make: Callable[[Path], Path], tmp_path: Path
) -> None:
    assert recognise(make(tmp_path)) == name


def test_an_unknown_folder_or_name_lists_what_is_known(tmp_path: Path) -> None:
    for name in (None, "celebdf"):
        with pytest.raises(ValueError, match=r"not a data set known here.*ff\+\+, faceshifter"):
            read_dataset(tmp_path, name)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_an_empty_folder_is_never_read_as_an_empty_set(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"\S"):
        read_dataset(tmp_path, name, allow_missing=True)


def test_a_manifest_is_a_published_tree_too(tmp_path: Path) -> None:
    root = faceforensics(tmp_path, methods=METHODS[:3])
    with pytest.raises(FileNotFoundError, match="NeuralTextures"):
        read_manifest(root)
    clips = read_manifest(root, split="val", allow_missing=True)
    assert len(clips) == 8
    assert {clip.split for clip in clips} == {"val"}


def test_a_folder_of_real_and_fake_wins_over_lists_that_lie_in_it(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{label}/{n}.mp4" for label in ("real", "fake") for n in range(5)))
    write(tmp_path / "metadata.json", {})
    assert len(read_manifest(tmp_path)) == 10


def manifest(folder: Path, *rows: dict[str, str]) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "split", "label", "identity", "donor", "spans"])
        writer.writeheader()
        for row in rows:
            touch(folder, row["file"])
            writer.writerow(row)
    return path


def test_a_manifest_may_say_when_a_fake_is_manipulated(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        {"file": "a.mp4", "split": "train", "label": "fake", "spans": "1.2-3.4; 5-6"},
        {"file": "b.mp4", "split": "train", "label": "fake", "spans": ""},
    )
    first, second = read_manifest(path)
    assert first.spans == (Segment(1.2, 3.4), Segment(5, 6))
    assert second.spans is None


@pytest.mark.parametrize(("label", "spans"), [("fake", "3-1"), ("fake", "1:30-2:00"), ("real", "1-2")])
def test_impossible_spans_are_named_by_their_line(tmp_path: Path, label: str, spans: str) -> None:
    path = manifest(tmp_path, {"file": "a.mp4", "split": "train", "label": label, "spans": spans})
    with pytest.raises(ValueError, match=r"manifest\.csv:2: "):
        read_manifest(path)


def test_a_manifests_missing_files_can_be_passed_over(tmp_path: Path) -> None:
    path = manifest(tmp_path, *({"file": f"{n}.mp4", "split": "train", "label": "real"} for n in range(3)))
    (tmp_path / "1.mp4").unlink()
    assert [clip.path.name for clip in read_manifest(path, allow_missing=True)] == ["0.mp4", "2.mp4"]


def test_a_donor_is_kept_to_one_split_like_anybody_else() -> None:
    shown = Clip(Path("a"), "train", fake=True, identity="1", donor="2")
    seen, unseen = (Clip(Path(name), "val", fake=False, identity=name) for name in ("2", "3"))
    assert keep_apart([shown, seen, unseen]) == [shown, unseen]


def test_spans_are_written_as_pairs_of_seconds() -> None:
    assert read_spans(" ") is None
    assert read_spans("0-0.5") == (Segment(0, 0.5),)
