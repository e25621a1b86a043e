"""Many pairs: one that fails among others, shards, going on after an interruption."""

import csv
import html
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from fake_model import two_slices
from PIL import Image

from fire_tf.cohorts.manifest import Row, Shard, read_manifest, read_shard, slurm_shard
from fire_tf.cohorts.summary import cohort_page
from fire_tf.files.errors import InputError
from fire_tf.register import main


def draw_nothing(found: object, path: Path, warnings: object = ()) -> None:
    """In the place of a picture that takes most of a pair's time."""
    Image.new("L", (8, 8)).save(path)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("ID", "MIN", "MAX", "COUNT"):
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
    monkeypatch.setattr("fire_tf.registration.results.draw_alignment", draw_nothing)
    return two_slices(monkeypatch, tmp_path)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_failing_pair_is_reported_and_the_rest_go_on(commands: Path, capsys) -> None:
    (commands / "scans").mkdir()
    for name in "ab":
        (commands / f"{name}.nii.gz").rename(commands / "scans" / f"{name}.nii.gz")
    (commands / "scans" / "pairs.csv").write_text(
        "moving,fixed,name\na.nii.gz,b.nii.gz,one\na.nii.gz,gone & lost.nii.gz,two\nb.nii.gz,b.nii.gz,\n"
    )
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "m", "--batch", "scans/pairs.csv", "--output-prefix", "out/c_"])
    assert stopped.value.code == 1
    reported = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert reported == ["two: error: scans/gone & lost.nii.gz: no such file"]
    table = rows(commands / "out" / "c_summary.csv")
    assert [row["name"] for row in table] == ["one", "two", "pair003"]
    assert [bool(row["error"]) for row in table] == [False, True, False]
    numbers = json.loads((commands / "out" / "c_one_qc.json").read_text())
    assert float(table[0]["similarity"]) == numbers["similarity"]
    page = (commands / "out" / "c_summary.html").read_text()
    pictures = [unquote(name) for name in re.findall(r'<img src="([^"]+)"', page)]
    assert sorted(pictures) == ["c_one_thumb.webp", "c_pair003_thumb.webp"]
    assert all((commands / "out" / name).is_file() for name in pictures)
    assert len(re.findall("<img ", page)) == len(re.findall('<img [^>]*loading="lazy"', page)) == 2
    assert html.escape("gone & lost.nii.gz") in page


def test_a_fault_in_one_pair_does_not_end_the_others(commands: Path, monkeypatch, capsys) -> None:
    def faulty(*arguments: object) -> None:
        raise RuntimeError("out of\norder")

    (commands / "pairs.csv").write_text("moving,fixed\na.nii.gz,b.nii.gz\n")
    monkeypatch.setattr("fire_tf.cohorts.attending.register_images", faulty)
    with pytest.raises(SystemExit):
        main(["--model", "m", "--batch", "pairs.csv", "--output-prefix", "c_"])
    assert "pair001: error: RuntimeError: out of order" in capsys.readouterr().err


def test_a_cohort_without_failures_ends_well(commands: Path) -> None:
    (commands / "pairs.csv").write_text("moving,fixed,moving_modality\na.nii.gz,b.nii.gz,FLAIR\n")
    main(["--model", "m", "--batch", "pairs.csv", "--output-prefix", "c_"])
    assert json.loads((commands / "c_pair001_qc.json").read_text())["moving"] == "a.nii.gz"


def test_the_page_shows_the_worst_first() -> None:
    pairs = [
        Row(name, Path("m"), Path("f"), numbers={"similarity": value})
        for name, value in (("good", 0.9), ("bad", -0.1), ("fair", 0.5))
    ]
    pairs.append(Row("failed", Path("m"), Path("f"), error="<none>"))
    page = cohort_page(pairs, "c_")
    assert re.findall(r"<h2>(\w+)</h2>", page) == ["failed", "bad", "fair", "good"]
    assert "&lt;none&gt;" in page


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "has columns none"),
        ("moving,target\na,b\n", "has columns moving, target"),
        ("moving,fixed\n", "holds no pair"),
        ("moving,fixed\na,\n", "line 2 names no moving or no fixed"),
        ("moving,fixed,name\na,b,x\na,c,x\n", "'x' occurs twice"),
        ("moving,fixed,name\na,b,x/y\n", "holds a slash"),
    ],
)
def test_manifests_that_cannot_be_used(text: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=cause):
        read_manifest(tmp_path / "pairs.csv")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00bad"])
