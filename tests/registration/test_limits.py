"""What is doubtful about images and results is said, and what is of the model's kind is not."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import KnownModel, brain_like
from scipy import ndimage

import fire_tf.model.storage
from fire_tf.cohorts.manifest import Row
from fire_tf.cohorts.summary import cohort_page
from fire_tf.files.doubts import Doubt
from fire_tf.geometry.canvas import prepare
from fire_tf.geometry.images import Image
from fire_tf.register import main
from fire_tf.registration.limits import doubts, learnt, measured, rim, spacing_doubts, tissue
from fire_tf.registration.pair import register_pair
from fire_tf.registration.quality import quality
from fire_tf.registration.user_images import register_images

SIZE, STEP = (48, 44), 4.0
AFFINE = np.diag([STEP, STEP, 4.0, 1.0])
CENTRED = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in SIZE], indexing="ij"), axis=-1)


class Inverting(KnownModel):
    """Leaves images where they are; its two modalities are each other's negative within the brain."""

    def estimate_pair(self, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
        out = super().estimate_pair(a, b)
        return {**out, "synth_b": np.where(a > -1, -a, -1), "synth_a": np.where(b > -1, -b, -1)}


def brain(seed: int = 0) -> np.ndarray:
    texture = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SIZE), 2)
    inside = np.hypot(*np.moveaxis(CENTRED / (13, 15), -1, 0)) < 1
    return np.where(inside, 500 + 400 * texture / np.abs(texture).max(), 0).astype(np.float32)


def negative(image: np.ndarray) -> np.ndarray:
    return np.where(image > 0, 1000 - image, 0).astype(np.float32)


def as_image(data: np.ndarray, name: str = "image", step: float = STEP) -> Image:
    return Image(data[..., None], np.diag([step, step, 4.0, 1.0]), name)


def head(image: np.ndarray) -> np.ndarray:
    """A scalp of 900 around a brain, bone of 30 between them."""
    distance = ndimage.distance_transform_edt(image == 0) * STEP
    return np.where(
        (distance > 10) & (distance <= 18), 900, np.where((distance > 0) & (distance <= 10), 30, image)
    )


@pytest.fixture(scope="module")
def model() -> Inverting:
    """A model that has learnt its limits from twenty pairs of its kind."""
    model = Inverting(SIZE, (STEP, STEP))
    noise = np.random.default_rng(9)
    rows = []
    for seed in range(20):
        other = negative(brain(seed)) * noise.uniform(0.9, 1.1, SIZE).astype(np.float32)
        rows.append(measured(register_pair(model, as_image(brain(seed)), as_image(other))))
    model.preprocessing = {
        **model.preprocessing,
        "limits": json.loads(json.dumps(learnt(rows, images=len(rows)))),
    }
    return model


def said(model: Inverting, moving: np.ndarray, fixed: np.ndarray) -> list[str]:
    found = register_pair(model, as_image(moving.astype(np.float32)), as_image(fixed.astype(np.float32)))
    return doubts(found, quality(found), ("M", "F"), model, affine_only=False)


def test_a_pair_of_the_models_kind_is_not_doubted(model: Inverting) -> None:
    assert said(model, brain(30), negative(brain(30))) == []


@pytest.mark.parametrize(
    ("moving", "fixed", "expected"),
    [
        (brain(30), negative(brain(31)), {"M and F: similarity"}),
        (
            brain(30),
            brain(30),
            {"M and F: similarity", "M and F: synthesis makes"},
        ),
        (head(brain(30)), negative(brain(30)), {"M: is as dark as"}),
        (brain(30), head(negative(brain(30))), {"F: is as dark as"}),
        (
            brain(30) * (CENTRED[..., 0] < -8),
            negative(brain(30)) * (CENTRED[..., 0] < -8),
            {"M: shows", "F: shows"},
        ),
    ],
    ids=["another anatomy", "one modality", "a moving head", "a fixed head", "mostly empty"],
)
def test_what_lies_beyond_the_limits_is_said(
    model: Inverting, moving: np.ndarray, fixed: np.ndarray, expected: set[str]
) -> None:
    lines = said(model, moving, fixed)
    for beginning in expected:
        assert any(line.startswith(beginning) for line in lines), (beginning, lines)
    if "similarity" not in str(expected):  # an image's own fault is laid to that image alone
        images = {beginning[0] for beginning in expected}
        assert {line[0] for line in lines if " and " not in line[:8]} == images


def test_limits_lie_where_they_are_said_to_lie() -> None:
    values = np.arange(101) / 100  # the hundredth is 0.01, the tenth 0.1
    row = {"similarity": 0.0, "affine_similarity": 0.0, "gain": 0.5, "rim": 0.0, "size": 10.0}
    rows = [{"T1": {**row, "similarity": value, "rim": value, "size": 10 + value}} for value in values]
    limits = learnt(rows, images=100)
    assert limits["T1"]["similarity"] == pytest.approx(0.01 - 2 * 0.09)
    assert limits["T1"]["rim"] == pytest.approx((0.01 - 1) / 2, abs=1e-4)
    assert limits["T1"]["size"] == pytest.approx([6.0, 14.3])
    assert limits["gain"] == 0
    alike = [{"T1": {**row, "similarity": 0.95}}] * 3  # draws of one head, which say nothing of other heads
    found = [learnt(alike, images=count)["T1"]["similarity"] for count in (1, 100)]
    assert found == pytest.approx([1 - 3 * 0.05, 0.95])
    never = learnt([{"T1": {**row, "gain": -0.1, "rim": float("nan")}}], images=100)
    assert "gain" not in never  # where synthesis never helps, that it does not is no fault of a pair
    assert "rim" not in never["T1"]


