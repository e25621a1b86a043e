"""`register --bids`: the results of a cohort as a derivatives dataset."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fake_model import SLICE_AFFINE, SLICE_SIZE, KnownModel, brain_like, two_slices
from PIL import Image

from fire_tf.cohorts.dataset import read_dataset
from fire_tf.files.errors import InputError
from fire_tf.register import main
from fire_tf.registration.pair import modalities

OUT = Path("ds/derivatives/fire_tf")
REGISTER = ["--model", "m", "--bids", "ds", "--from", "T1w", "--to", "FLAIR"]
IMAGES = {
    "space-FLAIR_T1w.nii.gz",
    "space-T1w_FLAIR.nii.gz",
    "space-FLAIR_desc-synthesized_T1w.nii.gz",
    "space-T1w_desc-synthesized_FLAIR.nii.gz",
}
TRANSFORMS = {
    f"{way}_mode-image_{ending}"
    for way in ("from-T1w_to-FLAIR", "from-FLAIR_to-T1w")
    for ending in ("xfm.nii.gz", "desc-affine_xfm.mat")
}


def draw_nothing(found: object, path: Path, warnings: object = ()) -> None:
    """In the place of a picture that takes most of a pair's time."""
    Image.new("L", (8, 8)).save(path)


def write(name: str, seed: int) -> None:
    path = Path("ds") / f"{name}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(
        brain_like(SLICE_SIZE, seed)[..., np.newaxis], SLICE_AFFINE
    )  # BIDS asks for three axes
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A dataset ds, in the working folder: sub-01, sub-02 with a session, sub-03 without FLAIR."""
    monkeypatch.setattr("fire_tf.registration.results.draw_alignment", draw_nothing)
    two_slices(monkeypatch, tmp_path)
    write("sub-01/anat/sub-01_T1w", 0)
    write("sub-01/anat/sub-01_FLAIR", 1)
    write("sub-02/ses-a/anat/sub-02_ses-a_run-1_T1w", 2)
    write("sub-02/ses-a/anat/sub-02_ses-a_FLAIR", 3)
    write("sub-03/anat/sub-03_T1w", 4)
    (tmp_path / "ds/dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return tmp_path / "ds"


def names(folder: Path, stem: str) -> set[str]:
    return {path.name.removeprefix(stem) for path in folder.iterdir()}


def test_the_results_are_a_derivatives_dataset(dataset: Path, capsys) -> None:
    main(REGISTER)
    assert "sub-03_T1w.nii.gz left out, it holds no FLAIR" in capsys.readouterr().err
    found = names(OUT / "sub-01/anat", "sub-01_")
    results = IMAGES | TRANSFORMS
    assert found == results | {f"{name.split('.')[0]}.json" for name in results}
    # A file bears the entities of the image that it is made from.
    session = names(OUT / "sub-02/ses-a/anat", "sub-02_ses-a_")
    assert {"run-1_space-FLAIR_T1w.nii.gz", "space-T1w_FLAIR.nii.gz"} < session
    assert {"run-1_from-T1w_to-FLAIR_mode-image_xfm.json", "from-FLAIR_to-T1w_mode-image_xfm.json"} < session
    assert not (OUT / "sub-03").exists()
    description = json.loads((OUT / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "fire_tf"
    assert (OUT / description["DatasetLinks"]["input"]).resolve() == dataset
    assert (OUT / ".bidsignore").read_text().split() == ["*_xfm.*", "figures"]
    page = (OUT / "figures/from-T1w_to-FLAIR_summary.html").read_text()
    assert "from-T1w_to-FLAIR_sub-02_ses-a_run-1_thumb.webp" in page
    assert not list(OUT.rglob(".fire_tf_*"))


def test_the_files_are_those_of_a_single_run(dataset: Path) -> None:
    main(REGISTER)
    images = [f"ds/sub-01/anat/sub-01_{suffix}.nii.gz" for suffix in ("T1w", "FLAIR")]
    main(["--model", "m", "--moving", images[0], "--fixed", images[1], "--output-prefix", "P_"])
    same = {
        "space-FLAIR_T1w": "Warped",
        "space-T1w_FLAIR": "InverseWarped",
        "space-T1w_desc-synthesized_FLAIR": "SynthesizedFLAIR",
        "space-FLAIR_desc-synthesized_T1w": "SynthesizedT1",
        "from-T1w_to-FLAIR_mode-image_xfm": "CompositeWarp",
        "from-FLAIR_to-T1w_mode-image_xfm": "InverseCompositeWarp",
    }
    for name, plain in same.items():
        ours, theirs = nib.load(OUT / f"sub-01/anat/sub-01_{name}.nii.gz"), nib.load(f"P_{plain}.nii.gz")
        assert np.array_equal(ours.get_fdata(), theirs.get_fdata()), name
    for name, plain in {"T1w_to-FLAIR": "Affine", "FLAIR_to-T1w": "InverseAffine"}.items():
        path = OUT / f"sub-01/anat/sub-01_from-{name}_mode-image_desc-affine_xfm.mat"
        assert path.read_bytes() == Path(f"P_{plain}.mat").read_bytes()


def test_sidecars(dataset: Path) -> None:
    (dataset / "sub-01/anat/sub-01_FLAIR.json").write_text('{"SkullStripped": true}')
    main(REGISTER)
    moving, fixed = (f"bids:input:sub-01/anat/sub-01_{suffix}.nii.gz" for suffix in ("T1w", "FLAIR"))

    def sidecar(name: str) -> dict:
        return json.loads((OUT / f"sub-01/anat/sub-01_{name}.json").read_text())

    warped, back = sidecar("space-FLAIR_T1w"), sidecar("space-T1w_FLAIR")
    assert warped["Sources"] == [moving, "bids::sub-01/anat/sub-01_from-T1w_to-FLAIR_mode-image_xfm.nii.gz"]
    assert (warped["SpatialReference"], back["SpatialReference"]) == (fixed, moving)
    assert (warped["SkullStripped"], back["SkullStripped"]) == (False, True)
    assert warped["CommandLine"].endswith("--bids ds --from T1w --to FLAIR")
    assert warped["SoftwareVersion"]
    transform = sidecar("from-FLAIR_to-T1w_mode-image_xfm")
    assert (transform["Sources"], transform["SpatialReference"]) == ([fixed, moving], moving)
    assert sidecar("space-T1w_desc-synthesized_FLAIR")["SpatialReference"] == moving


def test_derived_images_are_named_by_their_entities(dataset: Path) -> None:
    for suffix in ("T1w", "FLAIR"):
        write(f"sub-03/anat/sub-03_desc-brain_{suffix}", 5)
    main([*REGISTER[:4], "--from", "desc-brain_T1w", "--to", "desc-brain_FLAIR", "--output", "out"])
    found = names(Path("out/sub-03/anat"), "sub-03_")
    assert {"space-FLAIR_desc-brain_T1w.nii.gz", "from-T1w_to-FLAIR_mode-image_xfm.nii.gz"} < found
    assert "space-T1w_desc-synthesized_FLAIR.nii.gz" in found
    sidecar = json.loads(Path("out/sub-03/anat/sub-03_space-FLAIR_desc-brain_T1w.json").read_text())
    assert sidecar["SkullStripped"] is True
    assert not Path("out/sub-01").exists()


def test_another_selection_does_not_write_over_results(dataset: Path, capsys) -> None:
    """The names of what is made from the FLAIR image do not tell onto which of two T1w images."""
    for acquisition in "ab":
        write(f"sub-03/anat/sub-03_acq-{acquisition}_T1w", 5)
    write("sub-03/anat/sub-03_FLAIR", 6)
    select = [*REGISTER[:4], "--to", "FLAIR", "--participant", "03", "--output", "out", "--from"]
    main([*select, "acq-a_T1w"])
    main([*select, "acq-a_T1w"])  # the same again is no other
    before = {path: path.read_bytes() for path in Path("out/sub-03").rglob("*.*")}
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([*select, "acq-b_T1w"])
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert (
        "is of bids:input:sub-03/anat/sub-03_FLAIR.nii.gz, bids:input:sub-03/anat/sub-03_acq-a_T1w.nii.gz"
        in error
    )
    assert "--output: give each selection its own" in error
    assert {path: path.read_bytes() for path in Path("out/sub-03").rglob("*.*")} == before


def test_the_other_direction_takes_the_other_modality(dataset: Path) -> None:
    main([*REGISTER[:4], "--from", "FLAIR", "--to", "T1w", "--participant", "01", "--output", "out"])
    assert {path.name for path in Path("out").glob("sub-*")} == {"sub-01"}
    status = json.loads(Path("out/figures/from-FLAIR_to-T1w_sub-01_status.json").read_text())
    assert status["made_from"]["options"]["moving_modality"] == "FLAIR"
    # The fake model's synthesised images are the inputs, inverted.
    image = nib.load("ds/sub-01/anat/sub-01_FLAIR.nii.gz").get_fdata().squeeze()
    synthesis = (
        nib.load("out/sub-01/anat/sub-01_space-FLAIR_desc-synthesized_T1w.nii.gz").get_fdata().squeeze()
    )
    brain = image > 0
    assert np.corrcoef(image[brain], synthesis[brain])[0, 1] < -0.99


def test_resume_passes_over_what_is_done_and_makes_what_is_missing(dataset: Path, capsys) -> None:
    main([*REGISTER, "--shard", "1/2"])
    assert not (OUT / "sub-02").exists()
    main([*REGISTER, "--resume"])
    assert "1 pairs were done" in capsys.readouterr().out
    lost = OUT / "sub-01/anat/sub-01_space-FLAIR_T1w.json"
    lost.unlink()
    main([*REGISTER, "--resume"])
    assert lost.is_file()
    assert "1 pairs were done" in capsys.readouterr().out
    main([*REGISTER, "--summary"])
    assert "2 of 2 pairs are done" in capsys.readouterr().out


def test_an_image_that_cannot_be_read_fails_alone(dataset: Path, capsys) -> None:
    lost = dataset / "sub-01/anat/sub-01_T1w.nii.gz"
    lost.unlink()
    lost.symlink_to("nowhere")
    with pytest.raises(SystemExit) as stopped:
        main(REGISTER)
    assert stopped.value.code == 1
    assert f"sub-01: error: {lost}: no such file" in capsys.readouterr().err
    assert (OUT / "sub-02").is_dir()
    assert not (OUT / "sub-01").exists()


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--bids", "gone", "--from", "T1w", "--to", "FLAIR"], "gone: no such folder"),
        (["--bids", "ds/sub-01", "--from", "T1w", "--to", "FLAIR"], "is no BIDS dataset"),
        (["--bids", "ds", "--from", "T1w"], "--bids needs --from and --to"),
        (["--bids", "ds", "--from", "T1w", "--to", "run-1_T1w"], "one suffix"),
        (["--bids", "ds", "--from", "T1w", "--to", "FLAIR", "--output", "ds"], "is the dataset itself"),
        (["--bids", "ds", "--from", "T1w", "--to", "FLAIR", "--output", "other"], "holds other results (y)"),
        (["--bids", "ds", "--from", "T1w", "--to", "FLAIR", "--output-prefix", "P_"], "no --output-prefix"),
        (["--bids", "ds", "--from", "T1w", "--to", "FLAIR", "--batch", "p.csv"], "give --moving and --fixed"),
        (
            ["--moving", "a", "--fixed", "b", "--output-prefix", "P_", "--output", "o"],
            "--output needs --bids",
        ),
        (["--moving", "a.nii.gz", "--fixed", "b.nii.gz"], "give --output-prefix"),
    ],
)
def test_what_cannot_be_done_is_one_line(dataset: Path, arguments: list[str], cause: str, capsys) -> None:
    Path("other").mkdir()
    Path("other/dataset_description.json").write_text('{"Name": "y"}')
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "m", *arguments])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert cause in error
    assert error.count("\n") == 1
    assert not (dataset / "derivatives").exists()


def test_modalities_by_their_suffixes(dataset: Path) -> None:
    model = KnownModel((8, 8), (1.0, 1.0))
    assert modalities(model, "T1w", "FLAIR") == ("T1", "FLAIR")
    assert modalities(model, "desc-brain_FLAIR", "desc-brain_T1w") == ("FLAIR", "T1")
    with pytest.raises(InputError, match="fixed modality 'T2w': this model knows 'T1' and 'FLAIR'"):
        modalities(model, "T1w", "T2w")
    with pytest.raises(InputError, match="fixed modality 'T1w': this model registers T1 and FLAIR"):
        modalities(model, "T1", "T1w")
    model.preprocessing.update(modality_a="pre_T1", modality_b="post_T1")
    assert modalities(model, "post_T1") == ("post_T1", "pre_T1")
    with pytest.raises(InputError, match="moving modality 'T1w'"):  # which of the two?
        modalities(model, "T1w")
    # A modality that is given counts, whatever the names say.
    rows = read_dataset(dataset, "T1w", "FLAIR", ["1".zfill(2)], Path("out"), "FLAIR").rows
    assert [(row.moving_modality, row.fixed_modality) for row in rows] == [(None, None)]


def _validator() -> str | None:
    return shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(_validator() is None, reason="bids-validator-deno is not installed")
@pytest.mark.parametrize("more", [[], ["--write", "h5", "--affine-only"]])
def test_the_official_validator_accepts_the_results(dataset: Path, more: list[str]) -> None:
    if more:
        pytest.importorskip("SimpleITK")
    main([*REGISTER, *more])

    def verdict() -> list[str]:
        command = [str(_validator()), str(OUT), "--format", "json"]
        issues = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)["issues"][
            "issues"
        ]
        return [issue["code"] for issue in issues if issue["severity"] == "error"]

    assert verdict() == []
    # Which it would say if it were not so.
    (OUT / "sub-01/anat/sub-01_space-FLAIR_T1w.json").unlink()
    (OUT / ".bidsignore").write_text("figures\n")
    assert set(verdict()) == {"NOT_INCLUDED", "SIDECAR_KEY_REQUIRED"}
