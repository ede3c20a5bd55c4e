# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hosts of a lab may have: releases of Debian and Ubuntu, and where their packages come from."""
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lab.command import run
from lab.settings import LabError
from native.qemu.isolated_apt import IsolatedApt

KEYRINGS = Path("/usr/share/keyrings")


@dataclass(frozen=True)
class Release:
    """A release, by its suite in its distribution's archive."""

    distribution: str
    suite: str
    components: str = "main"
    more_suites: tuple[str, ...] = ()

    def mirror(self) -> str:
        """From where the machine's own apt has this distribution; $SMEMV_UBUNTU_MIRROR, say, if that has not."""
        variable = f"SMEMV_{self.distribution.upper()}_MIRROR"
        if variable in os.environ:
            return os.environ[variable]
        name = re.compile(rf"/{self.distribution.lower()}/?$")
        plain = [uri for uri, suite in _repositories() if re.fullmatch(r"[a-z]+", suite) and name.search(uri)]
        if not plain:
            raise LabError(f"the machine's apt has no mirror of {self.distribution}, for the hosts; set {variable}")
        return plain[0]

    def apt_sources(self) -> str:
        """The sources.list of a host, with source packages."""
        mirror = self.mirror()
        places = [(mirror, suite) for suite in (self.suite, f"{self.suite}-updates", *self.more_suites)]
        if self.distribution == "Debian":
            # It has a mirror of its own.
            security = [uri for uri, suite in _repositories() if suite.endswith("-security")]
            places += [(uri, f"{self.suite}-security") for uri in security[:1]]
        lines = [f"{uri} {suite} {self.components}\n" for uri, suite in places]
        return "".join(f"{kind} {line}" for line in lines for kind in ("deb", "deb-src"))

    def keyring(self, scratch: Path) -> Path:
        """The keys that the archive is signed with: this machine's, or had from Debian, by way of a scratch folder."""
        name = f"{self.distribution.lower()}-archive-keyring.gpg"
        if not (KEYRINGS / name).exists():
            apt = IsolatedApt(scratch / "apt", RELEASES[NEWEST].suite, "deb")
            run("dpkg-deb", "-x", apt.download(f"{self.distribution.lower()}-keyring", scratch), scratch / "keys")
            return scratch / "keys" / KEYRINGS.relative_to("/") / name
        return KEYRINGS / name


NEWEST = "13"
RELEASES = {
    "12": Release("Debian", "bookworm"),
    NEWEST: Release("Debian", "trixie"),
    "24.04": Release("Ubuntu", "noble", "main universe", ("noble-security",)),
}


def _repositories() -> list[list[str]]:
    """The machine's own apt sources: URI and suite of each."""
    listed = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages")
    return [line.split() for line in listed.splitlines()]