def test_tissue_and_rim_have_the_values_of_a_head_that_was_drawn() -> None:
    data = np.zeros((60, 60), np.float32)
    data[10:50, 10:50] = 1000  # 40 x 40 voxels of 2 mm
    data[13:47, 13:47] = 250  # from 6 mm below the outline on
    data[20:40, 20:40] = 1000  # and brighter again from 20 mm on
    image = prepare(as_image(data, step=2.0), (2, 2), (60, 60), 99.5)
    assert tissue(image) == pytest.approx(40 * 40 * 0.04)
    assert rim(image) == pytest.approx(-0.5, abs=1e-6)
    assert np.isnan(rim(replace(image, data=np.ones((60, 60), np.float32))))


def test_voxel_sizes_of_another_order_are_said(model: Inverting) -> None:
    assert spacing_doubts(as_image(brain(), "image", 7.9), model) == []
    assert spacing_doubts(as_image(brain(), "image", 0.6), model) == []
    assert spacing_doubts(as_image(brain(), "image", 9.0), model) == [
        "image: has voxels of 9 x 9 mm, far from the 4 x 4 mm that the model works at"
    ]
    assert "0.004 x 0.004" in spacing_doubts(as_image(brain(), "image", 0.004), model)[0]


def test_a_model_without_limits_says_nothing(model: Inverting) -> None:
    other = Inverting(SIZE, (STEP, STEP))
    found = register_pair(other, as_image(brain(1)), as_image(brain(2)))
    assert doubts(found, quality(found), ("M", "F"), other, affine_only=False) == []


@pytest.fixture
def scans(model: Inverting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(fire_tf.model.storage, "find_model", lambda folder: Path(folder))
    monkeypatch.setattr(fire_tf.model.storage, "load_model", lambda folder, compiled: model)
    images = {"good": negative(brain(3)), "other": negative(brain(4)), "moving": brain(3)}
    images["nan"] = np.where(images["good"] > 0, images["good"], np.nan)
    for name, data in images.items():
        nib.Nifti1Image(data[..., None].astype(np.float32), AFFINE).to_filename(tmp_path / f"{name}.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_warnings_are_shown_and_written(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def registered(fixed: str) -> tuple[list[str], list[str], float]:
        main(
            [
                "--model",
                "m",
                "--moving",
                "moving.nii.gz",
                "--fixed",
                f"{fixed}.nii.gz",
                "--output-prefix",
                f"{fixed}_",
            ]
        )
        shown = capsys.readouterr().err.splitlines()
        written = json.loads((scans / f"{fixed}_qc.json").read_text())["warnings"]
        return shown, written, (scans / f"{fixed}_qc.png").stat().st_size

    assert registered("good")[:2] == ([], [])
    shown, written, _ = registered("other")
    assert len(written) == 2  # little alike, and no more so for being synthesised
    assert shown == [f"warning: {line}" for line in written]
    assert written[0].startswith("moving.nii.gz and other.nii.gz: similarity is ")
    shown, written, _ = registered("nan")
    assert shown == [f"warning: {line}" for line in written]
    assert len(written) == 1
    assert written[0].startswith("nan.nii.gz: ")
    with pytest.warns(Doubt, match="read as air"):
        register_images(fire_tf.model.storage.load_model("m", compiled=False), "moving.nii.gz", "nan.nii.gz")


def test_the_picture_has_them_as_its_title(
    model: Inverting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fire_tf.pictures.registration as pictures
    from fire_tf.registration.results import draw_alignment

    drawn = []
    monkeypatch.setattr(pictures, "save", lambda figure, path: drawn.append(figure))
    found = register_pair(model, as_image(brain(1)), as_image(brain(2)))
    draw_alignment(found, tmp_path / "a.png")
    draw_alignment(found, tmp_path / "b.png", ["M: is odd " + "indeed " * 60])
    assert drawn[0].get_suptitle() == ""
    assert drawn[1].get_suptitle().startswith("warning: M: is odd")
    assert drawn[1].get_suptitle().count("\n") >= 1
    assert drawn[1].get_figheight() > drawn[0].get_figheight()


def test_the_page_and_the_table_of_a_cohort_have_them(scans: Path) -> None:
    (scans / "pairs.csv").write_text(
        "moving,fixed,name\nmoving.nii.gz,good.nii.gz,one\nmoving.nii.gz,other.nii.gz,two\n"
    )
    main(["--model", "m", "--batch", "pairs.csv", "--output-prefix", "c_"])
    with open(scans / "c_summary.csv", newline="") as stream:
        found = {row["name"]: row["warnings"] for row in csv.DictReader(stream)}
    assert found["one"] == ""
    assert found["two"].count("; ") == 1
    page = (scans / "c_summary.html").read_text()
    assert "2 pairs, 0 failed, 1 doubtful" in page
    assert (
        page.index("<h2>two</h2>") < page.index("other.nii.gz: similarity is -") < page.index("<h2>one</h2>")
    )
    odd = Row("odd", Path("a"), Path("b"), numbers={"similarity": 0.9, "warnings": ["b: is <odd>"]})
    dull = Row("dull", Path("a"), Path("b"), numbers={"similarity": 0.1, "warnings": []})
    page = cohort_page([dull, odd], "c_")
    assert page.index("<h2>odd</h2>") < page.index("b: is &lt;odd&gt;") < page.index("<h2>dull</h2>")


def test_images_that_are_no_brains_differ(model: Inverting) -> None:
    """`brain_like` is one blob: its limits are its own, so a smooth image of another kind is said to be one."""
    assert said(model, brain_like(SIZE, 0), brain_like(SIZE, 1))
