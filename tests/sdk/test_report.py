from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dmcl_sdk import VideoError
from dmcl_sdk.detector import failed_verdict
from dmcl_sdk.explanation import Explanation
from dmcl_sdk.report import charts, pictures, words
from dmcl_sdk.report.evidence import bundle
from dmcl_sdk.report.folder import MOST_EMBEDDED_BYTES, ReportFolder, check_embeddable, film_of
from dmcl_sdk.report.page import Film, page
from dmcl_sdk.report.redaction import redacted_copy
from dmcl_sdk.verdict import Box, Decision, Item, Modalities, Reason
from dmcl_sdk.video import open_video
from tests.sdk.crowds import crowd
from tests.sdk.scenes import known_face, red_detector, red_video

EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&.mp4"


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return red_detector().explain(red_video(100, 40, 60))


def made(explanation: Explanation, name: str = "clip.mp4") -> str:
    return page(explanation.verdict, explanation, name=name, film=Film("./clip.mp4"))


def test_a_page_says_who_when_how_sure_and_why(explanation: Explanation) -> None:
    html = made(explanation)
    assert "Face 0 looks manipulated from 0:01.6 to 0:02.4." in html
    assert "The picture of the face stands out from 0:01.6 to 0:02.4: " in html
    assert "Picture and motion disagree about this stretch" in html
    assert str(explanation.verdict.asset.sha256) in html