def test_manifests_that_cannot_be_read(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "pairs.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"pairs\.csv: cannot be read"):
        read_manifest(tmp_path / "pairs.csv")


def test_tables_may_name_paths_at_home_and_no_pair_is_overwritten(
    commands: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("HOME", str(commands))
    (commands / "scans").mkdir()
    (commands / "b.nii.gz").rename(commands / "c_one_Warped.nii.gz")
    before = (commands / "c_one_Warped.nii.gz").read_bytes()
    table = "moving,fixed,name\n~/a.nii.gz,~/a.nii.gz,one\n~/c_one_Warped.nii.gz,~/a.nii.gz,two\n"
    (commands / "scans" / "pairs.csv").write_text(table)
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "m", "--batch", "scans/pairs.csv", "--output-prefix=~/c_"])
    assert stopped.value.code == 1
    assert "one: error: " in (error := capsys.readouterr().err)
    assert "c_one_Warped.nii.gz: cannot be written, it is the same file as the input" in error
    assert (commands / "c_one_Warped.nii.gz").read_bytes() == before
    assert (commands / "c_two_Warped.nii.gz").is_file()


def test_the_table_itself_is_not_overwritten(commands: Path, capsys) -> None:
    (commands / "c_summary.csv").write_text("moving,fixed\na.nii.gz,b.nii.gz\n")
    with pytest.raises(SystemExit) as stopped:
        main(["--model", "m", "--batch", "c_summary.csv", "--output-prefix", "c_"])
    assert stopped.value.code == 2
    assert "c_summary.csv: cannot be written, it is the same file as the input" in capsys.readouterr().err
    assert (commands / "c_summary.csv").read_text().startswith("moving,fixed")


# -- shards, and going on --------------------------------------------------------------------------------------------

MANIFEST = "moving,fixed,name\n" + "".join(f"a.nii.gz,b.nii.gz,p{number}\n" for number in range(5))
COHORT = ["--model", "m", "--batch", "pairs.csv", "--output-prefix", "out/c_"]


