# SPDX-License-Identifier: GPL-3.0-or-later
"""Download Debian packages of one release, leaving the machine's own apt as it is.

The mirror is $SMEMV_DEBIAN_MIRROR, or the one that the machine's own apt uses; lists and archives are kept in a folder
of their own, so that packages of Debian 13 can be had on Debian 12 or Ubuntu, and sources without a deb-src line.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def debian_mirror() -> str:
    """The URI of a mirror of Debian: if none is named, from where this machine's apt has its own release."""
    if os.environ.get("SMEMV_DEBIAN_MIRROR"):
        return os.environ["SMEMV_DEBIAN_MIRROR"]
    codename = _os_release()["VERSION_CODENAME"]
    targets = _run("apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages")
    for line in targets.splitlines():
        release, component, uri = line.split(maxsplit=2)
        if release == codename and component == "main":
            return uri
    raise LookupError(f"apt has no source for {codename} main on this machine")


def _os_release() -> dict[str, str]:
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def _run(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


class IsolatedApt:
    """apt with the folder `state` for all that it remembers, and one release as its only source.

    kind is "deb" for packages and "deb-src" for sources. Errors: subprocess.CalledProcessError, apt's own words on
    stderr.
    """

    def __init__(self, state: Path, release: str, kind: str) -> None:
        (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (state / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        sources = state / "sources.list"
        sources.write_text(f"{kind} [signed-by={KEYRING}] {debian_mirror()} {release} main\n", encoding="utf-8")
        self._options = [
            f"-oDir::Etc::sourcelist={sources}",
            "-oDir::Etc::sourceparts=/dev/null",
            "-oDir::Etc::preferences=/dev/null",
            "-oDir::Etc::preferencesparts=/dev/null",
            f"-oDir::State::lists={state}/lists",
            "-oDir::State::status=/dev/null",
            f"-oDir::Cache={state}/cache",
            # The folders are not readable by apt's own user.
            "-oAPT::Sandbox::User=root",
            "-qq",
        ]
        _run("apt-get", *self._options, "update")

    def dependency(self, package: str, prefix: str) -> str:
        """The package that `package` depends on whose name starts with `prefix`: what a metapackage stands for."""
        for line in _run("apt-cache", *self._options, "depends", package).splitlines():
            name = line.partition("Depends: ")[2]
            if name.startswith(prefix):
                return name
        raise LookupError(f"{package} depends on nothing called {prefix}…")

    def download(self, package: str, folder: Path) -> Path:
        """Download the newest version of a binary package into folder; returns the .deb."""
        _run("apt-get", *self._options, "download", package, cwd=folder)
        (deb,) = folder.glob(f"{package}_*.deb")
        return deb

    def download_source(self, package: str, version: str, folder: Path) -> Path:
        """Download one version of a source package into folder; returns the .dsc."""
        _run("apt-get", *self._options, "source", "--download-only", f"{package}={version}", cwd=folder)
        (dsc,) = folder.glob(f"{package}_*.dsc")
        return dsc
