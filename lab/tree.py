# SPDX-License-Identifier: GPL-3.0-or-later
"""The tree that every host of a lab stands on: made once for each release, then only read."""
from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from pathlib import Path

from lab.command import run
from lab.release import RELEASES, Release
from lab.settings import CACHE

# Ubuntu's is the same for each release, and may be newer than this machine's debootstrap.
SCRIPTS = {"Debian": [], "Ubuntu": ["/usr/share/debootstrap/scripts/gutsy"]}
HERE = Path(__file__).resolve().parent

# Work that a machine does on its own and that would disturb a measurement, and what a container has no use for.
MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "man-db.timer", "systemd-timesyncd.service", "systemd-networkd-wait-online.service",
    "console-getty.service",
    # /tmp in memory would count against the host's memory limit.
    "tmp.mount",
)


def ensure(number: str) -> Path:
    """Return the base tree of a release, made first if what goes into it has changed."""
    release = RELEASES[number]
    sources = release.apt_sources()
    tree = CACHE / "lab" / f"{release.suite}-{_hash(sources)}"
    if not tree.exists():
        _build(tree, release, sources)
    return tree


def release_of(tree: Path) -> str:
    """Return the release of a base tree."""
    return next(number for number, release in RELEASES.items() if tree.name.startswith(f"{release.suite}-"))


def _hash(sources: str) -> str:
    digest = hashlib.sha256(sources.encode())
    for path in [Path(__file__), HERE / "packages", *sorted((HERE / "rootfs").rglob("*"))]:
        if path.is_file():
            digest.update(f"{path.relative_to(HERE)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _packages() -> list[str]:
    lines = (HERE / "packages").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _build(tree: Path, release: Release, sources: str) -> None:
    print(f"lab: making the hosts' base tree {tree} (once)", flush=True)
    partial = tree.with_suffix(".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        options = ["--variant=minbase", f"--keyring={release.keyring(Path(scratch))}"]
        options += [f"--components={release.components.replace(' ', ',')}"]
        run("debootstrap", *options, release.suite, partial, release.mirror(), *SCRIPTS[release.distribution])
    shutil.copytree(HERE / "rootfs", partial, dirs_exist_ok=True)
    (partial / "etc/apt/sources.list").write_text(sources, encoding="utf-8")
    _copy_apt_network_settings(partial)
    shutil.copy("/etc/resolv.conf", partial / "etc/resolv.conf")
    _in_tree(partial, "apt-get", "update")
    _in_tree(partial, "env", "DEBIAN_FRONTEND=noninteractive",
             "apt-get", "install", "--yes", "--no-install-recommends", *_packages())
    _in_tree(partial, "apt-get", "clean")
    _in_tree(partial, "apt-cache", "gencaches")  # or each host does it by itself, for seconds of a processor
    _make_anonymous(partial)
    for unit in MASKED:
        (partial / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for stamp in ("etc/.updated", "var/.updated"):
        (partial / stamp).touch()  # or systemd rebuilds its caches at every host's first start
    partial.rename(tree)


def _in_tree(tree: Path, *argv: str) -> None:
    run("unshare", "--mount", "--pid", "--fork", f"--root={tree}", "--mount-proc", *argv)


def _copy_apt_network_settings(tree: Path) -> None:
    """Give the hosts the machine's proxy for package mirrors, if it has one."""
    settings = [line for line in run("apt-config", "dump").splitlines() if re.match(r"Acquire::https?::Proxy\b", line)]
    (tree / "etc/apt/apt.conf.d/91machine").write_text("".join(f"{line}\n" for line in settings), encoding="utf-8")


def _make_anonymous(tree: Path) -> None:
    """Take out what must differ between hosts; each gets its own when it is made."""
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for name in ("etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname", "etc/resolv.conf"):
        (tree / name).unlink(missing_ok=True)