def written(folder: Path) -> dict[str, int]:
    """All files of pairs with the times at which they were put there."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("c_p*")}


def states(folder: Path) -> list[str]:
    return [json.loads(path.read_text())["state"] for path in sorted(folder.glob("*_status.json"))]


def test_shards_share_all_pairs_out_and_are_joined(commands: Path, capsys) -> None:
    (commands / "pairs.csv").write_text(MANIFEST)
    main(COHORT)
    whole = rows(commands / "out" / "c_summary.csv")
    for part in (1, 2):
        main([*COHORT[:-1], "parts/c_", "--shard", f"{part}/2"])
        assert f"shard {part}/2: {4 - part} of 5 pairs, 0 failed" in capsys.readouterr().out
        assert not (commands / "parts" / "c_summary.csv").exists()
    main([*COHORT[2:-1], "parts/c_", "--summary"])
    joined = rows(commands / "parts" / "c_summary.csv")
    assert [{**row, "seconds": ""} for row in joined] == [{**row, "seconds": ""} for row in whole]
    assert all(float(row["similarity"]) for row in joined)


def test_a_summary_before_the_end_says_what_is_missing(commands: Path, capsys) -> None:
    (commands / "pairs.csv").write_text(MANIFEST)
    main([*COHORT, "--shard", "2/2"])
    with pytest.raises(SystemExit) as stopped:
        main([*COHORT[2:], "--summary"])
    assert stopped.value.code == 1
    errors = [row["error"] for row in rows(commands / "out" / "c_summary.csv")]
    assert errors == ["not registered yet", "", "not registered yet", "", "not registered yet"]
    assert "out/c_summary.csv: 2 of 5 pairs are done" in capsys.readouterr().out


def test_resuming_passes_over_what_is_done(commands: Path, capsys) -> None:
    (commands / "pairs.csv").write_text(MANIFEST)
    main(COHORT)
    before = written(commands / "out")
    (commands / "out" / "c_p1_Warped.nii.gz").unlink()  # lost
    with open(commands / "out" / "c_p2_CompositeWarp.nii.gz", "r+b") as stream:
        stream.truncate(100)
    main([*COHORT, "--resume"])
    again = {name[2:4] for name, time in written(commands / "out").items() if time != before[name]}
    assert again == {"p1", "p2"}
    assert "3 pairs were done" in capsys.readouterr().out
    assert len(rows(commands / "out" / "c_summary.csv")) == 5


@pytest.mark.parametrize("changed", ["image", "options", "model", "version", "manifest"])
def test_resuming_does_again_what_would_now_be_another(
    changed: str, commands: Path, monkeypatch, capsys
) -> None:
    (commands / "pairs.csv").write_text("moving,fixed,name\na.nii.gz,b.nii.gz,p1\na.nii.gz,a.nii.gz,p2\n")
    main(COHORT)
    before, more = written(commands / "out"), []
    expected = {"p1", "p2"}
    if changed == "image":
        (commands / "b.nii.gz").write_bytes((commands / "a.nii.gz").read_bytes())
        expected = {"p1"}
    if changed == "options":
        more = ["--affine-only"]
    if changed == "model":
        (commands / "m").write_bytes(b"fire.keras")
        monkeypatch.setattr("fire_tf.model.storage.MODEL", "")
    if changed == "version":
        monkeypatch.setattr("fire_tf.registration.quality.__version__", "99")
    if changed == "manifest":
        (commands / "pairs.csv").write_text(
            "moving,fixed,name,moving_modality\na.nii.gz,b.nii.gz,p1,FLAIR\na.nii.gz,a.nii.gz,p2,T1\n"
        )
        expected = {"p1"}
    main([*COHORT, "--resume", *more])
    again = {name[2:4] for name, time in written(commands / "out").items() if time != before[name]}
    assert again == expected


def test_what_is_killed_amid_a_pair_loses_that_pair_alone(commands: Path, monkeypatch) -> None:
    """Between the renames of its files, where some are new and others are not."""
    (commands / "pairs.csv").write_text(MANIFEST)
    main(COHORT)
    whole = {path.name: path.read_bytes() for path in (commands / "out").glob("c_p*.nii.gz")}
    from fire_tf.files import outputs

    done, rename = [], outputs.os.replace

    def killed(source: Path, target: Path) -> None:
        done.append(target)
        if "c_p3_InverseWarped" in str(target):
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr("fire_tf.files.outputs.os.replace", killed)
    with pytest.raises(SystemExit) as stopped:
        main([*COHORT, "--affine-only"])
    assert stopped.value.code == 130
    monkeypatch.setattr("fire_tf.files.outputs.os.replace", rename)
    assert states(commands / "out") == ["done", "done", "done", "running", "done"]
    with pytest.raises(SystemExit):  # p3 is not done; and p4 is, but without --affine-only
        main([*COHORT[2:], "--summary"])
    main([*COHORT, "--resume"])
    assert states(commands / "out") == ["done"] * 5
    assert {path.name: path.read_bytes() for path in (commands / "out").glob("c_p*.nii.gz")} == whole


def test_a_summary_doubts_pairs_of_several_kinds(commands: Path, capsys) -> None:
    (commands / "pairs.csv").write_text(MANIFEST)
    main([*COHORT, "--shard", "1/2"])
    main([*COHORT, "--shard", "2/2", "--affine-only"])
    main([*COHORT[2:], "--summary"])
    assert "warning: out/c_summary.csv: its pairs were not all made with one" in capsys.readouterr().err


def test_a_status_of_other_images_counts_for_nothing(commands: Path) -> None:
    (commands / "pairs.csv").write_text("moving,fixed\na.nii.gz,b.nii.gz\n")
    main(COHORT)
    (commands / "pairs.csv").write_text("moving,fixed\nb.nii.gz,b.nii.gz\n")
    with pytest.raises(SystemExit):
        main([*COHORT[2:], "--summary"])
    assert "other images" in rows(commands / "out" / "c_summary.csv")[0]["error"]


def test_slurm_tells_the_shard(commands: Path, monkeypatch, capsys) -> None:
    (commands / "pairs.csv").write_text(MANIFEST)
    for name, value in {"ID": "7", "MIN": "5", "MAX": "7", "COUNT": "3"}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    main(COHORT)
    assert "shard 3/3: 1 of 5 pairs" in capsys.readouterr().out
    assert [path.name for path in (commands / "out").glob("*_status.json")] == ["c_p2_status.json"]


@pytest.mark.parametrize(
    ("numbers", "shard"),
    [((0, 0, 9, 10), Shard(1, 10)), ((12, 0, 12, 4), Shard(4, 4)), ((3, 3, 3, 1), Shard(1, 1))],
)
def test_shards_of_arrays(numbers: tuple[int, ...], shard: Shard) -> None:
    """As SLURM has them for --array=0-9, 0-15:4 and 3."""
    names = ("ID", "MIN", "MAX", "COUNT")
    told = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in zip(names, numbers, strict=True)}
    assert slurm_shard(told) == shard


@pytest.mark.parametrize("numbers", [(3, 1, 7, 3), (2, 1, 7, 4), (1, 1, 4, 3)])
def test_arrays_with_gaps_tell_no_shard(numbers: tuple[int, ...]) -> None:
    names = ("ID", "MIN", "MAX", "COUNT")
    told = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in zip(names, numbers, strict=True)}
    if numbers == (3, 1, 7, 3):  # 1, 4, 7: 3 is none of them
        told["SLURM_ARRAY_TASK_ID"] = "3"
    with pytest.raises(InputError, match=r"gaps.*give --shard"):
        slurm_shard(told)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4 "])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="expected i/N"):
        read_shard(text)


def test_every_pair_is_in_one_shard() -> None:
    pairs = [Row(str(number), Path("m"), Path("f")) for number in range(11)]
    parts = [Shard(number, 4).of(pairs) for number in range(1, 5)]
    assert sorted(int(pair.name) for part in parts for pair in part) == list(range(11))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (["--shard", "1/2", "--moving", "a.nii.gz", "--fixed", "b.nii.gz"], "--shard needs --batch"),
        (["--batch", "pairs.csv", "--summary", "--shard", "1/2"], "takes no --shard"),
    ],
)
def test_options_that_do_not_go_together(given: list[str], cause: str, commands: Path, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*given, "--output-prefix", "c_"])
    assert stopped.value.code == 2
    assert cause in capsys.readouterr().err
