# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/experiments.md: what was found, beside what was aimed at, with plots."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2
import pygal
from pygal.style import CleanStyle

from native.experiments import figure3
from native.experiments.scaling import RATE

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
PLOTS = DOCS / "experiments"
ENOUGH, SPLIT, HOT, SWAP, SLOW = (way.name for way in figure3.WAYS)

# The parts that have its cases, and what their goals say of where that was.
FIGURE3 = {
    "figure3": "",
    "own_processors": "; processors of each host's own",
    "over_links": f"; links of {RATE} Mbit/s",
}


@dataclass(frozen=True)
class Goal:
    """A ratio of two medians, and what it should be."""

    what: str
    value: float
    goal: str
    holds: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.value:.2f}; goal {self.goal} {'holds' if self.holds else 'MISSED'}"


def having(rows: list[dict], **where: object) -> Iterator[dict]:
    """The rows that have these values."""
    return (row for row in rows if all(row.get(name) == value for name, value in where.items()))


def median(rows: list[dict], key: str, **where: object) -> float | None:
    """Of the rows that have these values, and this figure; None where there are none."""
    values = [row[key] for row in having(rows, **where) if row[key] is not None]
    return statistics.median(values) if values else None


def cases(rows: list[dict], *keys: str) -> list[dict]:
    """What these rows have under these keys, each once."""
    return [dict(zip(keys, case)) for case in dict.fromkeys(tuple(row.get(key) for key in keys) for row in rows)]


def given_up(rows: list[dict], **where: object) -> bool:
    """Whether a move of these rows had not ended when it had all the time that it is given."""
    return not all(row["completed"] for row in having(rows, **where))


def goals(found: dict) -> Iterator[Goal]:
    """Those that the parts that were run can tell of."""
    for name, where in FIGURE3.items():
        if name in found and found[name]["rows"]:
            yield from (replace(goal, what=goal.what + where) for goal in _figure3_goals(found[name]["rows"]))
    if "scaling" in found:
        rows = found["scaling"]["rows"]
        for size in sorted({row["memory_gib"] for row in rows}):
            one, three = (
                median(rows, "total_time_ms", memory_gib=size, sub_hosts=count, rate_mbit_s=1000, connections=1)
                for count in (0, 2)
            )
            yield from ratio(
                f"one-to-one against split over three links of 1 Gbit/s, {size} GiB", one, three, None, 2.7
            )
            ideal = median(rows, "ideal_ms", memory_gib=size, sub_hosts=2, rate_mbit_s=1000)
            yield from ratio(
                f"split over three links of 1 Gbit/s against the links' sum, {size} GiB", three, ideal, 1.2
            )


def _figure3_goals(rows: list[dict]) -> Iterator[Goal]:
    """Those of Figure 3, over whatever links."""
    loads = list(dict.fromkeys(row["load"] for row in rows))

    def found(key: str, load: str, way: str) -> float | None:
        return median(rows, key, load=load, way=way)

    def took(load: str, way: str) -> float | None:
        return found("total_time_ms", load, way)

    for load in loads:
        yield from ratio(f"split migration against one-to-one with enough memory, {load}",
                         took(load, SPLIT), took(load, ENOUGH), 0.9)  # fmt: skip
        yield from ratio(f"swap on an ordinary disk against split migration, {load}",
                         took(load, SLOW), took(load, SPLIT), None, 1.5)  # fmt: skip
        for way in (SPLIT, HOT):
            yield from ratio(f"downtime of a {way}, against one-to-one, {load}",
                             found("downtime_ms", load, way), found("downtime_ms", load, ENOUGH), 1.1)  # fmt: skip
        yield from ratio(f"the guest's work after a {HOT}, against one-to-one with enough memory, {load}",
                         found("rate_after", load, HOT), found("rate_after", load, ENOUGH), None, 0.9)  # fmt: skip
    idle, *busy = loads
    for load in busy:
        yield from ratio(
            f"split migration, {load}, against {idle}, time a byte",
            took(load, SPLIT) / found("mib", load, SPLIT), took(idle, SPLIT) / found("mib", idle, SPLIT), 1.1,
        )  # fmt: skip
        yield from ratio(
            f"swap on an ordinary disk against split migration, {load}, beside {idle}",
            took(load, SLOW) / took(load, SPLIT), took(idle, SLOW) / took(idle, SPLIT), None, 1,
        )  # fmt: skip