def test_a_page_refers_to_nothing_outside_itself_but_its_video(explanation: Explanation) -> None:
    for _, attributes in Tags(made(explanation)).found:
        assert not {"style", "onclick", "onerror", "onload"} & set(attributes)
        for name in ("src", "href", "poster", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:") or value == "./clip.mp4"
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", made(explanation))


def test_the_policy_of_a_page_allows_its_own_script_and_style_alone(explanation: Explanation) -> None:
    html = made(explanation)
    (policy,) = (
        attributes["content"] or ""
        for tag, attributes in Tags(html).found
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)[0]
    import base64
    import hashlib

    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_markup_in_names_and_metadata_stays_text(explanation: Explanation) -> None:
    verdict = explanation.verdict
    asset = verdict.asset.model_copy(
        update={"uri": f"file:///{EVIL}", "codec": EVIL, "item": Item(id=EVIL, type=EVIL)}
    )
    decision = Decision(
        policy_id=EVIL, version=EVIL, sha256="1" * 64, mode="shadow", action=EVIL, queue=EVIL, rule=EVIL
    )
    evil = verdict.model_copy(update={"asset": asset, "decision": decision})
    html = page(evil, explanation, name=EVIL, film=Film("./clip.mp4"))
    plain = Tags(made(explanation)).found
    tags = [tag for tag, _ in Tags(html).found]
    assert tags.count("script") == [tag for tag, _ in plain].count("script") == 2
    assert "<script>alert" not in html
    assert "onerror" not in {name for _, attributes in Tags(html).found for name in attributes}
    data = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[0]
    assert json.loads(data)["duration"] == 4.0


def test_a_verdict_of_a_detector_without_evidence_has_a_page_of_what_it_says(
    explanation: Explanation,
) -> None:
    words_of_it = Reason(code="appearance_anomaly", message="the vendor's own words", track_id=0)
    told = explanation.verdict.model_copy(
        update={"model": None, "runtime": None, "reasons": (words_of_it, *explanation.verdict.reasons)}
    )
    html = page(told, None, name="clip.mp4", film=Film("./clip.mp4"))
    assert "gives neither curves nor pictures" in html
    assert "The vendor&#39;s own words." in html  # of the face
    assert "its picture stands out" in html  # of the span
    assert "Two streams" not in html
    data = json.loads(
        re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[0]
    )
    assert [face["at"][0][0] for face in data["boxes"]] == [0]


def test_of_a_long_video_with_forty_spans_each_is_drawn_from_its_own_part() -> None:
    explanation = crowd(1, 600, 40)
    assert len(explanation.verdict.spans) == 40
    html = page(explanation.verdict, explanation, name="clip.mp4", film=Film(None))
    assert html.count('<li class="finding"') == 40
    assert len(html) < 2_000_000
    span = explanation.verdict.spans[7]
    zoomed = charts.chart(
        explanation.curves[0], explanation.spec, span.start_ms / 1000 - 2, span.end_ms / 1000 + 2
    )
    assert zoomed.highest == pytest.approx(0.953, abs=0.001)
    assert zoomed.highest_s == pytest.approx(span.start_ms / 1000, abs=0.2)


def test_a_span_that_only_stands_out_of_its_face_is_not_called_suspect(explanation: Explanation) -> None:
    calm = Modalities(rgb=0.1, flow=0.2, disagreement=0.1)
    span = explanation.verdict.spans[0].model_copy(update={"probability": 0.2, "modalities": calm})
    (sentence,) = words.findings(span, None, explanation.spec)
    assert "neither picture nor motion is suspect" in sentence
    html = made(replace(explanation, verdict=explanation.verdict.model_copy(update={"spans": (span,)})))
    assert "Face 0 looks manipulated, but no stretch of it by itself; it stands out most from 0:01.6" in html
    assert '<span class="chip is-uncertain">' in html


def test_a_face_that_does_not_move_has_a_picture_that_says_so() -> None:
    still, moved = np.zeros((2, 64, 64), np.float32), np.ones((2, 64, 64), np.float32)
    assert not pictures.moves(still)
    assert pictures.moves(moved)
    assert words.motion_words(4, 4, moves=False).startswith("Nothing moves")


def test_pictures_are_veiled_and_the_video_is_muted_until_somebody_asks(explanation: Explanation) -> None:
    tags = Tags(made(explanation)).found
    assert dict(tags)["body"]["class"] == "veiled"
    assert "muted" in dict(tags)["video"]


def test_a_verdict_without_a_face_has_a_page_that_says_so() -> None:
    explanation = red_detector().explain(red_video(60, 0, 0))
    html = made(explanation)
    assert "No stretch of the face stands out." in html
    failed = failed_verdict(VideoError("notes.txt", "not_a_video", "this is not a video <b>"))
    html = page(failed, None, name="notes.txt", film=Film(None))
    assert "This file could not be read as a video." in html
    assert "This is not a video &lt;b&gt;" in html
    assert "Only faces were looked at" not in html
    assert "<main" not in html


def test_a_curve_is_thinned_without_losing_its_peak(explanation: Explanation) -> None:
    (curve,) = explanation.curves
    drawn = charts.chart(curve, explanation.spec, 0.0, 4.0)
    fused = explanation.spec.frame_calibration.probability(curve.logits[:, 0])
    assert drawn.highest == pytest.approx(fused.max())
    long = charts.chart(curve, explanation.spec, 0.0, 4000.0)  # a thousand times more than a column a frame
    assert long.highest == pytest.approx(fused.max())
    assert drawn.line.count("M") == 1


def test_time_that_was_not_judged_is_a_gap_and_not_a_zero(explanation: Explanation) -> None:
    (curve,) = explanation.curves
    logits = curve.logits.copy()
    logits[20:30] = np.nan
    drawn = charts.chart(replace(curve, logits=logits), explanation.spec, 0.0, 4.0)
    assert drawn.line.count("M") == 2
    ((left, width),) = drawn.unjudged
    assert (left, width) == pytest.approx((20, 10), abs=0.3)


@pytest.mark.parametrize(("length_s", "count"), [(0.5, 8), (4.0, 8), (61.0, 8), (4 * 3600.0, 8)])
def test_ticks_are_few_and_round(length_s: float, count: int) -> None:
    found = charts.ticks(0, length_s)
    assert 2 <= len(found) <= count + 1
    assert all(0 <= left <= 100 for _, left in found)


def test_no_share_is_called_certain_that_is_not() -> None:
    assert [words.percent(share) for share in (0, 0.001, 0.5, 0.999, 1)] == [
        "0\u00a0%",
        "under 1\u00a0%",
        "50\u00a0%",
        "over 99\u00a0%",
        "100\u00a0%",
    ]
    assert words.clock(59_960) == "1:00.0"


def test_a_map_that_was_not_measured_to_look_is_not_shown() -> None:
    assert "not measured" in words.places_words("picture", None)
    assert "so it is not shown" in words.places_words("picture", 0.51)
    assert "not shown" not in words.places_words("motion", 0.7)
    assert words.places_words("motion", 0.7).startswith("On forgeries whose place in the face is known")


def test_a_redacted_face_cannot_be_recognised_and_the_flagged_one_is_as_it_was() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (120, 240, 3), np.uint8)
    hidden, kept = (
        Box(left=0.1, top=0.2, width=0.2, height=0.4),
        Box(left=0.6, top=0.2, width=0.2, height=0.4),
    )
    shown = pictures.redacted(image, [hidden], [kept])
    assert shown[24:72, 24:72].std() < 0.5 * image[24:72, 24:72].std()
    assert np.array_equal(shown[24:72, 144:192], image[24:72, 144:192])


