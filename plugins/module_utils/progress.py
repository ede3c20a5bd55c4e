# -*- coding: utf-8 -*-
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a relocation is, in a line for whoever waits. Pure.

A look is what the module relocation_progress returned, with ``time``, when that was, in seconds of any clock.
"""

from __future__ import annotations

from ansible_collections.smemv.kvm.plugins.module_utils.sizes import PAGE, round_size


def moving(name, destination, look, before=None):
    """A line for a VM whose main moves to ``destination``.

    :param before: the look before this one; without it nothing is said of rates.
    """
    migration = look["migration"]
    ram = migration.get("ram")
    words = ["VM {} to {}: {}".format(name, destination, migration.get("status", "about to begin"))]
    if not ram:
        return words[0]
    if ram["total"]:
        words.append("{} % of {}".format(100 - 100 * ram["remaining"] // ram["total"], round_size(ram["total"])))
    words.append("{} left".format(round_size(ram["remaining"])))
    rate, dirty = sent_rate(before, look), dirty_rate(look)
    if rate:
        words.append(f"{round_size(rate)}/s")
        if dirty:
            words.append(f"the guest dirties {round_size(dirty)}/s")
        if migration.get("cpu_throttle_percentage"):
            words.append("its processors are slowed by {} %".format(migration["cpu_throttle_percentage"]))
        words.append(_time_left(ram["remaining"], rate - dirty, "the guest dirties its memory faster than it is sent"))
    return ", ".join(words + _by_destination(destination, look))


def rebalancing(name, look, before=None):
    """A line for a VM whose remote memory is placed anew; ``before`` as for moving()."""
    memory = look["memory"]
    words = ["VM {}: {} of its memory still to be moved".format(name, round_size(memory["rebalance_remaining"]))]
    rate = -_rate(before, look, lambda seen: seen["memory"]["rebalance_remaining"])
    if rate > 0:
        words += [f"{round_size(rate)}/s", _time_left(memory["rebalance_remaining"], rate, "")]
    if memory.get("rebalance_error"):
        words.append("waiting: {}".format(memory["rebalance_error"]))
    return ", ".join(words)


def sample(destination, look, before=None):
    """What a report wants of a look: {time, status, sent: {host: bytes}, remaining, sent_rate, dirty_rate}.

    :param destination: None where only the remote memory is placed anew.
    """
    memory = look["memory"] or {}
    sub_hosts = {host["name"]: host.get("sent", 0) for host in memory.get("sub_hosts", [])}
    if destination is None:
        remaining, sent = memory.get("rebalance_remaining", 0), sub_hosts
    else:
        remaining = (look["migration"].get("ram") or {}).get("remaining", 0)
        sent = {destination: max(0, _sent(look) - sum(sub_hosts.values())), **sub_hosts}
    return {
        "time": look["time"],
        "status": look["migration"].get("status") or "none",
        "sent": sent,
        "remaining": remaining,
        "sent_rate": sent_rate(before, look),
        "dirty_rate": dirty_rate(look),
    }


def sent_rate(before, look):
    """Bytes a second that were sent between two looks; 0 where there is only one."""
    return _rate(before, look, _sent)


def dirty_rate(look):
    """Bytes a second that the guest dirtied in QEMU's last pass over its memory."""
    return (look["migration"].get("ram") or {}).get("dirty_pages_rate", 0) * PAGE


def _sent(look):
    return (look["migration"].get("ram") or {}).get("transferred", 0)


def _rate(before, look, count):
    """Bytes a second between two looks; 0 where there is only one."""
    if before is None or look["time"] <= before["time"]:
        return 0
    return int((count(look) - count(before)) / (look["time"] - before["time"]))


def _time_left(size, rate, never):
    return f"{-(-size // rate)} s left" if rate > 0 else never


def _by_destination(destination, look):
    """What each host was sent, in words."""
    remote = [(host["name"], host["sent"]) for host in look["memory"]["sub_hosts"] if host.get("sent")]
    if not remote:
        return []
    main = max(0, _sent(look) - sum(sent for _name, sent in remote))
    return ["sent: " + " ".join(f"{host} {round_size(sent)}" for host, sent in [(destination, main), *remote])]
