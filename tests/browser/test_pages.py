"""Pages of a real clip with a forged stretch, in a real Chromium."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from dmcl_sdk import Detector, SpanRule
from dmcl_sdk.detector import failed_verdict
from dmcl_sdk.errors import VideoError
from dmcl_sdk.explanation import Explanation
from dmcl_sdk.report.folder import ReportFolder, film_of
from dmcl_sdk.report.page import page
from dmcl_sdk.verdict import Verdict
from examples import demo
from tests.sdk.crowds import crowd

pytestmark = pytest.mark.browser

ColorScheme = Literal["light", "dark"]

EVIL = '"><img src=x onerror=alert(1)><script>alert(2)<.mp4'
AXE = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    names = "chromium", "chromium-browser", "google-chrome"
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("there is no Chromium here: apt-get install -y chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Explanation]:
    """The carphone clip, forged from 1.5 to 2.7 s, there and back again, under a name full of markup.

    Whatever stands out a little becomes a span: the pages are tested, not how well a network finds a forgery.
    """
    video = tmp_path_factory.mktemp("videos") / EVIL
    real = demo.read(demo.example_video())
    plain = video.with_name("forged.mp4")
    forged = demo.forge(real)
    demo.write(plain, [*forged, *reversed(forged)], real.rate)
    plain.rename(video)
    explanation = Detector(providers=["cpu"], rule=SpanRule(min_contrast=0.01)).explain(video, most_peaks=2)
    assert len(explanation.verdict.spans) > 1, "the clip is meant to have spans to look at"
    return video, explanation


@pytest.fixture(scope="session")
def folder(clip: tuple[Path, Explanation], tmp_path_factory: pytest.TempPathFactory) -> Path:
    video, explanation = clip
    folder = tmp_path_factory.mktemp("reports")
    reports = ReportFolder(folder)
    reports.add(explanation.verdict, explanation, video)
    broken = VideoError(str(folder / "notes.txt"), "not_a_video", "this is no <b>video</b>")
    reports.add(failed_verdict(broken), None, folder / "notes.txt")
    return folder


class Visit:
    """A page as it is opened from the disk, and what it did."""

    def __init__(
        self,
        browser: Browser,
        path: Path,
        *,
        scheme: ColorScheme = "light",
        width: int = 1280,
        motion: Literal["no-preference", "reduce"] = "no-preference",
    ) -> None:
        self.context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion=motion
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._dismiss)
        self.page.goto(path.as_uri())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.context.close()

    def _dismiss(self, dialog: Dialog) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def until(self, expression: str) -> None:
        """Waits as long as a busy machine needs; playwright's own waiting evaluates text, which the page forbids."""
        for _ in range(2400):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        pytest.fail(f"it never came to be that {expression}")

    def time(self) -> float:
        """Where the video stands, once it is there."""
        self.until("!document.getElementById('film').seeking")
        return float(self.page.evaluate("document.getElementById('film').currentTime"))

    def loaded(self) -> Visit:
        """Once the video can be played."""
        self.until("document.getElementById('film').readyState >= 2")
        return self


