"""Which images of a BIDS dataset are a pair, by names alone."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fire_tf.bids.dataset import chosen, find_pairs, participants
from fire_tf.bids.names import BidsImage, parse_name, read_selector
from fire_tf.files.doubts import collected
from fire_tf.files.errors import InputError


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., Path]:
    def make(*names: str) -> Path:
        """A dataset of empty files, named as behind their folders."""
        for name in names:
            entities = dict(part.split("-") for part in name.split("_")[:-1])
            folder = tmp_path / f"sub-{entities['sub']}"
            folder = folder / f"ses-{entities['ses']}" / "anat" if "ses" in entities else folder / "anat"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / (name if "." in name else f"{name}.nii.gz")).touch()
        (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}))
        return tmp_path

    return make


def pairs(root: Path, first: str = "T1w", second: str = "FLAIR") -> list[tuple[str, str]]:
    selectors = read_selector(first, "--from"), read_selector(second, "--to")
    found = find_pairs(root, participants(root), *selectors)
    return [(one.path.name.split(".")[0], two.path.name.split(".")[0]) for one, two in found]


@pytest.mark.parametrize(
    ("first", "second", "names", "expected"),
    [
        ("T1w", "FLAIR", ["sub-1_T1w", "sub-1_FLAIR.nii", "sub-1_T2w"], [("sub-1_T1w", "sub-1_FLAIR")]),
        # Of a session, whatever else their names say.
        (
            "T1w",
            "FLAIR",
            ["sub-1_ses-a_acq-mprage_T1w", "sub-1_ses-a_FLAIR", "sub-1_ses-b_T1w", "sub-1_ses-b_run-2_FLAIR"],
            [
                ("sub-1_ses-a_acq-mprage_T1w", "sub-1_ses-a_FLAIR"),
                ("sub-1_ses-b_T1w", "sub-1_ses-b_run-2_FLAIR"),
            ],
        ),
        (
            "T1w",
            "FLAIR",
            [f"sub-1_run-{run}_{suffix}" for run in (1, 2) for suffix in ("T1w", "FLAIR")],
            [("sub-1_run-1_T1w", "sub-1_run-1_FLAIR"), ("sub-1_run-2_T1w", "sub-1_run-2_FLAIR")],
        ),
        (
            "run-2_T1w",
            "FLAIR",
            ["sub-1_run-1_T1w", "sub-1_run-2_T1w", "sub-1_FLAIR"],
            [("sub-1_run-2_T1w", "sub-1_FLAIR")],
        ),
        (
            "ses-a_T1w",
            "ses-b_FLAIR",
            ["sub-1_ses-a_T1w", "sub-1_ses-b_FLAIR"],
            [("sub-1_ses-a_T1w", "sub-1_ses-b_FLAIR")],
        ),
        # What was made of an image is another one.
        (
            "T1w",
            "FLAIR",
            [
                "sub-1_T1w",
                "sub-1_desc-brain_T1w",
                "sub-1_space-FLAIR_T1w",
                "sub-1_FLAIR",
                "sub-1_desc-brain_FLAIR",
            ],
            [("sub-1_T1w", "sub-1_FLAIR")],
        ),
        (
            "desc-brain_T1w",
            "desc-brain_FLAIR",
            ["sub-1_T1w", "sub-1_desc-brain_T1w", "sub-1_space-MNI_desc-brain_T1w", "sub-1_desc-brain_FLAIR"],
            [("sub-1_desc-brain_T1w", "sub-1_desc-brain_FLAIR")],
        ),
    ],
)
def test_pairs(dataset, first: str, second: str, names: list[str], expected: list[tuple[str, str]]) -> None:
    with collected() as doubts:
        assert pairs(dataset(*names), first, second) == expected
    assert not doubts


@pytest.mark.parametrize(
    ("names", "doubt"),
    [
        (["sub-2_T1w"], "sub-2/anat: sub-2_T1w.nii.gz left out, it holds no FLAIR"),
        (["sub-2_T2w"], "sub-2: left out, it holds no T1w and no FLAIR"),
        (
            ["sub-2_T1w", "sub-2_desc-brain_FLAIR"],
            "sub-2/anat: sub-2_T1w.nii.gz left out, it holds no FLAIR for it (there is sub-2_desc-brain_FLAIR.nii.gz)",
        ),
        (
            ["sub-2_run-1_T1w", "sub-2_run-2_T1w", "sub-2_FLAIR"],
            "sub-2/anat: sub-2_run-1_T1w.nii.gz, sub-2_run-2_T1w.nii.gz, sub-2_FLAIR.nii.gz left out, their names",
        ),
        (
            ["sub-2_T1w.nii", "sub-2_T1w.nii.gz", "sub-2_FLAIR"],
            "sub-2/anat: sub-2_T1w.nii, sub-2_T1w.nii.gz, sub-2_FLAIR.nii.gz left out, their names",
        ),
        (
            ["sub-2_ses-a_T1w", "sub-2_ses-b_FLAIR"],
            "sub-2/ses-a/anat: sub-2_ses-a_T1w.nii.gz left out, it holds no FLAIR",
        ),
    ],
)
def test_what_has_no_partner_is_named_and_the_others_go_on(dataset, names: list[str], doubt: str) -> None:
    root = dataset("sub-1_T1w", "sub-1_FLAIR", *names)
    with collected() as doubts:
        assert pairs(root) == [("sub-1_T1w", "sub-1_FLAIR")]
    assert doubts[0].startswith(f"{root}/{doubt}")


def test_an_image_that_is_a_link_to_nothing_yet_is_found(dataset) -> None:
    root = dataset("sub-1_T1w", "sub-1_FLAIR")
    image = root / "sub-1/anat/sub-1_T1w.nii.gz"
    image.unlink()
    image.symlink_to("../../.git/annex/objects/0")
    assert pairs(root) == [("sub-1_T1w", "sub-1_FLAIR")]


def test_participants_may_be_given_without_sub(dataset) -> None:
    root = dataset("sub-01_T1w", "sub-02_T1w", "sub-03_T1w")
    found = participants(root)
    assert list(chosen(found, ["03", "sub-01"], root)) == ["sub-01", "sub-03"]
    with pytest.raises(InputError, match="holds no participant 'sub-3'; nearest found: sub-03"):
        chosen(found, ["3"], root)


def test_what_is_no_dataset(tmp_path: Path, dataset) -> None:
    with pytest.raises(InputError, match="no such folder"):
        participants(tmp_path / "gone")
    with pytest.raises(InputError, match="is no BIDS dataset, it holds no folder sub-LABEL"):
        participants(tmp_path)
    (dataset("sub-1_T1w") / "dataset_description.json").unlink()
    with collected() as doubts:
        assert list(participants(tmp_path)) == ["sub-1"]
    assert doubts == [f"{tmp_path}: holds no dataset_description.json, which BIDS asks for"]
    with pytest.raises(InputError, match="holds no pair of T1w and FLAIR"), collected():
        pairs(tmp_path)


@pytest.mark.parametrize("text", ["T1w.nii.gz", "_T1w", "desc_T1w", "sub-01_T1w", "desc-brain", ""])
def test_selectors_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="expected a suffix of BIDS"):
        read_selector(text, "--from")


@pytest.mark.parametrize(
    ("name", "suffix", "entities", "expected"),
    [
        ("sub-1_T1w", "T1w", {"space": "FLAIR"}, "sub-1_space-FLAIR_T1w"),
        # The order of entities is that of BIDS.
        (
            "sub-1_ses-a_acq-x_run-1_desc-brain_T1w",
            "T1w",
            {"space": "FLAIR"},
            "sub-1_ses-a_acq-x_run-1_space-FLAIR_desc-brain_T1w",
        ),
        (
            "sub-1_space-T1w_res-2_desc-brain_T2w",
            "T2w",
            {"res": None, "space": "FLAIR"},
            "sub-1_space-FLAIR_desc-brain_T2w",
        ),
        (
            "sub-1_space-x_desc-brain_T1w",
            "xfm",
            {"space": None, "from": "T1w", "to": "FLAIR", "desc": "affine"},
            "sub-1_from-T1w_to-FLAIR_desc-affine_xfm",
        ),
    ],
)
def test_names_of_what_is_made(
    name: str, suffix: str, entities: dict[str, str | None], expected: str
) -> None:
    parsed = parse_name(name)
    assert parsed is not None
    image = BidsImage(Path(f"{name}.nii.gz"), Path("sub-1/anat"), *parsed)
    assert image.renamed(suffix, **entities) == expected
