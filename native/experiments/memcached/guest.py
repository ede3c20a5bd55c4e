# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest that is a memcached, on the network of a lab, and a load from outside that checks what it gets."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from dataclasses import replace
from pathlib import Path

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

from lab import labs
from lab.links import Hosts
from lab.network import BRIDGE
from native.bench.stage import Stage
from tests.qemu import guests
from tests.qemu.split import MIB
from tests.qemu.vm import Vm

HERE = Path(__file__).resolve().parent
LINUX = guests.BUILD.parent / "linux"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static")
ITEM = 4000  # bytes of a value: an item with its key and header is about a page
STORED = 1200 * MIB
CLIENTS = 4
ANSWER = 120  # seconds, in which a request is answered unless the VM is gone
TENTH = 10
GETS = 0.9  # of the requests; the rest are sets
MAC = "02:00:00:aa:00:01"
TUN = "/dev/net/tun"
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
CLONE_NEWNET = 0x40000000


class Memcached:
    """A Stage whose VM is a memcached that stores so many bytes, and the clients that load it; a context manager.

    hot is how many of the items that they want are of the first tenth, which lie strewn over its memory; by default
    all are wanted alike. at_once is how many items a request is for. rate is how many items a second they want at most;
    0 is as many as are answered.
    """

    def __init__(
        self, hosts: Hosts, memory: int, stored: int = STORED, hot: float = 0.1, at_once: int = 1, rate: float = 0
    ) -> None:
        self._network = _Network(hosts)
        number = labs.Lab.load(hosts.lab).number
        self._address = f"198.18.{number}.200"
        self._stack = contextlib.ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="smemv-")))
        initrd = _initrd(self._folder)
        guest = replace(guests.linux(f"smemv.address={self._address} smemv.memory={memory // MIB}"), initrd=initrd)
        self.stage = Stage(hosts, guest, memory, devices=self._network.card)
        self._items = stored // ITEM // CLIENTS // TENTH * CLIENTS * TENTH
        self._hot = hot
        self._at_once = at_once
        self._pause = CLIENTS * at_once / rate if rate else 0.0
        self._answers: list[list[tuple[float, float]]] = [[] for _client in range(CLIENTS)]
        self._wrong = 0
        self._end = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = self._stack.enter_context(futures.ThreadPoolExecutor(CLIENTS))
        self._clients: list[futures.Future[None]] = []

    def __enter__(self) -> Memcached:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        # The guest is gone by now, and would never answer.
        for each in self._sockets:
            # One that has failed is closed already.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._stack.close()
        self._network.close()
        if any(exception):
            return
        for client in self._clients:
            client.result()
        if self._wrong:
            raise RuntimeError(f"memcached gave {self._wrong} wrong values")

    def begin(self, vm: Vm) -> None:
        """Fill it, and begin to load it."""
        self.fill(vm)
        self.load()

    def load(self) -> None:
        """Begin to load it; it was filled before, here or by another one with as much to store."""
        with self._network.entered():
            clients = [self._client() for _number in range(CLIENTS)]
        self._clients = [self._threads.submit(self._ask, *each) for each in enumerate(clients)]

    def fill(self, vm: Vm) -> None:
        """Wait until it serves, and store all items."""
        deadline = time.monotonic() + 120
        while not any("memcached at" in line for line in vm.console_lines()):
            vm.check_alive()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the guest does not come up: {vm.console_lines()[-5:]}")
            time.sleep(0.2)
        with self._network.entered():
            client = self._client()
        for first in range(0, self._items, 64):
            some = range(first, min(first + 64, self._items))
            client.set_many({_key(item): _value(item, 0) for item in some}, noreply=True)
        client.get(_key(0))

    def served(self) -> int:
        """Items that were asked for or set, and answered, so far."""
        return sum(map(len, self._answers)) * self._at_once

    def answers(self, seconds: float) -> list[float]:
        """How long each request took that is answered in the next seconds, in seconds."""
        since = time.monotonic()
        time.sleep(seconds)
        return [took for answers in self._answers for ended, took in list(answers) if since <= ended < since + seconds]

    def _client(self) -> Client:
        deadline = time.monotonic() + 60
        while True:
            try:
                client = Client((self._address, 11211), connect_timeout=5, timeout=ANSWER, no_delay=True)
                client.get("none")
                self._sockets.append(client.sock)
                return client
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _ask(self, number: int, client: Client) -> None:
        chance = random.Random(number)
        due = time.monotonic()
        while not self._end.wait(max(due - time.monotonic(), 0)):
            items = {_key(item): item for item in self._choose(chance, number)}
            began = time.monotonic()
            due = max(due, began) + self._pause
            try:
                if chance.random() < GETS:
                    # One that memcached had no room for is missing, which is not wrong.
                    for key, found in client.get_many(items).items():
                        self._wrong += found[:-8] != _value(items[key], 0)[:-8]
                else:
                    version = chance.getrandbits(32)
                    client.set_many({key: _value(item, version) for key, item in items.items()}, noreply=False)
            except (OSError, MemcacheError):
                if self._end.is_set():
                    return
                raise
            ended = time.monotonic()
            self._answers[number].append((ended, ended - began))

    def _choose(self, chance: random.Random, client: int) -> Iterator[int]:
        """The items of a client's next request: of its own, of which the hot ones are every tenth."""
        hot = self._items // CLIENTS // TENTH
        for _item in range(self._at_once):
            cold = 0 if chance.random() < self._hot else 1 + chance.randrange(TENTH - 1)
            yield (chance.randrange(hot) * TENTH + cold) * CLIENTS + client


