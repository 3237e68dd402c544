from __future__ import annotations

import logging
from pathlib import Path

import pytest

from training.data.manifest import read_manifest


def manifest(folder: Path, *rows: str, header: str = "file,split,label,generator,pair,identity") -> Path:
    for row in rows:
        (folder / row.split(",")[0]).touch()
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_manifest_names_files_beside_it(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a.mp4,train,real,,,7", "b.mp4,val,fake,FaceSwap,a.mp4,8")
    real, fake = read_manifest(path)
    assert (real.path, real.fake, real.pair) == (tmp_path / "a.mp4", False, None)
    assert (fake.split, fake.generator, fake.pair) == ("val", "FaceSwap", tmp_path / "a.mp4")
    assert read_manifest(tmp_path) == [real, fake]


def test_a_row_says_under_what_it_may_be_used(tmp_path: Path) -> None:
    path = manifest(
        tmp_path, "a.mp4,train,real,CC BY 4.0", "b.mp4,train,real,", header="file,split,label,rights"
    )
    assert [clip.rights for clip in read_manifest(path)] == ["CC BY 4.0", ""]


def test_a_person_is_never_in_both_splits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = manifest(tmp_path, "a.mp4,train,real,,,7", "b.mp4,val,real,,,7", "c.mp4,val,real,,,8")
    with caplog.at_level(logging.WARNING):
        assert [clip.path.name for clip in read_manifest(path)] == ["a.mp4", "c.mp4"]
    assert "left out 1 val clips" in caplog.text


def test_missing_files_are_counted_and_named(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a.mp4,train,real,,,")
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 1 files are missing, first .*a\.mp4"):
        read_manifest(path)


@pytest.mark.parametrize("row", ["a.mp4,test,real,,,", "a.mp4,train,0,,,"])
def test_a_wrong_row_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    with pytest.raises(ValueError, match=r"manifest\.csv:2: split is train or val"):
        read_manifest(manifest(tmp_path, row))


def test_a_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="columns file, split, label"):
        read_manifest(manifest(tmp_path, "a.mp4,1", header="file,fake"))


def test_a_folder_of_real_and_fake_holds_back_every_fifth(tmp_path: Path) -> None:
    for label in ("real", "fake"):
        (tmp_path / label).mkdir()
        for number in range(5):
            (tmp_path / label / f"{number}.mp4").touch()
    clips = read_manifest(tmp_path)
    assert [clip.split for clip in clips] == (["train"] * 4 + ["val"]) * 2
    assert [clip.fake for clip in clips] == [False] * 5 + [True] * 5


def test_a_folder_of_another_shape_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected manifest\.csv, or videos in"):
        read_manifest(tmp_path)
