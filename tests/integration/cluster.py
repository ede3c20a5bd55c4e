# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab whose hosts the collection has prepared, and plays and modules on it."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cli import CHECKOUT, CliLab

SHARED = "/srv/smemv"  # the folder that hosts have in common
GUEST = f"{SHARED}/guest"
LINE = re.compile(r"smemv-guest: t=\S+ phase=(\w+) accesses=(\d+) .*wrong=(\d+)")


@dataclass
class Play:
    """What a play left: its exit code, its output, and by host the counts of its recap."""

    code: int
    output: str

    @property
    def recap(self) -> dict[str, dict[str, int]]:
        lines = self.output.partition("PLAY RECAP")[2].splitlines()[1:]
        counts = {}
        for line in lines:
            host, colon, rest = line.partition(" : ")
            if colon:
                counts[host.strip()] = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", rest)}
        return counts

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts."""
        return sum(counts["changed"] for counts in self.recap.values())

    @property
    def message(self) -> str:
        """The message of the last task that failed."""
        failures = re.findall(r"^fatal: \[.*?\]: FAILED! => (\{.*\})$", self.output, re.MULTILINE)
        return json.loads(failures[-1])["msg"]


class Cluster(CliLab):
    """A lab of six hosts."""

    def install(self) -> Play:
        """Prepare the hosts."""
        return self.play("site.yml")

    @functools.cached_property
    def _settings(self) -> str:
        """What `lab/lab env` gives: asked once, as it takes as long as a module."""
        return self.run("env")

    def command(self, name: str, *args: str) -> list[str]:
        """A command in the shell that `lab/lab env` gives."""
        return ["bash", "-c", f'{self._settings}\nexec "$@"', "bash", name, *args]

    def play(self, name: str, /, *args: str, **variables) -> Play:
        """Run a playbook of the collection to its end."""
        process = self.begin(name, *args, **variables)
        output, _none = process.communicate()
        return Play(process.returncode, output)

    def begin(self, name: str, /, *args: str, **variables) -> subprocess.Popen:
        """Begin a playbook, in a process group of its own."""
        return subprocess.Popen(
            self._playbook(name, args, variables),
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _playbook(self, name, args, variables):
        return self.command("ansible-playbook", f"playbooks/{name}", *args, "--extra-vars", json.dumps(variables))

    def module(self, hosts: str, name: str, /, *options: str, **args) -> dict[str, dict]:
        """Run a module, by its short name one of the collection's; by host what it returned."""
        name = name if "." in name else f"smemv.kvm.{name}"
        with tempfile.TemporaryDirectory() as folder:
            words = ["ansible", hosts, "--module-name", name, "--tree", folder, *options]
            words += ["--args", json.dumps(args)] if args else []
            subprocess.run(
                self.command(*words), cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            return {path.name: json.loads(path.read_text()) for path in Path(folder).iterdir()}

    def lay_guest(self) -> None:
        """Put the test guest on the storage that the hosts share."""
        built = subprocess.run([CHECKOUT / "tests/guest/build"], capture_output=True, text=True, check=True)
        shutil.copytree(built.stdout.strip(), self.folder / "shared/guest", dirs_exist_ok=True)

    def vms(self) -> dict[str, list[dict]]:
        """By host, its VMs."""
        return {host: answer["vms"] for host, answer in self.module("kvm_hosts", "vm_info").items()}

    def sessions(self) -> dict[str, list[dict]]:
        """By host, its memserver's sessions."""
        answers = self.module("memservers", "memserver_info")
        return {host: answer["memserver"]["sessions"] for host, answer in answers.items()}

    def console(self, host: str, name: str) -> list[tuple[str, int, int]]:
        """What the guest said so far: (phase, accesses, wrong pages)."""
        text = self.ssh(host, f"cat /var/log/smemv/{name}.console.log")
        return [(phase, int(accesses), int(wrong)) for phase, accesses, wrong in LINE.findall(text)]

    def wait_for_guest(self, host: str, name: str, seconds: float = 90) -> None:
        """Wait until the guest has filled its memory and works."""
        try:
            wait_for(lambda: any(phase == "run" for phase, *_ in self.console(host, name)), seconds, "the guest")
        except AssertionError as error:
            log = f"tail -n 20 /var/log/smemv/{name}.console.log; journalctl --no-pager -n 20 -u smemv-vm-{name}"
            raise AssertionError(f"{error}\n{self.ssh(host, log)}") from error

    def guest_config(self, host: str, name: str) -> str:
        """The guest's last word on its processors, disks and network cards."""
        text = self.ssh(host, f"cat /var/log/smemv/{name}.console.log")
        return re.findall(r"smemv-guest: (config .*)", text)[-1].strip()

    def traffic(self, host: str) -> int:
        """Bytes that went through the host's network card so far, by the kernel's own count."""
        (card,) = json.loads(self.ssh(host, "ip -s -j link show eth0"))
        return sum(card["stats64"][way]["bytes"] for way in ("rx", "tx"))


def assert_works_on(cluster: Cluster, host: str) -> None:
    """The guest goes on there, and never found a wrong page."""
    before = cluster.console(host, "big")[-1][1]
    wait_for(lambda: cluster.console(host, "big")[-1][1] > before, what="progress of the guest")
    assert all(wrong == 0 for _phase, _accesses, wrong in cluster.console(host, "big"))


def assert_layout(cluster: Cluster, main: str, sub_hosts=(), limit: int = 0) -> None:
    """VM big runs on ``main`` with these sub-hosts, and no host holds anything else."""
    hosts = cluster.module("kvm_hosts:memservers", "host_info")
    vms = {host: [(vm["name"], vm["state"], vm["adopted"]) for vm in info["vms"]] for host, info in hosts.items()}
    assert vms == {**dict.fromkeys(hosts, []), main: [("big", "running", True)]}
    memory = hosts[main]["vms"][0]["memory"]
    assert (memory["state"], memory["limit"]) == ("split" if sub_hosts else "whole", limit)
    assert not memory["rebalancing"]
    assert memory["resident"] + memory["zero"] + sum(host["remote"] for host in memory["sub_hosts"]) == memory["total"]
    shares = {host["name"]: host["share"] for host in memory["sub_hosts"]}
    assert set(shares) == set(sub_hosts)
    assert sum(shares.values()) == (memory["total"] - limit // 16 * 15 if sub_hosts else 0)
    for host, info in hosts.items():
        sessions = info["memserver"]["sessions"]
        assert [session["reserved"] for session in sessions] == ([shares[host]] if host in shares else [])
        assert info["memserver"]["reserved"] == shares.get(host, 0)
        assert info["memserver"]["used"] == 0 or host in shares
    # What the guest uses comes in where there is room for it.
    all_fits = memory["total"] - memory["zero"] <= limit
    assert not sub_hosts or all_fits or any(info["memserver"]["used"] for info in hosts.values())


def wait_for(condition, seconds: float = 90, what: str = "it"):
    """Look every half second until condition() is true; gives what it gave."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what} did not come about in {seconds} s"
        time.sleep(0.5)
    return answer
