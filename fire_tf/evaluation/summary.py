"""Tables of scores: mean and sd per method, and differences between methods with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fire_tf.evaluation.scoring import Row, Scores
from fire_tf.files.tables import grouped
from fire_tf.measures.bootstrap import FEWEST_SUBJECTS, bootstrapped_means, resamples_subjects
from fire_tf.measures.statistics import statistics

MEAN = "mean"
"""Name of the row that averages the structures: the mean of their means, as each counts the same."""

BASELINES = (
    "ANTs affine",
    "ANTs affine, 1 start",
    "ANTs SyN",
    "ANTs SyN, 1 start",
    "elastix affine",
    "elastix B-spline",
)
"""Methods that ours are compared with."""

_PAIR_MEASURES = (
    "folded_percent",
    "folded_everywhere_percent",
    "consistency_mm",
    "consistency_voxels",
    "distance_mm",
    "seconds",
    "cpu_seconds",
)
_PRINTED = ("distance_mm", "folded_percent", "consistency_mm", "consistency_voxels", "seconds")
_HEADINGS = ("HD95", "distance", "folded %", "consist. mm", "in voxels", "s per pair")

_FEW = f"pairs, as there are fewer than {FEWEST_SUBJECTS} subjects"


def summarise(scores: Scores) -> list[Row]:
    """Mean, sd and count of every measure per level, direction, method and (for overlap and HD95) structure.

    NaN is left out and ``count`` says how many values remain. The row ``mean`` of a measure averages the
    structures' means; its sd and count are those of the pairs' own averages.
    """
    rows: list[Row] = []
    columns = ("level", "direction", "method")
    of_structures = grouped(scores.labels, columns)
    for keys, pairs in grouped(scores.pairs, columns).items():
        common: Row = dict(zip(columns, keys, strict=True))
        labels = of_structures.get(keys, [])
        for measure in ("dice", "hd95_mm"):
            per_structure = {
                name[0]: _values(group, measure) for name, group in grouped(labels, ("structure",)).items()
            }
            by_pair = grouped(labels, ("pair",)).values()
            per_pair = [statistics(_values(group, measure))["mean"] for group in by_pair]
            rows += [
                common | {"structure": name, "measure": measure} | statistics(values)
                for name, values in per_structure.items()
            ]
            means = [statistics(values)["mean"] for values in per_structure.values()]
            mean = statistics(per_pair) | {"mean": statistics(means)["mean"]}
            rows.append(common | {"structure": MEAN, "measure": measure} | mean)
        rows += [
            common | {"structure": "", "measure": measure} | statistics(_values(pairs, measure))
            for measure in _PAIR_MEASURES
        ]
    return rows


def differences(
    scores: Scores,
    *,
    baselines: Sequence[str] = BASELINES,
    ours: Sequence[str] = ("FIRE affine", "FIRE", "FIRE refined"),
    seed: int = 0,
) -> list[Row]:
    """Dice of our methods less that of every baseline present, on the same pairs, with 95 % bootstrap
    intervals.

    Subjects are resampled with all of their pairs, and pairs where there are fewer than three subjects, as the column
    ``resampled`` says: such intervals are narrower than new subjects would give. The structures of a pair go together.
    """
    rows: list[Row] = []
    for keys, labels in grouped(scores.labels, ("level", "direction")).items():
        by_method = grouped(labels, ("method",))
        for method in ours:
            for baseline in baselines:
                if (method,) in by_method and (baseline,) in by_method:
                    common: Row = {
                        "level": keys[0],
                        "direction": keys[1],
                        "method": method,
                        "baseline": baseline,
                    }
                    rows += [
                        common | row
                        for row in _differences(by_method[(method,)], by_method[(baseline,)], seed)
                    ]
    return rows


def _differences(first: list[Row], second: list[Row], seed: int) -> list[Row]:
    names = list(dict.fromkeys(str(row["structure"]) for row in first))
    subjects = {str(row["pair"]): str(row["subject"]) for row in first}
    table = _table(first, subjects, names) - _table(second, subjects, names)
    counts = [*(int(count) for count in np.isfinite(table).sum(axis=0)), len(table)]
    found = bootstrapped_means(table, seed, list(subjects.values()))
    resampled = "subjects" if resamples_subjects(list(subjects.values())) else "pairs"
    return [
        {
            "structure": name,
            "difference": float(mean),
            "low": float(low),
            "high": float(high),
            "count": count,
            "resampled": resampled,
        }
        for name, mean, low, high, count in zip([*names, MEAN], *found, counts, strict=True)
    ]


def _table(rows: list[Row], pairs: Iterable[str], structures: list[str]) -> np.ndarray:
    """Dice as an array (pairs, structures), NaN where a pair has not got the structure."""
    found = {(str(row["pair"]), str(row["structure"])): float(row["dice"]) for row in rows}
    return np.array([[found.get((pair, name), np.nan) for name in structures] for pair in pairs])


def format_summary(rows: Sequence[Row]) -> str:
    """The summary as text: a table per level and direction, a line per method, Dice in %; each mean with its count."""
    lines: list[str] = []
    for (level, direction), group in grouped(rows, ("level", "direction")).items():
        names = list(dict.fromkeys(str(row["structure"]) for row in group if row["measure"] == "dice"))
        lines += [
            "",
            f"{level}, {direction}: Dice in %, mean±sd (of how many values); HD95 and distances in mm",
        ]
        lines.append(f"{'':22}" + "".join(f"{name:>18}" for name in [*names, *_HEADINGS]))
        for (method,), own in grouped(group, ("method",)).items():
            found = {(str(row["measure"]), str(row["structure"])): row for row in own}
            cells = [_cell(found.get(("dice", name)), scale=100) for name in names]
            cells.append(_cell(found[("hd95_mm", MEAN)]))
            cells += [_cell(found[(measure, "")], digits=2) for measure in _PRINTED]
            lines.append(f"{method:22}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines[1:])


def format_differences(rows: Sequence[Row]) -> str:
    """The differences as text, in points of Dice."""
    lines = ["Difference in points of Dice [95 % interval] (of how many pairs)"]
    for keys, group in grouped(rows, ("level", "direction", "method", "baseline")).items():
        cells = [
            f"{row['structure']} {100 * float(row['difference']):+.1f} "
            f"[{100 * float(row['low']):+.1f}, {100 * float(row['high']):+.1f}] ({row['count']})"
            for row in group
        ]
        level, direction, method, baseline = keys
        over = "subjects" if group[0]["resampled"] == "subjects" else _FEW
        lines.append(f"{level}, {direction}, {method} - {baseline}: {', '.join(cells)}; over {over}")
    return "\n".join(lines)


def _cell(row: Row | None, digits: int = 1, scale: float = 1.0) -> str:
    if row is None or not row["count"]:
        return "- (0)"
    mean, deviation = float(row["mean"]) * scale, float(row["sd"]) * scale
    return f"{mean:.{digits}f}±{deviation:.{digits}f} ({row['count']})"


def _values(rows: Iterable[Row], measure: str) -> list[float]:
    return [float(row[measure]) for row in rows]
