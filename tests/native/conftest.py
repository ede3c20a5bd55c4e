# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the memserver, under the sanitizers, and starts it."""

from __future__ import annotations

import contextlib
import pathlib

import pytest
from memserver_process import BUILD, Memserver, make
from service_manager import ServiceManager
from wire_client import Session


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
