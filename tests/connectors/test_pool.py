from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connectors.errors import PoisonError, SettingsError, StoppedError
from connectors.pool import ScoringPool, ScoringSettings
from dmcl_sdk.errors import VideoError
from tests.connectors.scripted import __name__ as scripted
from tests.made import make_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "clip.mp4"
    path.write_bytes(make_video(8, width=128, height=128))
    return path


def settings(**changes: object) -> ScoringSettings:
    return ScoringSettings.model_validate({"detector": f"{scripted}:detector"} | changes)


@pytest.fixture(scope="module")
def pool() -> Iterator[ScoringPool]:
    with ScoringPool(settings(time_limit_s=60)) as opened:
        yield opened


def script(folder: Path, what: str) -> Path:
    path = folder / "scripted"
    path.write_text(what)
    return path


def test_a_verdict_comes_back_whole(pool: ScoringPool, video: Path) -> None:
    verdict = pool.score(video)
    assert verdict.asset.uri == video.as_uri()
    assert verdict.model is not None
    assert verdict.model.name == "scripted"


def test_the_default_is_the_detector_that_ships(video: Path) -> None:
    with ScoringPool(ScoringSettings(options={"providers": ["cpu"], "max_seconds": 1.0})) as pool:
        verdict = pool.score(video)
    assert verdict.model is not None
    assert verdict.runtime is not None
    assert verdict.model.name != "scripted"
    assert pool.fingerprint


def test_what_is_no_video_raises_what_the_detector_raised(pool: ScoringPool, tmp_path: Path) -> None:
    with pytest.raises(VideoError) as caught:
        pool.score(script(tmp_path, "plain text"))
    assert caught.value.problem == "not_a_video"


@pytest.mark.parametrize(
    ("what", "how"),
    [("#segfault", "SIGSEGV"), ("#abort", "SIGABRT"), ("#exit", "status 3"), ("#memory", "137")],
)
def test_a_video_that_kills_its_process_is_poison_and_the_next_one_is_scored(
    pool: ScoringPool, video: Path, tmp_path: Path, what: str, how: str
) -> None:
    killed = pool.killed
    with pytest.raises(PoisonError, match=how) as caught:
        pool.score(script(tmp_path, what))
    assert caught.value.reason == "killed_worker"
    assert pool.killed == killed + 2
    assert pool.score(video).status != "failed"


def test_a_process_that_wants_more_memory_than_its_limit_dies_and_only_then(
    pool: ScoringPool, video: Path, tmp_path: Path
) -> None:
    greedy = script(tmp_path, "#4 GiB")
    with pytest.raises(PoisonError, match="nothing has kept it"):
        pool.score(greedy)
    with ScoringPool(settings(memory_limit="2 GiB", tries=1)) as limited:
        with pytest.raises(PoisonError, match="137") as caught:
            limited.score(greedy)
        assert caught.value.reason == "killed_worker"
        assert limited.score(video).model is not None


def test_a_bug_of_the_detector_is_poison_and_says_where_it_is(pool: ScoringPool, tmp_path: Path) -> None:
    with pytest.raises(
        PoisonError, match=r"IndexError: list index out of range \(scripted.py:\d+\)"
    ) as caught:
        pool.score(script(tmp_path, "#bug"))
    assert caught.value.reason == "detector_failed"


def test_a_video_that_never_ends_is_ended(tmp_path: Path) -> None:
    with ScoringPool(settings(time_limit_s=0.5)) as pool:
        with pytest.raises(PoisonError, match=r"0\.5 s") as caught:
            pool.score(script(tmp_path, "#forever"))
        assert caught.value.reason == "timeout"
        assert pool.killed == 1


def test_more_threads_than_processes_wait_for_their_turn(video: Path) -> None:
    with ScoringPool(settings(processes=2)) as pool, ThreadPoolExecutor(5) as threads:
        verdicts = list(threads.map(pool.score, [video] * 10))
    assert len({verdict.without_timings() for verdict in verdicts}) == 1


def test_a_process_that_was_killed_while_idle_is_replaced_unnoticed(video: Path) -> None:
    others = multiprocessing.active_children()
    with ScoringPool(settings()) as pool:
        for child in {*multiprocessing.active_children()} - {*others}:
            child.kill()
            child.join()
        assert pool.score(video).model is not None
        assert pool.killed == 0


def test_closing_ends_what_is_under_way_and_leaves_no_process(tmp_path: Path) -> None:
    others = {*multiprocessing.active_children()}
    pool = ScoringPool(settings(processes=2))
    endless = script(tmp_path, "#forever")
    outcomes: list[Exception] = []

    def score() -> None:
        try:
            pool.score(endless)
        except StoppedError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=score) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    pool.close()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 4
    assert {*multiprocessing.active_children()} <= others
    with pytest.raises(StoppedError):
        pool.score(tmp_path)


@pytest.mark.parametrize(
    ("detector", "says"),
    [
        ("nobody", "no detector 'nobody': there are default"),
        (f"{scripted}:absent", "absent"),
        (f"{scripted}:broken", "another planet"),
        (f"{scripted}:dying", "exit status 4"),
        ("json:dumps", "json:dumps"),
    ],
)
def test_a_detector_that_does_not_start_says_why(detector: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        ScoringPool(settings(detector=detector))


def test_wrong_options_are_named() -> None:
    with pytest.raises(SettingsError, match="colour"):
        ScoringPool(settings(options={"colour": "red"}))


def test_the_fingerprint_tells_configurations_apart(pool: ScoringPool) -> None:
    with ScoringPool(settings()) as same, ScoringPool(settings(detector=f"{scripted}:detector")) as again:
        assert pool.fingerprint == same.fingerprint == again.fingerprint
    assert len(pool.fingerprint) == 64
