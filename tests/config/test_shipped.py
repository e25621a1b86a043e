"""Models that come along say what they are for."""

from pathlib import Path

import pytest

from fire_tf.config.shipped import WEIGHTS, shipped_models
from fire_tf.models import main

CARD = "# Model card\n\nText.\n\n**Trained on** images of\ntwo adults.\n\n**Meant for** nothing.\n"
SETTINGS = '{"modality_a": "T1", "modality_b": "T2", "spacing": [2.5, 2.5, 3], "slice_axis": "last"}'


def write(folder: Path, card: str, settings: str = SETTINGS) -> None:
    folder.mkdir()
    (folder / "README.md").write_text(card)
    (folder / "preprocessing.json").write_text(settings)


def test_a_model_is_told_by_its_settings_and_its_card(tmp_path: Path) -> None:
    write(tmp_path / "heads", CARD)
    write(tmp_path / "hearts", CARD, SETTINGS.replace("[2.5, 2.5, 3]", "[2, 2]").replace("last", "thickest"))
    heads, hearts = shipped_models(tmp_path)
    assert (heads.ndim, heads.trained_on) == (3, "images of two adults.")
    assert heads.in_short() == "heads (T1 and T2, volumes at 2.5 x 2.5 x 3 mm)"
    assert hearts.in_short() == "hearts (T1 and T2, stacks of slices at 2 x 2 mm)"


def test_a_card_that_does_not_say_what_its_model_saw_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path / "heads", CARD.replace("Trained", "Made"))
    with pytest.raises(ValueError, match=r"heads/README\.md"):
        shipped_models(tmp_path)


def test_the_command_lists_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    shown = capsys.readouterr().out
    names = sorted(path.name for path in WEIGHTS.iterdir())
    assert [line.split()[0] for line in shown.splitlines() if not line.startswith(" ")] == names
    assert shown.count("trained on") >= len(names) > 0
