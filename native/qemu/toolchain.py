# SPDX-License-Identifier: GPL-3.0-or-later
"""Configure and compile a QEMU tree, with ccache and the meson of the release that the tree is from."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from isolated_apt import IsolatedApt

SYSTEM_PYTHON = "/usr/bin/python3"

# Of the packages seabios, ipxe-qemu and qemu-system-data.
FIRMWARE_FOLDERS = ["/usr/share/qemu", "/usr/share/seabios", "/usr/lib/ipxe/qemu"]

# Only what a VM on KVM needs. Debian's source has no firmware: that comes from its packages of firmware.
CONFIGURE_OPTIONS = [
    "--target-list=x86_64-softmmu",
    "--without-default-features",
    "--enable-system",
    "--enable-tools",
    "--enable-kvm",
    "--enable-tcg",
    "--enable-fdt=system",
    "--enable-gnutls",
    "--enable-slirp",
    "--enable-linux-io-uring",
    "--enable-zstd",
    "--enable-cap-ng",
    "--enable-vhost-kernel",
    "--enable-vhost-net",
    "--enable-vhost-user",
    "--enable-avx2",  # zero pages are found by it
    "--disable-install-blobs",
    "--disable-docs",
    "--disable-werror",
    f"--firmwarepath={':'.join(FIRMWARE_FOLDERS)}",
]


@dataclass(frozen=True)
class Variant:
    """Which QEMU is built: patched or stock, and how it is instrumented."""

    stock: bool = False
    sanitize: str | None = None
    debug: bool = False

    @property
    def name(self) -> str:
        parts = ["qemu-stock" if self.stock else "qemu", self.sanitize, "debug" if self.debug else None]
        return "-".join(part for part in parts if part)

    @property
    def prefix(self) -> str:
        return f"/opt/smemv/{self.name}"

    @property
    def configure_options(self) -> list[str]:
        options = [*CONFIGURE_OPTIONS, f"--prefix={self.prefix}"]
        if self.sanitize == "address":
            options += ["--enable-asan", "--enable-ubsan"]
        elif self.sanitize == "thread":
            options += ["--enable-tsan"]
        if self.debug:
            options += ["--enable-debug"]
        return options


def _run(command: list[str | Path], cwd: Path, cache: Path) -> None:
    """Run with ccache set up. The command's output goes to stderr: stdout is the build's own result."""
    environment = {"CCACHE_DIR": str(cache / "ccache"), **os.environ}
    # The same file compiles to the same object in every work tree.
    environment.update(CCACHE_BASEDIR=str(cache), CCACHE_NOHASHDIR="1")
    subprocess.run(command, cwd=cwd, env=environment, check=True, stdout=sys.stderr)


def _python_with_meson(cache: Path, release: str) -> Path:
    """A Python that has the meson of a release of Debian: other releases' own may be too old."""
    venv = cache / "venv" / f"meson-{release}-{Path(SYSTEM_PYTHON).resolve().name}"
    python = venv / "bin" / "python3"
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run([python, "-c", "import mesonbuild"], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return python
    _run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", "--clear", venv], Path("/"), cache)
    (packages,) = venv.glob("lib/python3*/site-packages")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        deb = IsolatedApt(folder / "apt", release, "deb").download("meson", folder)
        _run(["dpkg-deb", "-x", deb, folder / "tree"], Path("/"), cache)
        shutil.copytree(folder / "tree/usr/lib/python3/dist-packages", packages, dirs_exist_ok=True)
    return python


def configure(tree: Path, build: Path, variant: Variant, stamp: str, cache: Path, release: str) -> None:
    """Configure the build folder, once; afterwards only the stamp is brought up to date.

    release is the tree's, of Debian.
    """
    stamp_file = build / "smemv-stamp"
    if (build / "build.ninja").exists():
        if stamp_file.read_text(encoding="utf-8") != stamp:
            _run(["pyvenv/bin/meson", "configure", f"-Dpkgversion={stamp}"], build, cache)
    else:
        build.mkdir(parents=True, exist_ok=True)
        options = [f"--python={_python_with_meson(cache, release)}", "--cc=ccache gcc", f"--with-pkgversion={stamp}"]
        _run([tree / "configure", *variant.configure_options, *options], build, cache)
        _link_firmware(build)
    stamp_file.write_text(stamp, encoding="utf-8")


def _link_firmware(build: Path) -> None:
    """Let a binary find the firmware when it runs in the build folder: there it looks below qemu-bundle."""
    for folder in FIRMWARE_FOLDERS:
        link = build / "qemu-bundle" / folder[1:]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)


def compile_targets(build: Path, targets: list[str], cache: Path) -> None:
    """Compile the targets."""
    _run(["ninja", *targets], build, cache)


def install(build: Path, binaries: list[str], folder: Path) -> None:
    """Copy the binaries, all that a host needs, into a new folder."""
    folder.mkdir(parents=True)
    for name in binaries:
        shutil.copy2(build / name, folder)
