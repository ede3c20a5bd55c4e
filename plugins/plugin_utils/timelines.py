# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the charts of a report show, from what was seen of a relocation. Pure.

A timeline is {name: [(seconds since the first look, value)]}; without a second look there is none, and it is empty.
"""

from __future__ import annotations

from itertools import accumulate


def sent(samples):
    """Bytes sent to each host since the first look."""
    first = samples[0]["sent"] if samples else {}
    hosts = dict.fromkeys(host for sample in samples for host in sample["sent"])
    return _timelines(
        samples,
        {host: lambda sample, host=host: max(0, sample["sent"].get(host, 0) - first.get(host, 0)) for host in hosts},
    )


def rates(samples):
    """Bytes a second that were sent, and that the guest dirtied."""
    return _timelines(
        samples,
        {"sent": lambda sample: sample["sent_rate"], "dirtied by the guest": lambda sample: sample["dirty_rate"]},
    )


def remaining(samples):
    """Bytes left."""
    return _timelines(samples, {"left": lambda sample: sample["remaining"]})


def paging(looks):
    """Pages a second that came in and went out, and those of them that the guest waited for.

    :param looks: what relocation_progress returned, one after another.
    """
    looks = [look for look in looks if look.get("memory")]
    names = {"pages in": "pages_in", "waited for by the guest": "faults", "pages out": "pages_out"}
    pairs = [(before, after) for before, after in zip(looks, looks[1:]) if after["time"] > before["time"]]
    return {
        name: [
            (
                after["time"] - looks[0]["time"],
                (after["memory"][key] - before["memory"][key]) / (after["time"] - before["time"]),
            )
            for before, after in pairs
        ]
        for name, key in names.items()
        if pairs
    }


def latency(looks):
    """Microseconds within which half, and 99 %, of the pages came that a fault waited for.

    QEMU counts in steps of a factor of two, and the end of the step is given; where it has none, of twice the last.

    :param looks: as for paging().
    """
    looks = [look for look in looks if look.get("memory")]
    points = {"half of them": [], "99 % of them": []}
    for before, after in zip(looks, looks[1:]):
        counts = _since(before["memory"].get("fault_latency", []), after["memory"].get("fault_latency", []))
        if counts:
            for name, share in (("half of them", 0.5), ("99 % of them", 0.99)):
                points[name].append((after["time"] - looks[0]["time"], _within(counts, share)))
    return {name: values for name, values in points.items() if values}


def _since(before, after):
    """[(end of the step, faults)] of those that came since, shortest first; none where there were none."""
    already = {step.get("below"): step["faults"] for step in before}
    counts, end = [], 0
    for step in after:
        end = step.get("below", 2 * end)
        counts.append((end, step["faults"] - already.get(step.get("below"), 0)))
    return [(end, faults) for end, faults in counts if faults]


def _within(counts, share):
    """The end of the step by which that share of all of them had come."""
    ends, faults = zip(*counts)
    return next(end for end, so_far in zip(ends, accumulate(faults)) if so_far >= share * sum(faults))


def placement(main_host, memory):
    """Bytes that were never written, and those by host."""
    there = {"never written": memory["zero"], main_host: memory["resident"]}
    there.update((host["name"], host["remote"]) for host in memory["sub_hosts"])
    return there


def _timelines(samples, values):
    if len(samples) < 2:
        return {}
    start = samples[0]["time"]
    return {name: [(sample["time"] - start, value(sample)) for sample in samples] for name, value in values.items()}