class _Network:
    """Cards for VMs on the bridge of a lab, and the bridge's namespace for clients."""

    def __init__(self, hosts: Hosts) -> None:
        self._namespace = os.open(f"/run/netns/{hosts.bridge}", os.O_RDONLY | os.O_CLOEXEC)
        self._bridge = hosts.bridge
        self._taps: list[int] = []

    def close(self) -> None:
        for descriptor in [*self._taps, self._namespace]:
            os.close(descriptor)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be in the bridge's namespace, with this thread only, to make a socket: it stays there."""
        libc = ctypes.CDLL(None, use_errno=True)
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(libc.setns(self._namespace, CLONE_NEWNET))
            yield
        finally:
            _check(libc.setns(own, CLONE_NEWNET))
            os.close(own)

    def card(self) -> tuple[Sequence[str], Sequence[int]]:
        """A VM's card on the bridge: its options and descriptors. Each time another one, with the same address."""
        name = f"tap{len(self._taps)}"
        with self.entered():
            tap = os.open(TUN, os.O_RDWR)
            fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        self._taps.append(tap)
        for settings in (["master", BRIDGE], ["up"]):
            subprocess.run(["ip", "-netns", self._bridge, "link", "set", name, *settings], check=True)
        device = f"virtio-net-pci,netdev=net0,romfile=,mac={MAC}"
        return ["-netdev", f"tap,id=net0,fd={tap}", "-device", device], [tap]


def _check(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _key(item: int) -> str:
    return f"item-{item}"


def _value(item: int, version: int) -> bytes:
    """What an item holds: the version is in the last eight bytes."""
    return (f"{item:016x}".encode() * (ITEM // 16))[: ITEM - 8] + f"{version:08x}".encode()


def _initrd(folder: Path) -> Path:
    """The test guest's initrd with another init and Debian's memcached over it: the kernel unpacks all it finds."""
    root, memcached = folder / "root", shutil.which("memcached")
    root.mkdir()
    sources = [HERE / "init.c", LINUX / "machine.c"]
    subprocess.run(["gcc", *FLAGS, f"-I{LINUX}", "-o", root / "init", *sources], check=True)
    shutil.copy(memcached, root / "memcached")
    # memcached looks up whom it is to be.
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n", encoding="ascii")
    loaded = subprocess.run(["ldd", memcached], check=True, stdout=subprocess.PIPE, text=True).stdout
    for library in re.findall(r"(/\S+) \(", loaded):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)
    names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*"))).encode()
    archive = subprocess.run(["cpio", "--create", "--quiet", "--format=newc", "--owner=0:0"], input=names, cwd=root,
                             check=True, stdout=subprocess.PIPE).stdout  # fmt: skip
    initrd = folder / "initrd"
    initrd.write_bytes((guests.folder() / "initrd").read_bytes() + archive)
    return initrd
