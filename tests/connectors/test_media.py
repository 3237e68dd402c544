from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.errors import PoisonError, SettingsError, TransientError
from connectors.media import LocalMedia, MediaSettings, MediaStore
from connectors.requests import ScanRequest

VIDEO = bytes(range(256)) * 40
DIGEST = hashlib.sha256(VIDEO).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that may be read, with a video in it."""
    root = tmp_path / "archive"
    (root / "2026").mkdir(parents=True)
    (root / "2026" / "a clip+.mp4").write_bytes(VIDEO)
    return root


@pytest.fixture
def store(tmp_path: Path, root: Path) -> Iterator[MediaStore]:
    settings = MediaSettings(folder=tmp_path / "media", file_roots=(root,), attempts=1)
    with MediaStore(settings) as store:
        yield store


def fetched(store: MediaStore, path: Path | str, **more: object) -> tuple[bytes, LocalMedia]:
    with store.fetch(ScanRequest(uri=f"file://{path}".replace(" ", "%20"), **more)) as media:
        return media.path.read_bytes(), media


def reason(store: MediaStore, path: Path | str, **more: object) -> str:
    with pytest.raises(PoisonError) as caught:
        fetched(store, path, **more)
    return caught.value.reason


def test_a_video_comes_whole_and_with_its_digest(store: MediaStore, root: Path) -> None:
    data, media = fetched(store, root / "2026" / "a clip+.mp4")
    assert data == VIDEO
    assert (media.size_bytes, media.sha256) == (len(VIDEO), DIGEST)


def test_nothing_is_left_of_a_video_after_its_scan(store: MediaStore, root: Path, tmp_path: Path) -> None:
    _, media = fetched(store, root / "2026" / "a clip+.mp4")
    assert not media.path.exists()
    with pytest.raises(KeyError), store.fetch(ScanRequest(uri=f"file://{root}/2026/a%20clip+.mp4")):
        raise KeyError("the scan went wrong")
    store.close()
    assert [path.name for path in (tmp_path / "media").iterdir()] == [".lock"]


def test_what_the_request_says_of_the_video_must_hold(store: MediaStore, root: Path) -> None:
    path = root / "2026" / "a clip+.mp4"
    assert fetched(store, path, sha256=DIGEST, size_bytes=len(VIDEO))[0] == VIDEO
    assert reason(store, path, sha256="0" * 64) == "digest_mismatch"
    assert reason(store, path, size_bytes=len(VIDEO) - 1) == "size_mismatch"


def test_only_files_below_a_root_are_read(store: MediaStore, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"key")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "way").symlink_to(tmp_path)
    (tmp_path / "archive-of-others").mkdir()
    (tmp_path / "archive-of-others" / "clip").write_bytes(b"key")
    for path in (
        "/etc/passwd",
        f"{root}/../secret",
        f"{root}/%2e%2e/secret",
        f"{root}/link",
        f"{root}/way/secret",
    ):
        assert reason(store, path) == "path_refused"
    assert reason(store, tmp_path / "archive-of-others" / "clip") == "path_refused"
    assert reason(store, root) == "path_refused"


def test_a_link_to_a_video_below_a_root_is_followed(store: MediaStore, root: Path) -> None:
    (root / "newest").symlink_to(root / "2026" / "a clip+.mp4")
    assert fetched(store, root / "newest")[0] == VIDEO


def test_without_roots_no_file_is_read(tmp_path: Path, root: Path) -> None:
    with MediaStore(MediaSettings(folder=tmp_path / "media")) as store:
        assert reason(store, root / "2026" / "a clip+.mp4") == "path_refused"


def test_what_is_no_video_file_has_its_reason(store: MediaStore, root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "empty.mp4").touch()
    assert reason(store, root / "pipe") == "not_a_file"
    assert reason(store, root / "2026") == "not_a_file"
    assert reason(store, root / "empty.mp4") == "empty"
    assert reason(store, root / "absent.mp4") == "not_found"
    assert reason(store, root / "empty.mp4" / "absent.mp4") == "not_found"


def test_a_video_over_the_limit_is_refused_before_it_is_copied(tmp_path: Path, root: Path) -> None:
    with (root / "huge.mp4").open("wb") as huge:
        huge.truncate(50 << 30)
    settings = MediaSettings(
        folder=tmp_path / "media", file_roots=(root,), max_file="1 MiB", max_total="2 MiB"
    )
    with MediaStore(settings) as store:
        assert reason(store, root / "huge.mp4") == "too_large"
        assert reason(store, root / "2026" / "a clip+.mp4", size_bytes=50 << 30) == "too_large"


def test_videos_in_flight_share_the_room_and_give_it_back(tmp_path: Path, root: Path) -> None:
    settings = MediaSettings(
        folder=tmp_path / "media", file_roots=(root,), max_file=12_000, max_total=15_000, attempts=1
    )
    path = root / "2026" / "a clip+.mp4"
    with MediaStore(settings) as store:
        uri = f"file://{path}".replace(" ", "%20")
        with store.fetch(ScanRequest(uri=uri)), pytest.raises(TransientError, match="take all the room"):
            fetched(store, path)
        assert fetched(store, path)[0] == VIDEO


def test_the_disk_keeps_what_must_stay_free(tmp_path: Path, root: Path) -> None:
    settings = MediaSettings(folder=tmp_path / "media", file_roots=(root,), keep_free=1 << 60, attempts=1)
    with MediaStore(settings) as store, pytest.raises(TransientError, match="too little room"):
        fetched(store, root / "2026" / "a clip+.mp4")


def test_many_threads_fetch_at_once(store: MediaStore, root: Path) -> None:
    for number in range(8):
        (root / f"{number}.mp4").write_bytes(VIDEO + bytes([number]))
    got: dict[int, bytes] = {}

    def fetch(number: int) -> None:
        got[number] = fetched(store, root / f"{number}.mp4")[0]

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {number: VIDEO + bytes([number]) for number in range(8)}


HOLDS = """
import sys, time
from connectors.media import MediaSettings, MediaStore
from connectors.requests import ScanRequest
store = MediaStore(MediaSettings(folder=sys.argv[1], file_roots=(sys.argv[2],)))
with store.fetch(ScanRequest(uri=f"file://{sys.argv[2]}/2026/a%20clip+.mp4")) as media:
    print(media.path, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(
    tmp_path: Path, root: Path
) -> None:
    settings = MediaSettings(folder=tmp_path / "media", file_roots=(root,))
    command = [sys.executable, "-c", HOLDS, str(settings.folder), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        held = Path(other.stdout.readline().strip())
        with MediaStore(settings):
            assert held.read_bytes() == VIDEO
        other.send_signal(signal.SIGKILL)
    assert held.exists()
    with MediaStore(settings):
        assert not held.parent.exists()


def test_a_folder_that_cannot_hold_videos_is_a_wrong_deployment(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"set media\.folder"):
        MediaStore(MediaSettings(folder=tmp_path / "file"))


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="max_total must hold"):
        MediaSettings(max_file=2000, max_total=1000)
