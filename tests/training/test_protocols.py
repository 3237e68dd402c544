from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import mannwhitneyu

import dmcl_sdk
from dmcl_sdk import Detector
from tests.made import make_video, smooth
from tests.sdk.footage import carphone
from tests.training.test_published import faceforensics, touch, write
from training.protocols import PROTOCOLS, ProtocolReport, run_protocol
from training.scores import Scored, score_video

FRAMES = 32


@pytest.fixture(scope="module")
def model() -> Path:
    """The one that ships."""
    return Path(dmcl_sdk.__file__).parent / "models" / "default.onnx"


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two short talking faces, the second with a band over the mouth, and two files without a face."""
    folder = tmp_path_factory.mktemp("footage")
    with av.open(carphone()) as container:
        frames = [
            np.asarray(frame.to_ndarray(format="yuv420p"), np.uint8)
            for frame in islice(container.decode(video=0), FRAMES)
        ]
    paths = {name: folder / f"{name}.mp4" for name in ("real", "fake", "no face", "no video")}
    encode(paths["real"], frames)
    banded = [frame.copy() for frame in frames]
    for frame in banded:
        frame[90:100, 60:110] = 60
    encode(paths["fake"], banded)
    paths["no face"].write_bytes(make_video(FRAMES, painter=smooth))
    paths["no video"].write_text("not a video")
    return paths


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all, so that the footage is scored once."""
    return tmp_path_factory.mktemp("out")


def encode(path: Path, frames: list[npt.NDArray[np.uint8]]) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = (
            frames[0].shape[0] * 2 // 3,
            frames[0].shape[1],
            "yuv420p",
        )
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="yuv420p")))
        container.mux(stream.encode())


def fill(root: Path, footage: dict[str, Path], kinds: dict[str, str]) -> None:
    """Put footage behind the placeholders of a tree: by a part of the path, the first that fits, else the real one."""
    for path in [path for path in root.rglob("*.mp4") if path.is_file()]:
        kind = next((kind for part, kind in kinds.items() if part in str(path)), "real")
        path.unlink()
        path.symlink_to(footage[kind])


