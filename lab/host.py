# SPDX-License-Identifier: GPL-3.0-or-later
"""One host: a systemd-nspawn container with a disk, a network namespace and a cgroup of its own."""
from __future__ import annotations

import os
import shutil
import stat
import time
import uuid
from pathlib import Path

from lab import cgroup, lxcfs, network
from lab.command import run
from lab.settings import CACHE, STATE, LabError

AUTHORIZED_KEYS = Path("root/.ssh/authorized_keys")
NSPAWN = Path("/run/systemd/nspawn")
INIT = "/usr/local/sbin/lab-init"
CAPABILITIES = "CAP_NET_ADMIN,CAP_IPC_LOCK,CAP_BPF,CAP_PERFMON"
START_TIMEOUT = 180  # seconds; it takes two, and much longer on a machine that is emulated itself
ARCHIVES = Path("var/cache/apt/archives")
PACKAGE_CACHE = CACHE / "lab" / "packages"

# What nspawn does not give a container by itself: name, group, mode.
DEVICES = (("userfaultfd", "root", 0o600), ("kvm", "kvm", 0o660))


class Host:
    """A host of a lab, whether it exists yet or not."""

    def __init__(self, lab: str, number: int, name: str) -> None:
        self.lab = lab
        self.name = name
        self.machine = network.namespace(lab, name)  # the one name for it on the machine
        self.address = network.address(number, name)
        self.path = STATE / lab / name
        self.root = self.path / "root"
        self.cgroup = cgroup.of(lab, name)

    def make(self, tree: Path, names: dict[str, str]) -> None:
        """Make the disk, as a layer over the base tree, and mount it. `names` maps host names to addresses."""
        for folder in ("upper", "work", "root", "dev"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        (PACKAGE_CACHE / ARCHIVES).mkdir(parents=True, exist_ok=True)
        if not os.path.ismount(self.root):
            layers = f"lowerdir={PACKAGE_CACHE}:{tree},upperdir={self.path}/upper,workdir={self.path}/work"
            run("mount", "-t", "overlay", "-o", layers, "overlay", self.root)
        if not (self.root / AUTHORIZED_KEYS).exists():
            self._make_devices()
            self._give_identity(names)

    def start(self, memory: int) -> None:
        """Switch the host on. Returns at once; see wait_until_up()."""
        self._remove_what_nspawn_left()
        inside = f"/run/netns/{self.machine}"
        argv = [
            # Without this, /sys/class/net in the host would show the machine's cards.
            "nsenter", f"--net={inside}",
            "systemd-nspawn", "--quiet", f"--directory={self.root}", f"--network-namespace-path={inside}",
            f"--machine={self.machine}", f"--hostname={self.name}",
            "--register=no", "--keep-unit", "--kill-signal=SIGRTMIN+3", "--console=read-only",
            f"--capability={CAPABILITIES}", "--system-call-filter=bpf pidfd_getfd",
            "--resolv-conf=off", "--timezone=off", "--link-journal=no",
            f"--bind={CACHE / 'shared'}:/var/cache/smemv", f"--bind={STATE / self.lab / 'shared'}:/srv/smemv",
            f"--bind={lxcfs.folder(self.lab)}:/var/lib/lxcfs",
            *[f"--bind={node}:/dev/{node.name}" for node in sorted((self.path / "dev").iterdir())],
            INIT,
        ]
        # The host sets its own network sysctls; its /tmp is on disk, for in memory it would count against the limit.
        environment = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network", "SYSTEMD_NSPAWN_TMPFS_TMP": "0"}
        self.cgroup.start(argv, environment, memory, self.path / "console.log")

    def is_on(self) -> bool:
        """Return whether anything of the host runs."""
        return bool(self.cgroup.pids())

    def wait_until_up(self) -> None:
        """Wait until the host's systemd has started everything; LabError names what failed."""
        deadline = time.monotonic() + START_TIMEOUT
        state = "off"
        while time.monotonic() < deadline:
            state = self._systemd_state()
            if state == "running":
                return
            if not self.is_on():
                raise LabError(f"{self.name} went off while it started:\n{self._console()}")
            if state in ("degraded", "maintenance"):
                failed = self.output("systemctl", "--failed", "--no-legend", "--plain")
                raise LabError(f"{self.name} is {state}:\n{failed}")
            time.sleep(0.05)
        raise LabError(f"{self.name} is {state} after {START_TIMEOUT} s:\n{self._console()}")

    def exec(self, argv: list[str]) -> None:
        """Become a command inside the host, with the host's own memory accounting; works with its link down too."""
        pid = self._init_pid()
        if pid is None:
            raise LabError(f"{self.name} is off")
        cgroup.join(pid)
        command = _enter(pid, argv)
        os.execvp(command[0], command)

    def output(self, *argv: str) -> str:
        """Return what a command prints inside the host, whatever its exit status; empty when the host is off."""
        pid = self._init_pid()
        return run(*_enter(pid, list(argv)), check=False).strip() if pid else ""

    def remove(self) -> None:
        """Leave nothing of the host but the packages it fetched, for the next one."""
        self.cgroup.remove()
        self._remove_what_nspawn_left()
        if os.path.ismount(self.root):
            run("umount", self.root)
        for package in (self.path / "upper" / ARCHIVES).glob("*.deb"):
            package.rename(PACKAGE_CACHE / ARCHIVES / package.name)
        if self.path.exists():
            shutil.rmtree(self.path)

    def _remove_what_nspawn_left(self) -> None:
        """Remove what nspawn would have, had it not been killed."""
        for folder in (NSPAWN / "propagate" / self.machine, NSPAWN / "unix-export" / self.machine):
            if os.path.ismount(folder):
                run("umount", folder)
            if folder.exists():
                folder.rmdir()
        if self.root.exists():
            root = self.root.stat()
            (NSPAWN / "locks" / f"inode-{root.st_dev}:{root.st_ino}").unlink(missing_ok=True)

    def _give_identity(self, names: dict[str, str]) -> None:
        hosts = "".join(f"{address} {name}\n" for name, address in names.items())
        for path, text in (
            ("etc/machine-id", f"{uuid.uuid4().hex}\n"),
            ("etc/hostname", f"{self.name}\n"),
            ("etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{hosts}"),
            ("etc/resolv.conf", _name_servers()),
        ):
            (self.root / path).write_text(text, encoding="utf-8")
        key = self.root / "etc/ssh/ssh_host_ed25519_key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", key)
        # Last of all: it says that the host is whole.
        (self.root / AUTHORIZED_KEYS).parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(STATE / self.lab / "id_ed25519.pub", self.root / AUTHORIZED_KEYS)

    def _make_devices(self) -> None:
        """Make device nodes: bound in from the machine, they would share owner and mode with the machine's."""
        groups = dict(line.split(":")[0:3:2] for line in (self.root / "etc/group").read_text().splitlines())
        for name, group, mode in DEVICES:
            if os.path.exists(f"/dev/{name}"):
                node = self.path / "dev" / name
                node.unlink(missing_ok=True)
                os.mknod(node, stat.S_IFCHR | mode, os.stat(f"/dev/{name}").st_rdev)
                os.chown(node, 0, int(groups[group]))
                os.chmod(node, mode)

    def _console(self) -> str:
        """Return the last lines of what the host wrote while it started."""
        log = self.path / "console.log"
        return "".join(log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[-10:])

    def _systemd_state(self) -> str:
        return self.output("systemctl", "is-system-running") or "off"

    def _init_pid(self) -> int | None:
        """Return the machine's number for the host's process 1."""
        for pid in self.cgroup.pids():
            try:
                status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
            except OSError:
                continue
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if len(numbers) == 2 and numbers[1] == "1":
                return pid
        return None


def _enter(pid: int, argv: list[str]) -> list[str]:
    return ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
            "env", "-i", "-C", "/root", "HOME=/root", "LANG=C.UTF-8", f"TERM={os.environ.get('TERM', 'dumb')}",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", *argv]


def _name_servers() -> str:
    """The machine's name servers; a local stub of systemd-resolved would be out of a host's reach."""
    behind_stub = Path("/run/systemd/resolve/resolv.conf")
    return (behind_stub if behind_stub.exists() else Path("/etc/resolv.conf")).read_text(encoding="utf-8")