def spans(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(page.inner_text("#data") or page.text_content("#data") or "")[
        "spans"
    ]
    return found


def page_of(folder: Path) -> Path:
    return next(path for path in folder.glob("*.html") if path.name.endswith("mp4.html"))


def test_a_page_opens_from_the_disk_asks_for_nothing_but_its_video_and_complains_of_nothing(
    browser: Browser, folder: Path
) -> None:
    with Visit(browser, page_of(folder)) as visit:
        visit.loaded()
        outside = {url for url in visit.requests if not url.startswith(("file:", "data:"))}
        files = {url for url in visit.requests if url.startswith("file:")}
        assert outside == set()
        assert len(files) == 2  # the page and the video
        assert visit.complaints == []
        assert EVIL in visit.page.inner_text("header")


def test_a_click_on_a_span_goes_there_and_keys_go_on(browser: Browser, folder: Path) -> None:
    with Visit(browser, page_of(folder)) as visit:
        visit.loaded()
        there = spans(visit.page)
        assert len(there) >= 2
        visit.page.click(".seek[data-span='1']")
        assert visit.time() == pytest.approx(there[1]["start"], abs=0.05)
        visit.page.keyboard.press("p")
        assert visit.time() == pytest.approx(there[0]["start"], abs=0.05)
        visit.page.keyboard.press("n")
        assert visit.time() == pytest.approx(there[1]["start"], abs=0.05)
        assert "Span 2 of" in visit.page.inner_text("#say")
        visit.page.keyboard.press("ArrowLeft")
        assert visit.time() == pytest.approx(max(0, there[1]["start"] - 1), abs=0.05)
        area = visit.page.locator(".plots").first.bounding_box()
        assert area is not None
        visit.page.mouse.click(area["x"] + area["width"] / 2, area["y"] + area["height"] / 3)
        assert visit.time() == pytest.approx(
            visit.page.evaluate("document.getElementById('film').duration") / 2, abs=0.1
        )


def test_space_plays_and_pauses(browser: Browser, folder: Path) -> None:
    with Visit(browser, page_of(folder)) as visit:
        visit.loaded()
        visit.page.keyboard.press(" ")
        visit.until("document.getElementById('film').currentTime > 0.1")
        visit.page.keyboard.press(" ")
        visit.until("document.getElementById('film').paused")


def test_pictures_are_veiled_and_muted_until_r_is_pressed(browser: Browser, folder: Path) -> None:
    with Visit(browser, page_of(folder)) as visit:
        style = "getComputedStyle(document.querySelector('{}')).filter"
        muted = "document.getElementById('film').muted"
        for selector in ("#film", ".clip img"):
            assert "blur" in visit.page.evaluate(style.format(selector))
            assert "grayscale" in visit.page.evaluate(style.format(selector))
        assert visit.page.evaluate(muted) is True
        visit.page.keyboard.press("r")
        for selector in ("#film", ".clip img"):
            visit.until(style.format(selector) + " === 'none'")
        assert visit.page.evaluate(muted) is False
        assert visit.page.get_attribute("#reveal", "aria-pressed") == "true"
        visit.page.keyboard.press("r")
        visit.until(style.format("#film") + " !== 'none'")
        assert visit.page.evaluate(muted) is True


def test_a_box_lies_over_the_face(browser: Browser, folder: Path, clip: tuple[Path, Explanation]) -> None:
    with Visit(browser, page_of(folder)) as visit:
        visit.loaded().page.click(".seek[data-span='0']")
        at = visit.time()
        box = visit.page.evaluate(
            "[...document.querySelectorAll('#boxes rect[visibility=visible]')].map(r => Number(r.getAttribute('x')))"
        )
        nearest = min(clip[1].curves[0].sightings, key=lambda sighting: abs(sighting.start_s - at))
        assert box == pytest.approx([10_000 * nearest.box[0]], abs=200)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["page", "index"])
def test_nothing_stands_in_the_way_of_anybody(
    browser: Browser, folder: Path, scheme: ColorScheme, name: str
) -> None:
    path = folder / "index.html" if name == "index" else page_of(folder)
    with Visit(browser, path, scheme=scheme) as visit:
        found = Axe().run(visit.page, options=AXE)
        assert found.violations_count == 0, found.generate_report()


def test_every_control_is_reached_by_the_keyboard(browser: Browser, folder: Path) -> None:
    with Visit(browser, page_of(folder)) as visit:
        reached = []
        for _ in range(12):
            visit.page.keyboard.press("Tab")
            reached.append(
                visit.page.evaluate("document.activeElement.id || document.activeElement.className")
            )
        assert reached[:8] == ["seek", "play", "previous", "next", "strongest", "loop", "slow", "reveal"]
        assert "seek" in reached[8:]  # a span's


