# SPDX-License-Identifier: GPL-3.0-or-later
"""Relocations of VM big, each a playbook with its request, and what is where after it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.integration.cluster import Cluster, Play, assert_layout, assert_works_on

MIB = 1 << 20


@dataclass(frozen=True)
class Operation:
    """``limit`` is in MiB; without sub-hosts all is on the main host."""

    playbook: str
    main: str
    sub_hosts: tuple[str, ...] = ()
    limit: int = 0

    @property
    def request(self) -> dict:
        request = {"vm": "big", "destination_host": self.main}
        if self.sub_hosts:
            request.update(sub_hosts=list(self.sub_hosts), main_memory=f"{self.limit}MiB", relocate_policy="threshold")
        return request

    def play(self, cluster: Cluster, *args: str, **variables) -> Play:
        return cluster.play(self.playbook, *args, **self.request, **variables)

    def done(self, cluster: Cluster, *args: str, **variables) -> None:
        """Done by one run of the playbook, and the guest works on."""
        play = self.play(cluster, *args, **variables)
        assert (play.code, play.changed > 0) == (0, True), play.output
        self.check(cluster)

    def check(self, cluster: Cluster) -> None:
        assert_layout(cluster, self.main, self.sub_hosts, self.limit * MIB)
        assert_works_on(cluster, self.main)

    def four_ways(self, cluster: Cluster, before: Operation) -> None:
        """Foretold, done, and then found done, in check mode too."""
        foretold = self.play(cluster, "--check")
        assert (foretold.code, foretold.changed > 0) == (0, True), foretold.output
        before.check(cluster)
        self.done(cluster)
        for mode in (["--check"], []):
            again = self.play(cluster, *mode)
            assert (again.code, again.changed) == (0, 0), again.output
        self.check(cluster)


def split(main: str, *sub_hosts: str, limit: int = 256) -> Operation:
    return Operation("migrate_large_vm.yml", main, sub_hosts, limit)


def remigrate(main: str, *sub_hosts: str, limit: int = 256) -> Operation:
    return Operation("remigrate_vm.yml", main, sub_hosts, limit)


def consolidate(main: str) -> Operation:
    return Operation("consolidate_vm.yml", main)
