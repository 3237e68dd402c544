from __future__ import annotations

import logging
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dmcl_sdk.segment import Segment
from training.data.manifest import Clip, read_manifest, write_manifest
from training.manifest_command import command


def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(command)
    return app


def manifest(folder: Path, *rows: str, header: str = "file,split,label,generator,pair,identity") -> Path:
    for row in rows:
        (folder / row.split(",")[0]).touch()
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_manifest_names_files_beside_it(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a.mp4,val,real,,,7", "b.mp4,val,fake,FaceSwap,a.mp4,8")
    real, fake = read_manifest(path)
    assert (real.path, real.fake, real.pair) == (tmp_path / "a.mp4", False, None)
    assert (fake.split, fake.generator, fake.pair) == ("val", "FaceSwap", tmp_path / "a.mp4")
    assert read_manifest(tmp_path) == [real, fake]


def test_a_row_says_under_what_it_may_be_used(tmp_path: Path) -> None:
    path = manifest(
        tmp_path, "a.mp4,train,real,CC BY 4.0", "b.mp4,train,real,", header="file,split,label,rights"
    )
    assert [clip.rights for clip in read_manifest(path)] == ["CC BY 4.0", ""]


@pytest.mark.parametrize(
    "rows",
    [
        ("a.mp4,train,real,,,7", "b.mp4,val,real,,,7", "c.mp4,val,real,,,8"),
        ("a.mp4,train,real,,,", "b.mp4,val,fake,,a.mp4,", "c.mp4,val,fake,,,"),
    ],
    ids=["person", "fake of a real"],
)
def test_nobody_and_nothing_is_in_both_splits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, rows: tuple[str, ...]
) -> None:
    path = manifest(tmp_path, *rows)
    with caplog.at_level(logging.WARNING):
        assert [clip.path.name for clip in read_manifest(path)] == ["a.mp4", "c.mp4"]
    assert "left out 1 val clips whose person or source is also in train" in caplog.text


def test_missing_files_are_counted_and_named(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a.mp4,train,real,,,")
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 1 files are missing, first .*a\.mp4"):
        read_manifest(path)


@pytest.mark.parametrize("row", ["a.mp4,dev,real,,,", "a.mp4,train,0,,,"])
def test_a_wrong_row_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    with pytest.raises(ValueError, match=r"manifest\.csv:2: split is train, val or test"):
        read_manifest(manifest(tmp_path, row))


def test_a_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="columns file, split, label"):
        read_manifest(manifest(tmp_path, "a.mp4,1", header="file,fake"))


def folder(path: Path, people: int, *more: str) -> Path:
    """So many real videos, each with a fake that is named after it; and further fakes."""
    for label, end in (("real", ""), ("fake", "_swapped")):
        (path / label).mkdir(parents=True)
        for number in range(people):
            (path / label / f"{number:03}{end}.mp4").touch()
    for name in more:
        (path / "fake" / name).touch()
    return path


def test_a_folder_of_real_and_fake_holds_back_a_fifth_of_its_sources(tmp_path: Path) -> None:
    clips = read_manifest(folder(tmp_path, 20, "003_deepfake.mp4", "someone.mp4"))
    held, taught = (
        {clip.path.stem[:3] for clip in clips if clip.split == split} for split in ("val", "train")
    )
    assert [clip.fake for clip in clips] == [False] * 20 + [True] * 22
    assert 4 <= len(held) <= 5
    assert held.isdisjoint(taught)


def test_a_folder_is_split_the_same_wherever_it_lies_and_whoever_joins(tmp_path: Path) -> None:
    def held(path: Path) -> set[str]:
        return {clip.path.name for clip in read_manifest(path) if clip.split == "val"}

    first, moved = held(folder(tmp_path / "a", 40)), held(folder(tmp_path / "elsewhere" / "b", 40))
    joined = held(folder(tmp_path / "c", 40, "zoe.mp4", "yan.mp4"))
    assert first == moved
    assert len(first - joined) <= 2


def test_a_folder_of_two_videos_is_all_to_train_on(tmp_path: Path) -> None:
    assert {clip.split for clip in read_manifest(folder(tmp_path, 1))} == {"train"}


def test_a_table_that_excel_wrote_is_read(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a.mp4,train,real,,,7")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [clip.path.name for clip in read_manifest(path)] == ["a.mp4"]


def test_a_row_without_a_file_and_a_file_that_is_no_table_are_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("file,split,label\n,train,real\n")
    with pytest.raises(ValueError, match=r"manifest\.csv:2: no file is named"):
        read_manifest(path)
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match=r"manifest\.csv is no CSV in UTF-8"):
        read_manifest(path)


def test_a_folder_is_written_down_and_read_back_the_same(tmp_path: Path) -> None:
    folder(tmp_path / "mine", 6)
    for out in (tmp_path / "mine.csv", tmp_path / "mine" / "own.csv"):
        ran = CliRunner().invoke(app(), [str(tmp_path / "mine"), str(out)])
        assert ran.exit_code == 0, ran.output
        assert read_manifest(out) == read_manifest(tmp_path / "mine")
    assert "fake in train" in ran.output


def test_everything_that_is_known_of_a_clip_is_written_down(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    clips = [
        Clip(tmp_path / "a.mp4", "test", fake=False, identity="x", rights="CC BY 4.0, see there"),
        Clip(
            tmp_path / "b.mp4", "test", fake=True, generator="swap", pair=tmp_path / "a.mp4", identity="x",
            spans=(Segment(0.25, 1.5), Segment(2.0, 2.125)), donor="y",
        ),
    ]  # fmt: skip
    write_manifest(clips, tmp_path / "all.csv")
    assert read_manifest(tmp_path / "all.csv") == clips


def test_a_folder_of_another_shape_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected manifest\.csv, or videos in"):
        read_manifest(tmp_path)