def test_what_is_sought_by_keys_is_said_and_what_plays_is_not(browser: Browser, folder: Path) -> None:
    with Visit(browser, page_of(folder)) as visit:
        visit.loaded()
        visit.page.keyboard.press("ArrowRight")
        assert visit.page.inner_text("#say") == "0:01.0"
        visit.page.focus("#seek")
        visit.page.keyboard.press("ArrowRight")
        assert visit.page.inner_text("#say") == "0:02.0"
        assert visit.page.get_attribute("#seek", "aria-valuetext") == "0:02.0"
        live = "[...document.querySelectorAll('[aria-live], output, [role=status]')].map(one => one.id)"
        assert visit.page.evaluate(live) == ["say"]


def test_letters_can_be_switched_off_for_those_who_speak_to_their_computer(
    browser: Browser, folder: Path
) -> None:
    with Visit(browser, page_of(folder)) as visit:
        visit.page.click("summary")
        visit.page.uncheck("#keys-on")
        visit.page.keyboard.press("r")
        assert visit.page.evaluate("document.body.className") == "veiled"
        visit.page.check("#keys-on")
        visit.page.keyboard.press("r")
        assert visit.page.evaluate("document.body.className") == ""


def test_slow_is_a_quarter_of_the_speed(browser: Browser, folder: Path) -> None:
    with Visit(browser, page_of(folder)) as visit:
        visit.loaded().page.keyboard.press("s")
        assert visit.page.evaluate("document.getElementById('film').playbackRate") == 0.25
        visit.page.click("#slow")
        assert visit.page.evaluate("document.getElementById('film').playbackRate") == 1


