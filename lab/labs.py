# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole lab: up, down, and what is remembered of it while it is up."""
from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

from lab import access, limits, lxcfs, network, tree
from lab.host import Host
from lab.release import NEWEST, RELEASES
from lab.settings import CACHE, DEFAULT_HOSTS, DEFAULT_LAB, DEFAULT_MEMORY, STATE, LabError
from lab.size import parse_size

LOCK = Path("/run/lock/smemv-lab")
MOST_LABS = 64
MOST_HOSTS = 200


@dataclass
class Lab:
    """What is remembered of a lab while it is up; kept in lab.json."""

    name: str
    number: int
    tree: str
    inventory: str
    memory: dict[str, int]  # host name: bytes
    rate: dict[str, int]  # host name: Mbit/s, 0 for no limit

    @classmethod
    def load(cls, name: str) -> Lab:
        """Return a lab that is up."""
        file = STATE / name / "lab.json"
        if not file.exists():
            raise LabError(f"no lab {name} is up")
        return cls(**json.loads(file.read_text(encoding="utf-8")))

    @classmethod
    def new(cls, name: str, release: str) -> Lab:
        """Return a lab that has no hosts yet, which are to have that release."""
        taken = {lab.number for lab in all_labs()}
        number = next((number for number in range(MOST_LABS) if number not in taken), None)
        if number is None:
            raise LabError(f"{MOST_LABS} labs are up; take one down first")
        return cls(name, number, str(tree.ensure(release)), str(access.inventory_path(name)), {}, {})

    def save(self) -> None:
        """Remember."""
        folder = STATE / self.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lab.json").write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def hosts(self) -> list[Host]:
        """Return the hosts, in the order of their numbers."""
        return [self.host(name) for name in self.memory]

    def host(self, name: str) -> Host:
        """Return one host."""
        if name not in self.memory:
            raise LabError(f"lab {self.name} has no {name}; its hosts are {', '.join(self.memory)}")
        return Host(self.name, self.number, name)


@contextmanager
def locked():
    """Let one lab command at a time change the machine."""
    LOCK.parent.mkdir(exist_ok=True)
    with open(LOCK, "w", encoding="utf-8") as file:
        flock(file, LOCK_EX)
        yield


def all_labs() -> list[Lab]:
    """Return every lab that is up."""
    return [Lab.load(file.parent.name) for file in sorted(STATE.glob("*/lab.json"))]


def made_here() -> list[str]:
    """Return the names of the labs that were made from this checkout."""
    return [lab.name for lab in all_labs() if _is_own(lab)]


def up(
    name: str = DEFAULT_LAB,
    hosts: int | None = None,
    memory: int | None = None,
    rate: int | None = None,
    release: str | None = None,
) -> Lab:
    """Make what is missing of the lab, start what is off, and wait until every host is up.

    What is not given stays as it is, or is the default in a new lab. memory is in bytes, rate in Mbit/s, release one of
    RELEASES.
    """
    if (STATE / name / "lab.json").exists():
        lab = _own(Lab.load(name))
        own = tree.release_of(Path(lab.tree))
        if release not in (None, own):
            raise LabError(f"the hosts of lab {name} have {RELEASES[own].distribution} {own}, not {release}")
    else:
        lab = Lab.new(name, release or NEWEST)
    count = hosts or len(lab.memory) or DEFAULT_HOSTS
    if not len(lab.memory) <= count <= MOST_HOSTS:
        raise LabError(f"lab {name} has {len(lab.memory)} hosts; it can have more, up to {MOST_HOSTS}, not {count}")
    for host in (f"host-{index}" for index in range(1, count + 1)):
        lab.memory[host] = memory or lab.memory.get(host) or parse_size(DEFAULT_MEMORY)
        lab.rate[host] = lab.rate.get(host, 0) if rate is None else rate
    # Before anything is made, so that down() knows of it however far this gets.
    lab.save()

    for folder in (CACHE / "shared", STATE / name / "shared"):
        folder.mkdir(parents=True, exist_ok=True)
    access.ensure_key(name)
    limits.ensure()
    lxcfs.ensure(name)
    network.ensure_lab(name, lab.number)
    names = {host.name: host.address for host in lab.hosts()}
    for host in lab.hosts():
        host.make(Path(lab.tree), names)
        if not host.is_on():
            power_on(lab, host)
        elif memory is not None:
            host.cgroup.set_memory(memory)
        if rate is not None:
            network.set_rate(name, host.name, rate)
    access.write(name, lab.hosts(), tree.release_of(Path(lab.tree)))
    for host in lab.hosts():
        host.wait_until_up()
    return lab


def power_on(lab: Lab, host: Host) -> None:
    """Start a host that is off, its cable in, with the disk it went off with."""
    network.ensure_host(lab.name, lab.number, host.name)
    network.set_link(lab.name, host.name, "up")
    network.set_rate(lab.name, host.name, lab.rate[host.name])
    host.start(lab.memory[host.name])


def down(name: str) -> None:
    """Leave nothing of the lab, however far it got and whatever happened to it since."""
    if (STATE / name / "lab.json").exists():
        lab = _own(Lab.load(name))
        access.remove(name, Path(lab.inventory))
        for host in lab.hosts():
            host.remove()
    lxcfs.remove(name)
    network.remove(name, last=[lab.name for lab in all_labs()] in ([], [name]))
    if (STATE / name).exists():
        shutil.rmtree(STATE / name)
    if STATE.exists() and not any(STATE.iterdir()):
        STATE.rmdir()


def _is_own(lab: Lab) -> bool:
    return Path(lab.inventory) == access.inventory_path(lab.name)


def _own(lab: Lab) -> Lab:
    """Return the lab; LabError if another checkout, that is still there, made it: somebody may be working in it."""
    other = Path(lab.inventory).with_name("lab")
    if not _is_own(lab) and other.exists():
        raise LabError(f"lab {lab.name} was made with {other}: use that, or another name")
    return lab