@pytest.fixture
def roots(tmp_path: Path, footage: dict[str, Path]) -> dict[str, Path]:
    ff = faceforensics(tmp_path / "ff")
    faceforensics(ff, methods=("FaceShifter",))
    fill(ff, footage, {"NeuralTextures/c23/videos/953": "no face", "manipulated_sequences": "fake"})
    deeper = tmp_path / "deeper"
    swaps = {"train": ["000_M004", "953_M004"], "val": ["003_W101"], "test": ["974_W102", "010_W102"]}
    for split, names in swaps.items():
        write(deeper / "lists" / "splits" / f"{split}.txt", "\n".join(f"{name}.mp4" for name in names))
        for version in ("end_to_end", "end_to_end_level_5"):
            touch(deeper / "manipulated_videos" / version, *(f"{name}.mp4" for name in names))
    fill(deeper, footage, {"": "fake"})
    preview = tmp_path / "dfdc"
    write(preview / "test" / "labels.csv", "filename,label\na.mp4,0\nb.mp4,1\nc.mp4,0\nd.mp4,1\n")
    touch(preview / "test", "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    fill(preview, footage, {"b.mp4": "fake", "c.mp4": "no video", "d.mp4": "no face"})
    return {"ff++": ff, "deeperforensics": deeper, "dfdc": preview}


def undecided_auc(real: list[float], fake: list[float]) -> float:
    return float(mannwhitneyu(fake, real).statistic / (len(real) * len(fake)))


def test_the_table_is_what_the_videos_score(
    model: Path, roots: dict[str, Path], footage: dict[str, Path], out: Path
) -> None:
    report = run_protocol(model, "ff++-cross", roots, out)
    with Detector(model) as detector:
        real, fake = (score_video(detector, footage[name]).logit for name in ("real", "fake"))
        calibration = detector.spec.calibration
    assert real is not None
    assert fake is not None
    assert real != fake
    real, fake = (calibration.slope * logit + calibration.intercept for logit in (real, fake))
    found = {result.name: result for result in report.results}

    assert list(found) == ["ff++", "dfdc", "faceshifter", "deeperforensics"]
    assert report.not_at_hand == ("Celeb-DF v2", "DFDCP", "DeepFakeDetection (c23)", "WildDeepfake")
    ff, faceshifter, deeper, dfdc = (
        found[name] for name in ("ff++", "faceshifter", "deeperforensics", "dfdc")
    )
    assert (ff.real, ff.fake, ff.unjudged, ff.unreadable) == (2, 8, 1, 0)
    assert ff.auc.value == pytest.approx(undecided_auc([real] * 2, [fake] * 7 + [0.0]))
    assert ff.auc_judged == pytest.approx(undecided_auc([real] * 2, [fake] * 7))
    assert ff.generators["NeuralTextures"] == pytest.approx(undecided_auc([real] * 2, [fake, 0.0]))
    assert (faceshifter.real, faceshifter.fake, faceshifter.generators) == (2, 2, {})
    assert (deeper.real, deeper.fake) == (2, 2)  # targets 953 and 974, whatever DeeperForensics calls test
    assert (dfdc.real, dfdc.fake, dfdc.unjudged, dfdc.unreadable) == (2, 2, 1, 1)
    assert dfdc.auc.value == pytest.approx(undecided_auc([real, 0.0], [fake, 0.0]))

    markdown = (out / "ff++-cross.md").read_text()
    assert markdown == report.as_markdown()
    assert "| Celeb-DF v2 | not at hand |" in markdown
    assert f"| FF++ (c23) | {100 * ff.auc.value:.1f} (" in markdown
    assert json.loads((out / "ff++-cross.json").read_text()) == json.loads(json.dumps(report.as_dict()))
    lines = [json.loads(line) for line in (out / "ff++-cross.jsonl").read_text().splitlines()]
    assert len(lines) == 10 + 4 + 4 + 4
    swapped = {line["logit"] for line in lines if line["set"] == "deeperforensics"}
    assert sorted(swapped) == pytest.approx(sorted([real, fake]))


def test_a_second_run_scores_nothing_again(
    model: Path, roots: dict[str, Path], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_protocol(model, "ff++-cross", {"dfdc": roots["dfdc"]}, out)

    def fail(*_: object) -> Scored:
        raise AssertionError("scored again")

    monkeypatch.setattr("training.scores.score_video", fail)  # hours of work stand behind it
    assert run_protocol(model, "ff++-cross", {"dfdc": roots["dfdc"]}, out) == first


def test_an_incomplete_set_is_an_error_before_anything_is_scored(
    model: Path, roots: dict[str, Path], out: Path, tmp_path: Path
) -> None:
    (roots["dfdc"] / "test" / "b.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"DFDC \(test\) is not complete: 3 of 4 videos are there"):
        run_protocol(model, "ff++-cross", roots, tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()
    report = run_protocol(model, "ff++-cross", {"dfdc": roots["dfdc"]}, out, allow_missing=True)
    assert (report.results[0].real, report.results[0].fake) == (2, 1)


def test_names_that_nobody_knows_are_refused_with_those_that_are_known(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no protocol is called ff; there is ff\+\+-cross"):
        run_protocol(model, "ff", {})
    with pytest.raises(ValueError, match=r"no set called celebdf; its sets are ff\+\+, celeb-df-v2, dfdc"):
        run_protocol(model, "ff++-cross", {"celebdf": tmp_path})
    with pytest.raises(ValueError, match="needs at least one of its sets"):
        run_protocol(model, "ff++-cross", {})


def test_an_undefined_figure_is_said_to_be_so(model: Path, roots: dict[str, Path], out: Path) -> None:
    write(roots["dfdc"] / "test" / "labels.csv", "filename,label\na.mp4,0\n")
    report = run_protocol(model, "ff++-cross", {"dfdc": roots["dfdc"]}, out)
    assert "| DFDC | undefined" in report.as_markdown()
    (row,) = report.as_dict()["sets"]
    assert row["auc"]["value"] is None
    assert "NaN" not in json.dumps(report.as_dict())


def test_a_report_without_sets_still_names_them_all() -> None:
    titles = tuple(row.title for row in PROTOCOLS["ff++-cross"].values())
    about = {"name": "tiny", "version": "0", "sha256": "0" * 64}
    markdown = ProtocolReport("ff++-cross", about, (), titles).as_markdown()
    assert markdown.count("not at hand") == len(titles) == 8
