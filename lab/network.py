# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's network: a bridge in a namespace of its own, and a namespace a host.

    machine -- veth sv-LAB -- [namespace sv-LAB: bridge] -- veth -- [namespace sv-LAB-HOST: eth0]

Lab number K has 198.18.K.0/24 for its hosts and 198.19.K.0/30 for the way to the machine; both are of the block that is
set aside for tests. The machine masquerades what hosts send elsewhere, so that they reach package mirrors.
"""
from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

from lab.command import run
from lab.settings import STATE, LabError

BRIDGE = "lab"
SETTINGS = Path("/proc/sys/net/ipv4")
FORWARDING = SETTINGS / "ip_forward"
# The kernel's own, whatever the machine has: how fast a connection is on a lab's links is not to depend on that.
CONGESTION_CONTROL = "cubic"
ALLOWED = SETTINGS / "tcp_allowed_congestion_control"
# The largest packet a queue must let through is a segment before the card cuts it up: 64 KiB.
BURST = "256k"

MASQUERADE = """
table ip smemv_lab {
    chain postrouting {
        type nat hook postrouting priority srcnat
        ip saddr 198.18.0.0/15 oifname != "sv-*" masquerade
    }
    chain forward {
        type filter hook forward priority filter
        iifname "sv-*" oifname "sv-*" drop
        tcp flags syn tcp option maxseg size set rt mtu
    }
}
"""

# What comes in by one card is lost.
SILENCE = """
table netdev silence-{card} {{
    chain ingress {{
        type filter hook ingress device "{card}" priority filter
        drop
    }}
}}
"""


def address(number: int, host: str) -> str:
    """Return the address of host-N in the lab of that number."""
    return f"198.18.{number}.{host.rpartition('-')[2]}"


def hardware_address(number: int, host: str) -> str:
    """Return the address of its card, the same after a power cut: peers remember it."""
    return f"02:00:00:00:{number:02x}:{int(host.rpartition('-')[2]):02x}"


def namespace(lab: str, host: str | None = None) -> str:
    """Return the name of the namespace of a host, or of the lab's bridge."""
    return f"sv-{lab}-{host}" if host else f"sv-{lab}"


def ensure_lab(lab: str, number: int) -> None:
    """Make the bridge, its way to the machine and the machine's masquerading, where they are missing."""
    _ensure_machine()
    inside = namespace(lab)
    if inside in _namespaces():
        return
    with _new_namespace(inside):
        run("ip", "-batch", "-", stdin=f"""
            link add {inside} type veth peer name machine netns {inside}
            address add 198.19.{number}.1/30 dev {inside}
            link set {inside} up
            route add 198.18.{number}.0/24 via 198.19.{number}.2
        """)
        run("ip", "-netns", inside, "-batch", "-", stdin=f"""
            link set lo up
            link add {BRIDGE} type bridge
            address add 198.18.{number}.254/24 dev {BRIDGE}
            link set {BRIDGE} up
            address add 198.19.{number}.2/30 dev machine
            link set machine up
            route add default via 198.19.{number}.1
        """)
        _set(inside, FORWARDING, "1")


def ensure_host(lab: str, number: int, host: str) -> None:
    """Make a host's namespace with its one card, where it is missing."""
    inside = namespace(lab, host)
    if inside in _namespaces():
        return
    with _new_namespace(inside):
        run("ip", "-netns", namespace(lab), "-batch", "-", stdin=f"""
            link add {host} type veth peer name eth0 netns {inside}
            link set {host} master {BRIDGE}
            link set {host} up
        """)
        run("ip", "-netns", inside, "-batch", "-", stdin=f"""
            link set lo up
            link set eth0 address {hardware_address(number, host)}
            address add {address(number, host)}/24 dev eth0
            link set eth0 up
            route add default via 198.18.{number}.254
        """)


def set_link(lab: str, host: str, state: str) -> None:
    """Plug the host's cable in ("up") or out ("down"), at the bridge's end: the host sees its carrier go.

    It sees nothing where the cable is broken one way: nothing that a "mute" host sends arrives, nor what is sent
    to a "deaf" one.
    """
    run("ip", "-netns", namespace(lab), "link", "set", host, "down" if state == "down" else "up")
    for silence, inside, card in (("mute", namespace(lab), host), ("deaf", namespace(lab, host), "eth0")):
        nft = ("nsenter", f"--net=/run/netns/{inside}", "nft")
        if state == silence:
            run(*nft, "--file", "-", stdin=SILENCE.format(card=card))
        else:
            run(*nft, "delete", "table", "netdev", f"silence-{card}", check=False)


def set_rate(lab: str, host: str, mbit: int) -> None:
    """Limit what the host sends, and what it receives, to so many Mbit/s; 0 takes the limit away."""
    for inside, card in ((namespace(lab), host), (namespace(lab, host), "eth0")):
        if mbit:
            run("tc", "-netns", inside, "qdisc", "replace", "dev", card, "root",
                "tbf", "rate", f"{mbit}mbit", "burst", BURST, "latency", "50ms")
        else:
            run("tc", "-netns", inside, "qdisc", "delete", "dev", card, "root", check=False)


def remove_host(lab: str, host: str) -> None:
    """Take a host's network away, and with it every connection that its kernel would otherwise still close."""
    # A namespace goes in its own time, and its card with it, so the cable goes first.
    run("ip", "-netns", namespace(lab), "link", "delete", host, check=False)
    run("ip", "netns", "delete", namespace(lab, host), check=False)


def remove(lab: str, last: bool) -> None:
    """Take the lab's network away; with the last lab, give the machine its own settings back."""
    for name in _namespaces():
        if name == namespace(lab) or name.startswith(f"{namespace(lab)}-"):
            run("ip", "netns", "delete", name)
    # The other end went with its namespace, but not at once.
    run("ip", "link", "delete", namespace(lab), check=False)
    if last:
        run("nft", "delete", "table", "ip", "smemv_lab", check=False)
        for setting in (FORWARDING, ALLOWED):
            _restore(setting)


def _ensure_machine() -> None:
    _change(FORWARDING, "1")
    # A namespace may have none that the machine does not allow.
    allowed = ALLOWED.read_text().split()
    if CONGESTION_CONTROL not in allowed:
        _change(ALLOWED, " ".join([*allowed, CONGESTION_CONTROL]))
    if "table ip smemv_lab" not in run("nft", "list", "tables"):
        run("nft", "--file", "-", stdin=MASQUERADE)


def _change(setting: Path, value: str) -> None:
    """Change one of the machine's settings until the last lab goes."""
    before = STATE / setting.name
    if not before.exists():
        before.write_text(setting.read_text())
    setting.write_text(f"{value}\n")


def _restore(setting: Path) -> None:
    before = STATE / setting.name
    if before.exists():
        setting.write_text(before.read_text())
        before.unlink()


def _set(inside: str, setting: Path, value: str) -> None:
    """Change a setting of a namespace."""
    run("nsenter", f"--net=/run/netns/{inside}", "sh", "-c", f"echo {value} > {setting}")


@contextmanager
def _new_namespace(name: str):
    """Add a network namespace, and take it away again if what follows fails: one that exists is whole."""
    run("ip", "netns", "add", name)
    try:
        _set(name, SETTINGS / "tcp_congestion_control", CONGESTION_CONTROL)
        yield
    except LabError:
        run("ip", "netns", "delete", name)
        raise


def _namespaces() -> list[str]:
    return [line.split()[0] for line in run("ip", "netns", "list").splitlines()]
