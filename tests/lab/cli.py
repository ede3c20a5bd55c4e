# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as its user has it: the command, ssh, and what it leaves on the machine."""
from __future__ import annotations

import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
STATE = Path("/var/lib/smemv-lab")


class CliLab:
    """One lab, by name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = STATE / name
        self.inventory = CHECKOUT / "lab" / f"inventory-{name}.yml"

    def try_run(self, command: str, *args: str) -> subprocess.CompletedProcess:
        """Run lab/lab COMMAND for this lab."""
        return subprocess.run([CHECKOUT / "lab/lab", command, "--name", self.name, *args],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def run(self, command: str, *args: str) -> str:
        """Run lab/lab COMMAND for this lab; it must succeed. Returns its standard output."""
        done = self.try_run(command, *args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def try_ssh(self, host: str, command: str) -> subprocess.CompletedProcess:
        """Run a shell command in a host, over the network."""
        return subprocess.run(["ssh", "-F", self.folder / "ssh_config", host, command],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def ssh(self, host: str, command: str) -> str:
        """Run a shell command in a host, over the network; it must succeed. Returns its standard output."""
        done = self.try_ssh(host, command)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def shell(self, script: str) -> str:
        """Run a script on the machine, in the shell that `lab/lab env` gives. Returns its standard output."""
        done = subprocess.run(["bash", "-c", f'eval "$(lab/lab env --name {self.name})"; {script}'],
                              cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def traces(self) -> list[str]:
        """Return everything on the machine that bears the lab's name: files, mounts, links, cgroups, processes."""
        marks = (f"smemv-lab/{self.name}", f"sv-{self.name}", f"smemv-lab-{self.name}-")
        found = [str(path) for path in (self.folder, self.inventory) if path.exists()]
        for listing in (["ip", "netns", "list"], ["ip", "-oneline", "link"], ["cat", "/proc/mounts"],
                        ["find", "/sys/fs/cgroup", "/run", "-type", "d"], ["ps", "-eo", "args"]):
            lines = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines()
            found += [line for line in lines if any(mark in line for mark in marks)]
        return found


def machine_settings() -> tuple[str, str, bool]:
    """Return what labs change on the machine as a whole.

    That is IPv4 forwarding, the congestion controls that are allowed, and whether their nftables table is there.
    """
    forwarding, allowed = (
        Path("/proc/sys/net/ipv4", name).read_text().strip()
        for name in ("ip_forward", "tcp_allowed_congestion_control")
    )
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return forwarding, allowed, "smemv_lab" in tables