@pytest.fixture(scope="session")
def crowded(clip: tuple[Path, Explanation], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight faces and forty spans in five minutes; the video is a shorter one."""
    folder, explanation = tmp_path_factory.mktemp("crowd"), crowd(8, 300, 40)
    film = film_of(clip[0], folder, embed=False)
    path = folder / "crowd.html"
    path.write_text(page(explanation.verdict, explanation, name="crowd.mp4", film=film), encoding="utf-8")
    return path


def test_every_face_of_many_can_be_brought_into_sight_beside_the_video(
    browser: Browser, crowded: Path
) -> None:
    with Visit(browser, crowded) as visit:
        visit.page.locator(".face").last.scroll_into_view_if_needed()
        place = "document.querySelector('{}').getBoundingClientRect()"
        inside = f"(r => r.top >= 0 && r.bottom <= innerHeight + 1)({place})"
        assert visit.page.evaluate(inside.format(".face:nth-child(8)"))
        assert visit.page.evaluate(inside.format("#play"))
        assert Axe().run(visit.page, options=AXE).violations_count == 0


def test_the_chosen_of_forty_spans_is_in_sight_at_once_where_motion_is_not_wanted(
    browser: Browser, crowded: Path
) -> None:
    with Visit(browser, crowded, motion="reduce") as visit:
        visit.page.keyboard.press("p")  # the last one
        card = "document.querySelector('.finding.current').getBoundingClientRect()"
        assert visit.page.evaluate(f"{card}.top >= 0 && {card}.bottom <= innerHeight")
        visit.page.keyboard.press("m")
        best = max(range(47), key=lambda n: spans(visit.page)[n]["probability"])
        assert visit.page.evaluate("document.querySelector('.finding.current .seek').dataset.span") == str(
            best
        )


def test_on_a_telephone_the_video_stays_in_sight_of_the_span_that_was_chosen(
    browser: Browser, crowded: Path
) -> None:
    with Visit(browser, crowded, width=390, motion="reduce") as visit:
        visit.page.click(".seek[data-span='20']")
        place = "document.querySelector('{}').getBoundingClientRect()"
        film, card = place.format("#film"), place.format(".finding.current h3")
        assert visit.page.evaluate(f"{film}.top >= 0 && {card}.top >= {film}.bottom")


def test_a_page_without_evidence_plays_its_video_and_stands_in_nobody_s_way(
    browser: Browser, clip: tuple[Path, Explanation], tmp_path: Path
) -> None:
    verdict = clip[1].verdict.model_copy(update={"model": None, "runtime": None})
    page = ReportFolder(tmp_path).add(verdict, None, clip[0])
    with Visit(browser, page) as visit:
        visit.loaded().page.keyboard.press("n")
        assert visit.time() == pytest.approx(verdict.spans[0].start_ms / 1000, abs=0.05)
        assert visit.page.locator("#boxes rect[visibility=visible]").count() == 1
        assert Axe().run(visit.page, options=AXE).violations_count == 0
        assert visit.complaints == []


def test_a_page_with_the_video_inside_works_without_the_file(
    browser: Browser, clip: tuple[Path, Explanation], tmp_path: Path
) -> None:
    video, explanation = clip
    page = ReportFolder(tmp_path / "a", embed=True).add(explanation.verdict, explanation, video)
    moved = page.rename(tmp_path / "alone.html")
    with Visit(browser, moved) as visit:
        visit.loaded()
        assert visit.complaints == []
        visit.page.keyboard.press("n")
        assert visit.time() == pytest.approx(spans(visit.page)[0]["start"], abs=0.05)


def test_a_video_that_is_not_there_is_said_and_the_rest_works(
    browser: Browser, clip: tuple[Path, Explanation], tmp_path: Path
) -> None:
    _, explanation = clip
    page = ReportFolder(tmp_path).add(explanation.verdict, explanation, tmp_path / "gone.mp4")
    with Visit(browser, page) as visit:
        visit.page.wait_for_selector("#film-error:visible")
        assert visit.page.locator(".finding").count() == len(explanation.verdict.spans)


def test_the_index_sorts_filters_and_leads_to_the_pages(browser: Browser, folder: Path) -> None:
    with Visit(browser, folder / "index.html") as visit:
        rows = visit.page.locator("tbody tr:visible")
        assert rows.count() == 2
        visit.page.click("th button:has-text('Video')")
        assert visit.page.get_attribute("th:has-text('Video')", "aria-sort") == "ascending"
        visit.page.fill("#text", "notes")
        assert rows.count() == 1
        assert "1 of 2" in visit.page.inner_text("#say")
        visit.page.fill("#text", "")
        visit.page.select_option("#label", "Not a video")
        assert rows.count() == 1
        visit.page.click("tbody tr:visible a")
        assert "could not be read as a video" in visit.page.inner_text(".lead")
        assert visit.complaints == []


def test_an_index_of_five_hundred_sorts_and_filters(browser: Browser, folder: Path, tmp_path: Path) -> None:
    reports = ReportFolder(tmp_path)
    verdict = Verdict.model_validate_json(next(folder.glob("*mp4.verdict.json")).read_bytes())
    few = verdict.model_copy(update={"tracks": (), "spans": ()})
    for number in range(500):
        summary = few.summary.model_copy(update={"probability": (number * 7 % 500) / 500})
        named = few.asset.model_copy(update={"uri": f"file:///clip-{number}.mp4"})
        one = few.model_copy(update={"summary": summary, "asset": named})
        (tmp_path / f"clip-{number}.mp4.verdict.json").write_text(one.to_json(), encoding="utf-8")
        (tmp_path / f"clip-{number}.mp4.html").touch()
    with Visit(browser, reports.write_index()) as visit:
        rows = visit.page.locator("tbody tr:visible")
        assert rows.count() == 500
        visit.page.click("th button:has-text('Video')")
        assert "clip-0.mp4" in rows.first.inner_text()  # numbers in names count as numbers
        assert "clip-499.mp4" in rows.last.inner_text()
        visit.page.click("th button:has-text('Probability')")
        assert "over 99" in rows.first.inner_text() or "100" in rows.first.inner_text()
        visit.page.fill("#text", "clip-12")
        assert rows.count() == 11
        assert "11 of 500" in visit.page.inner_text("#say")


def test_on_a_telephone_nothing_sticks_out(browser: Browser, folder: Path) -> None:
    with Visit(browser, page_of(folder), width=390) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_on_paper_the_player_is_gone_and_the_findings_stay(browser: Browser, folder: Path) -> None:
    with Visit(browser, page_of(folder)) as visit:
        visit.page.emulate_media(media="print")
        assert not visit.page.is_visible(".stage")
        assert visit.page.is_visible(".finding")