def ratio(
    what: str, value: float | None, against: float | None, most: float | None, least: float = 0
) -> Iterator[Goal]:
    """One goal, where both are known."""
    if value and against:
        goal = f"<= {most}" if most else f">= {least}"
        yield Goal(what, value / against, goal, value / against <= most if most else value / against >= least)


def write(found: dict) -> None:
    """The page and its plots."""
    PLOTS.mkdir(parents=True, exist_ok=True)
    plots = {name: draw(found[name]["rows"]) for name, draw in DRAWN.items() if name in found}
    for name, charts in plots.items():
        for title, chart in charts.items():
            path = PLOTS / f"{_file_name(name, title)}.svg"
            path.write_text(chart.render(), encoding="utf-8")
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), trim_blocks=True, lstrip_blocks=True,
                                   keep_trailing_newline=True, undefined=jinja2.StrictUndefined)  # fmt: skip
    page = templates.get_template("experiments.md.j2").render(
        found=found,
        goals=list(goals(found)),
        median=median,
        given_up=given_up,
        cases=cases,
        moves=[row for name in FIGURE3 for row in found[name]["rows"]] if FIGURE3.keys() <= found.keys() else [],
        one=ENOUGH,
        split=SPLIT,
        hot=HOT,
        slow=SLOW,
        swap=SWAP,
        ordinary=figure3.ORDINARY_DISK,
        patience=figure3.PATIENCE,
        plots={name: {title: f"experiments/{_file_name(name, title)}.svg" for title in charts}
               for name, charts in plots.items()},
    )  # fmt: skip
    (DOCS / "experiments.md").write_text(page, encoding="utf-8")


def _file_name(part: str, title: str) -> str:
    return "-".join([part, *"".join(c if c.isalnum() else " " for c in title).split()]).lower()


def _chart(kind: type, title: str, unit: str, **settings: object):
    return kind(title=title, y_title=unit, style=CleanStyle, js=[], disable_xml_declaration=True, width=900, height=420,
                legend_at_bottom=True, **settings)  # fmt: skip


def _figure3(rows: list[dict]) -> dict:
    loads = list(dict.fromkeys(row["load"] for row in rows))
    bars = _chart(pygal.Bar, "Time of a migration of 2 GB to a destination with 1 GB free", "s", x_labels=loads)
    for way in figure3.WAYS:
        bars.add(way.name, [(median(rows, "total_time_ms", load=load, way=way.name) or 0) / 1000 for load in loads])
    charts = {"time": bars}
    for load in loads[1:]:
        lines = _chart(pygal.XY, f"The guest's work each second, {load}", "1/s", x_title="s since the migration began",
                       dots_size=1)  # fmt: skip
        for way in figure3.WAYS:
            (first, *_) = [row for row in rows if (row["load"], row["way"]) == (load, way.name)]
            lines.add(way.name, [(second - first["began_at_second"], rate)
                                 for second, rate in enumerate(first["by_second"])])  # fmt: skip
        charts[f"by second {load}"] = lines
    return charts


def _scaling(rows: list[dict]) -> dict:
    counts = sorted({row["sub_hosts"] for row in rows if row["rate_mbit_s"]})
    size = max(row["memory_gib"] for row in rows if row["rate_mbit_s"])
    bars = _chart(pygal.Bar, f"{size} GiB over links of 1 Gbit/s, by sub-hosts (0: one-to-one)", "s", x_labels=counts)
    for name, key in (("took", "total_time_ms"), ("all destinations' links together", "ideal_ms")):
        bars.add(name, [median(rows, key, sub_hosts=count, memory_gib=size, rate_mbit_s=1000, connections=1) / 1000
                        for count in counts])  # fmt: skip
    return {"sub hosts": bars}


def _local_share(rows: list[dict]) -> dict:
    charts = {}
    shares = sorted({row["local"] for row in rows}, reverse=True)
    for pattern in dict.fromkeys(row["pattern"] for row in rows):
        lines = _chart(pygal.Line, f"The guest's speed, {pattern}", "of whole", x_title="local memory",
                       x_labels=[f"{share:.0%}" for share in shares])  # fmt: skip
        whole = median(rows, "whole", pattern=pattern)
        for system in dict.fromkeys(row["system"] for row in rows):
            lines.add(system, [(median(rows, "rate", pattern=pattern, system=system, local=share) or 0) / whole
                               for share in shares])  # fmt: skip
        charts[pattern.partition(":")[0]] = lines
    return charts


DRAWN: dict[str, Callable[[list[dict]], dict]] = {
    "figure3": _figure3,
    "scaling": _scaling,
    "local_share": _local_share,
}