def test_a_redacted_copy_keeps_its_time_and_hides_the_face_without_a_finding() -> None:
    left, right = known_face(0.05, 0.1, 0.35, 0.8), known_face(0.6, 0.1, 0.35, 0.8)
    from tests.made import make_video
    from tests.sdk.scenes import tinted

    def half_red(index: int, width: int, height: int) -> np.ndarray:
        clean, red = (tinted(0, end)(index, width, height) for end in (0, 1000))
        return np.concatenate([clean[:, : width // 2], red[:, width // 2 :]], 1)

    video = make_video(40, width=240, height=120, painter=half_red)
    explanation = red_detector(left, right).explain(video)
    copy = redacted_copy(video, explanation.verdict, explanation)  # type: ignore[arg-type]
    with open_video(copy) as again, open_video(video) as before:
        pairs = [
            (a.start_s, b.start_s, a.image(240), b.image(240)) for a, b in zip(again, before, strict=True)
        ]
    assert all(abs(a - b) < 0.002 for a, b, _, _ in pairs)
    hidden, original = pairs[20][2][30:90, 20:90], pairs[20][3][30:90, 20:90]
    assert hidden.std() < 0.8 * original.std()


def test_a_folder_has_a_page_a_verdict_and_an_index_and_keeps_what_it_had(
    explanation: Explanation, tmp_path: Path
) -> None:
    verdict = explanation.verdict
    for name in ("one.mp4", "two.mp4"):
        folder = ReportFolder(tmp_path / "reports")  # each time anew, as an interrupted run would
        named = verdict.model_copy(
            update={"asset": verdict.asset.model_copy(update={"uri": f"file:///{name}"})}
        )
        folder.add(named, explanation, tmp_path / name)
    index = (tmp_path / "reports" / "index.html").read_text()
    assert "2 videos" in index
    assert 'href="./one.mp4.html"' in index
    assert (tmp_path / "reports" / "one.mp4.verdict.json").exists()
    assert not list((tmp_path / "reports").glob("*.partial"))


def test_two_videos_of_one_name_have_two_pages_and_one_video_has_one(
    explanation: Explanation, tmp_path: Path
) -> None:
    folder = ReportFolder(tmp_path)
    verdict = explanation.verdict
    pages = []
    for place in ("a", "b", "a"):
        asset = verdict.asset.model_copy(update={"uri": f"file:///{place}/clip.mp4"})
        pages.append(
            folder.add(
                verdict.model_copy(update={"asset": asset}), explanation, tmp_path / place / "clip.mp4"
            )
        )
    assert [path.name for path in pages] == ["clip.mp4.html", "clip.mp4-2.html", "clip.mp4.html"]


def test_a_link_to_a_video_is_a_path_whatever_its_name(tmp_path: Path) -> None:
    video = tmp_path / 'javascript:alert("1") #?.mp4'
    assert film_of(video, tmp_path, embed=False).url == "./javascript%3Aalert%28%221%22%29%20%23%3F.mp4"


def test_a_video_too_large_to_embed_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    video = tmp_path / "long.mp4"
    with video.open("wb") as file:
        file.truncate(MOST_EMBEDDED_BYTES + 1)
    with pytest.raises(VideoError, match="64 MiB; without --embed"):
        check_embeddable(video)


def test_a_bundle_is_the_same_bytes_every_time_and_its_sums_are_right(explanation: Explanation) -> None:
    import hashlib

    verdict = explanation.verdict
    content = verdict.to_json().encode()
    html = page(verdict, explanation, name="clip.mp4", film=Film(None))
    first, second = (bundle(content, verdict, explanation, [], html, redact=False) for _ in range(2))
    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.read("verdict.json") == content
        sums = dict(line.split("  ")[::-1] for line in archive.read("SHA256SUMS").decode().splitlines())
        names = set(archive.namelist()) - {"SHA256SUMS"}
        assert set(sums) == names
        assert all(hashlib.sha256(archive.read(name)).hexdigest() == sums[name] for name in names)
        assert {
            "pictures/span-0-frame.jpg",
            "pictures/span-0-face.jpg",
            "pictures/span-0-motion.jpg",
        } <= names
        assert json.loads(archive.read("manifest.json"))["sha256"]["video"] == verdict.asset.sha256
