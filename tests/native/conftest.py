# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the memserver, under the sanitizers, and starts it."""

from __future__ import annotations

import contextlib
import pathlib

import pytest
from certificates import KNOWN, ME, Authority, context
from memserver_process import Memserver
from service_manager import ServiceManager
from wire_client import Session

from tests.make import BUILD, make


@pytest.fixture(scope="session")
def memserver_binary() -> pathlib.Path:
    make("native/memserver", "SANITIZE=address,undefined")
    return BUILD / "memserver-address-undefined" / "smemv-memserver"


@pytest.fixture(scope="session")
def memserver_tsan() -> pathlib.Path:
    make("native/memserver", "SANITIZE=thread")
    return BUILD / "memserver-thread" / "smemv-memserver"


@pytest.fixture(scope="session")
def memserver_plain() -> pathlib.Path:
    """As it is installed."""
    make("native/memserver")
    return BUILD / "memserver" / "smemv-memserver"


@pytest.fixture
def start(memserver_binary, tmp_path):
    """Starts memservers as asked, and stops them at the end of the test."""
    with contextlib.ExitStack() as stack:

        def run(binary: pathlib.Path = memserver_binary, name: str = ".", **options) -> Memserver:
            directory = tmp_path / name
            directory.mkdir(exist_ok=True)
            server = Memserver(binary, directory, **options)
            stack.callback(server.stop)
            return server

        yield run


@pytest.fixture
def manager(tmp_path):
    with ServiceManager(tmp_path) as manager:
        yield manager


@pytest.fixture
def memserver(start) -> Memserver:
    return start()


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture
def folder(authority, tmp_path):
    """The memserver's own folder."""
    return authority.issue(tmp_path / "sub-1", "sub-1", f"DNS:sub-1,IP:{ME}")


@pytest.fixture
def peers(tmp_path):
    path = tmp_path / "peers"
    path.write_text("# Main hosts\nmain-1 # the first\n\n  192.0.2.7\nlegacy\n")
    return path


@pytest.fixture
def main_1(authority, tmp_path):
    """A known main host, as a client."""
    return context(authority.issue(tmp_path / "main-1", "main-1", KNOWN))


@pytest.fixture
def start_with_tls(start, folder, peers, main_1):
    """Starts memservers with TLS; their tests connect as the main host that they know."""

    def run(options: tuple[str, ...] = (), **others) -> Memserver:
        return start(options=("--tls", str(folder), "--peers", str(peers), *options), tls=main_1, **others)

    return run
