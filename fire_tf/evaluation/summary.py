"""Tables of scores: mean and sd per method, and differences between methods with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from fire_tf.evaluation.scoring import Row, Scores
from fire_tf.measures.bootstrap import bootstrapped_means

MEAN = "mean"
"""Name of the row that averages the structures: the mean of their means, as each counts the same."""

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


def summarise(scores: Scores) -> list[Row]:
    """Mean, sd and count of every measure per level, direction, method and (for overlap and HD95) structure.

    NaN is left out and ``count`` says how many values remain. The row ``mean`` of a measure averages the
    structures' means; its sd is that of the pairs' own averages.
    """
    rows: list[Row] = []
    for keys, labels in grouped(scores.labels, ("level", "direction", "method")).items():
        common: Row = dict(zip(("level", "direction", "method"), keys, strict=True))
        for measure in ("dice", "hd95_mm"):
            per_structure = {
                name[0]: _values(group, measure) for name, group in grouped(labels, ("structure",)).items()
            }
            per_pair = [_mean(_values(group, measure)) for group in grouped(labels, ("pair",)).values()]
            rows += [
                common | {"structure": name, "measure": measure} | _statistics(values)
                for name, values in per_structure.items()
            ]
            mean = _statistics(per_pair) | {
                "mean": _mean([_mean(values) for values in per_structure.values()])
            }
            rows.append(common | {"structure": MEAN, "measure": measure} | mean)
        pairs = grouped(scores.pairs, ("level", "direction", "method"))[keys]
        rows += [
            common | {"structure": "", "measure": measure} | _statistics(_values(pairs, measure))
            for measure in _PAIR_MEASURES
        ]
    return rows


def differences(
    scores: Scores,
    *,
    baselines: Sequence[str] = ("ANTs affine", "ANTs affine, 1 start", "ANTs SyN", "ANTs SyN, 1 start"),
    ours: Sequence[str] = ("FIRE affine", "FIRE", "FIRE refined"),
    seed: int = 0,
) -> list[Row]:
    """Dice of our methods less that of every baseline present, on the same pairs, with 95 % bootstrap
    intervals.

    Pairs are resampled, not structures, so the interval of the row ``mean`` respects that the structures of a
    pair go together. Pairs of one subject are treated as independent, which real subjects are not: read the
    intervals so.
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
    table = _table(first, names) - _table(second, names)
    counts = [*(int(count) for count in np.isfinite(table).sum(axis=0)), len(table)]
    columns = zip([*names, MEAN], *bootstrapped_means(table, seed), counts, strict=True)
    return [
        {
            "structure": name,
            "difference": float(mean),
            "low": float(low),
            "high": float(high),
            "count": count,
        }
        for name, mean, low, high, count in columns
    ]


def _table(rows: list[Row], structures: list[str]) -> np.ndarray:
    """Dice as an array (pairs, structures), NaN where a pair has not got the structure."""
    pairs = list(dict.fromkeys(str(row["pair"]) for row in rows))
    table = np.full((len(pairs), len(structures)), np.nan)
    for row in rows:
        table[pairs.index(str(row["pair"])), structures.index(str(row["structure"]))] = float(row["dice"])
    return table


def format_summary(rows: Sequence[Row]) -> str:
    """The summary as text: a table per level and direction, a line per method, Dice in %."""
    lines: list[str] = []
    for (level, direction), group in grouped(rows, ("level", "direction")).items():
        names = list(dict.fromkeys(str(row["structure"]) for row in group if row["measure"] == "dice"))
        lines += ["", f"{level}, {direction}: Dice in %, mean ± sd; HD95 and distances in mm"]
        lines.append(f"{'':22}" + "".join(f"{name:>14}" for name in [*names, *_HEADINGS]))
        for (method,), own in grouped(group, ("method",)).items():
            found = {(str(row["measure"]), str(row["structure"])): row for row in own}
            cells = [_cell(found[("dice", name)], scale=100) for name in names]
            cells.append(_cell(found[("hd95_mm", MEAN)]))
            cells += [_cell(found[(measure, "")], digits=2) for measure in _PRINTED]
            lines.append(f"{method:22}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines[1:])


def format_differences(rows: Sequence[Row]) -> str:
    """The differences as text, in points of Dice."""
    lines = ["Difference in points of Dice [95 % interval over pairs]"]
    for (level, direction, method, baseline), group in grouped(
        rows, ("level", "direction", "method", "baseline")
    ).items():
        cells = [
            f"{row['structure']} {100 * float(row['difference']):+.1f} "
            f"[{100 * float(row['low']):+.1f}, {100 * float(row['high']):+.1f}]"
            for row in group
        ]
        lines.append(f"{level}, {direction}, {method} - {baseline}: " + ", ".join(cells))
    return "\n".join(lines)


def _cell(row: Row, digits: int = 1, scale: float = 1.0) -> str:
    mean, deviation = float(row["mean"]) * scale, float(row["sd"]) * scale
    return "-" if not np.isfinite(mean) else f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def grouped(rows: Iterable[Row], keys: tuple[str, ...]) -> dict[tuple[str, ...], list[Row]]:
    """Rows by the values of some columns, in the order in which they come first."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(str(row[key]) for key in keys)].append(row)
    return dict(groups)


def _values(rows: Iterable[Row], measure: str) -> list[float]:
    values = [float(row[measure]) for row in rows]
    return [value for value in values if np.isfinite(value)]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _statistics(values: Sequence[float]) -> Row:
    known = [value for value in values if np.isfinite(value)]
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
    return {"mean": _mean(known), "sd": deviation if known else float("nan"), "count": len(known)}
