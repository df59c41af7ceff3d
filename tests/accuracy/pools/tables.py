"""Sessions counted: errors and detections, with Wilson intervals, as data and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from accuracy.pools.wilson import rate, wilson

Result = Mapping[str, Any]


def summary(results: Iterable[Result], facts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for the sessions in which nothing changed, one for each changed cell, and one for each variant."""
    rows: dict[str, list[Result]] = {}
    for one in results:
        name = one["changed"]
        rows.setdefault(name or "nothing changed", []).append(one)
        if name:
            rows.setdefault(f"*.{name.partition('.')[2]}", []).append(one)
    return [{"cell": name, **counted(name, some, facts)} for name, some in sorted(rows.items())]


def counted(name: str, results: Sequence[Result], facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What came out of these sessions.

    `failed` are sessions with any failure; `false` those that failed where nothing got slower (any benchmark of an
    unchanged one, the changed one when it did not get slower); `detected` those whose changed benchmark failed where it
    did get slower; `named`: with the right function first; `bystander`: with a function blamed that is neither the
    guilty one nor one of its callers.
    """
    drawn = [one for one in results if "exhausted" not in one]
    counts = dict.fromkeys(("failed", "false", "slower", "detected", "named", "bystander"), 0)
    benchmarks = inconclusive = changed_inconclusive = 0
    for one in drawn:
        known = facts.get(one["changed"] or "", {})
        slower = known.get("expected") == "slower"
        first, *others = one["benchmarks"]
        if not one["changed"] or not slower:
            others = one["benchmarks"]
        benchmarks += len(one["benchmarks"])
        inconclusive += sum(each["outcome"] == "inconclusive" for each in one["benchmarks"])
        changed_inconclusive += first["outcome"] == "inconclusive"
        counts["failed"] += any(each["fails"] for each in one["benchmarks"])
        counts["false"] += any(each["fails"] for each in others)
        if slower:
            counts["slower"] += 1
            counts["detected"] += first["fails"]
            counts["named"] += first["fails"] and is_named(first["guilty"], known)
            counts["bystander"] += first["fails"] and blames_bystander(first["guilty"], known)
    known = facts.get(name, {})
    return {
        "sessions": len(drawn),
        "exhausted": len(results) - len(drawn),
        **counts,
        "benchmarks": benchmarks,
        "inconclusive": inconclusive,
        "changed_inconclusive": changed_inconclusive,
        "short": sum(any(each["short"] for each in one["benchmarks"]) for one in drawn),
        "seconds": median(one["seconds"] for one in drawn) if drawn else None,
        "spent": median(each["spent"] for one in drawn for each in one["benchmarks"][:1]) if drawn else None,
        "false_interval": wilson(counts["false"], len(drawn)),
        "detected_interval": wilson(counts["detected"], counts["slower"]),
        **{key: known[key] for key in ("guilty", "planned", "achieved", "achieved_error") if key in known},
    }


def is_named(guilty: Sequence[Sequence[str]], known: Mapping[str, Any]) -> bool:
    """Whether the first function blamed is the one that carries the slowdown, or the edited one that causes it."""
    for place in filter(None, (known["guilty"], known.get("edited"))):
        file, _, function = str(place).partition("::")
        if guilty and guilty[0][1] == function and (guilty[0][0].endswith(file) or file.endswith(".c")):
            return True
    return False


def blames_bystander(guilty: Sequence[Sequence[str]], known: Mapping[str, Any]) -> bool:
    """Whether any function blamed neither carries the slowdown nor calls what does."""
    innocent = {str(known["guilty"]).partition("::")[2], *known["callers"]}
    return any(name not in innocent for _, name in guilty)


def markdown(document: Mapping[str, Any]) -> str:
    """The rows as a table."""
    lines = [
        f"{sum(document['launches'].values()):,} launches of {len(document['launches'])} cells, gathered with "
        f"{' '.join(document['pool']) or 'the defaults'}; gate: {' '.join(document['options'])}; seed {document['seed']}; "
        f"drawn in {document['seconds']:.0f} s",
        "",
        "| change | effect (SE) | sessions | false failures | detected | right function first | bystander | "
        "benchmarks inconclusive | s a session | s a benchmark |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(one) for one in document["cells"]]
    if any(one["exhausted"] for one in document["cells"]):
        lines += ["", "Sessions that the pool was too small for: " + _exhausted(document["cells"])]
    return "\n".join(lines)


def _row(one: Mapping[str, Any]) -> str:
    effect = f"{one['achieved']:+.2%} ({one['achieved_error']:.2%})" if "achieved" in one else ""
    cells = (
        one["cell"],
        effect,
        f"{one['sessions']:,}",
        rate(one["false"], one["sessions"]),
        rate(one["detected"], one["slower"]),
        rate(one["named"], one["detected"]),
        rate(one["bystander"], one["detected"]),
        f"{one['inconclusive'] / one['benchmarks']:.1%}" if one["benchmarks"] else "–",
        f"{one['seconds']:.0f}" if one["seconds"] is not None else "–",
        f"{one['spent']:.1f}" if one["spent"] is not None else "–",
    )
    return "| " + " | ".join(cells) + " |"


def _exhausted(rows: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{one['cell']} {one['exhausted']}" for one in rows if one["exhausted"])
