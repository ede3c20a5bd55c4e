# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: the QEMU binaries, built if need be, and VMs that end with the test."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from service_manager import ServiceManager

from tests.native.certificates import Authority
from tests.qemu import binaries
from tests.qemu.hosts import Hosts, credentials, server_credentials
from tests.qemu.memserver import Memserver
from tests.qemu.vm import Vm, start


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "qemu: needs QEMU, which is built first (minutes, once)")
    config.addinivalue_line("markers", "kvm: needs /dev/kvm as well")


@pytest.fixture(scope="session")
def stock_tree() -> Path:
    """Upstream's source, as it is."""
    return binaries.stock_tree()


@pytest.fixture(scope="session")
def patched_build() -> Path:
    return binaries.qemu_build()


@pytest.fixture(scope="session")
def stock_build() -> Path:
    return binaries.qemu_build("--stock")


@pytest.fixture(scope="session")
def patched(patched_build: Path) -> Path:
    """The patched qemu-system-x86_64."""
    return patched_build / "qemu-system-x86_64"


@pytest.fixture(scope="session")
def stock(stock_build: Path) -> Path:
    """The stock qemu-system-x86_64 of the same version."""
    return stock_build / "qemu-system-x86_64"


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder for the test; pytest's own have names too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="smemv-") as folder:
        yield Path(folder)


@pytest.fixture
def start_vm(socket_folder: Path) -> Iterator[Callable[..., Vm]]:
    """vm.start() without its folder: a VM started with it ends with the test."""
    with contextlib.ExitStack() as stack:
        numbers = itertools.count(1)

        def start_one(binary: Path, *args: object, **options: object) -> Vm:
            return stack.enter_context(start(binary, socket_folder / f"vm{next(numbers)}", *args, **options))

        yield start_one


@pytest.fixture
def start_memserver(socket_folder: Path) -> Iterator[Callable[..., Memserver]]:
    """Memserver(capacity, port=None, options=()) that ends with the test; they are named sub-1, sub-2, …"""
    binary = binaries.memserver()
    with contextlib.ExitStack() as stack:
        numbers = itertools.count(1)

        def start_one(capacity: int, port: int | None = None, options: Sequence[object] = ()) -> Memserver:
            folder = socket_folder / f"sub-{next(numbers)}"
            return stack.enter_context(Memserver(binary, folder, capacity, port, options))

        yield start_one


@pytest.fixture
def start_kept_memserver(socket_folder: Path) -> Iterator[Callable[..., Memserver]]:
    """As start_memserver, for those whose sessions outlive stop() and start(); they are named kept-1, kept-2, …"""
    binary = binaries.memserver()
    with contextlib.ExitStack() as stack:
        numbers = itertools.count(1)

        def start_one(capacity: int, options: Sequence[object] = ()) -> Memserver:
            folder = socket_folder / f"kept-{next(numbers)}"
            folder.mkdir()
            manager = stack.enter_context(ServiceManager(folder))
            return stack.enter_context(Memserver(binary, folder, capacity, options=options, manager=manager))

        yield start_one


@pytest.fixture
def hosts(patched: Path, start_vm: Callable[..., Vm], start_memserver: Callable[..., Memserver]) -> Hosts:
    return Hosts(patched, start_vm, start_memserver)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def main_host(authority: Authority, tmp_path: Path) -> list[str]:
    """Options of a VM on a main host that memservers know, and that can be sent a VM by TLS."""
    folder = authority.issue(tmp_path / "main-1", "main-1", "DNS:main-1")
    return [*credentials(folder), *server_credentials(folder)]


@pytest.fixture
def tls_options(authority: Authority, tmp_path: Path) -> list[object]:
    """Options of memservers that speak TLS, with the main host and each other."""
    folder = authority.issue(tmp_path / "sub", "sub", "DNS:sub,IP:127.0.0.1")
    peers = tmp_path / "peers"
    peers.write_text("main-1\nsub\n")
    return ["--tls", folder, "--peers", peers]


@pytest.fixture
def start_with_tls(tls_options: list[object], start_memserver: Callable[..., Memserver]) -> Callable[[], Memserver]:
    """Starts memservers that speak TLS."""
    return lambda: start_memserver(512 << 20, options=tls_options)


@pytest.fixture
def start_kept_with_tls(
    tls_options: list[object], start_kept_memserver: Callable[..., Memserver]
) -> Callable[[], Memserver]:
    """Starts memservers that speak TLS and whose sessions outlive them."""
    return lambda: start_kept_memserver(512 << 20, tls_options)
