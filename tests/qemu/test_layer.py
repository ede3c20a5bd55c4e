# SPDX-License-Identifier: GPL-3.0-or-later
"""How overlay and patches come to lie over an upstream tree, on trees made up here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from layer import LayerError, compose, sync

UPSTREAM_FILE = "".join(f"line {number}\n" for number in range(1, 31))
PATCH = """\
--- a/migration/ram.c
+++ b/migration/ram.c
@@ -9,5 +9,6 @@
 line 9
 line 10
+hook
 line 11
 line 12
 line 13
"""


class Trees:
    """A stock tree with one file, and the folders that a layer is made of."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stock, self.overlay, self.wire, self.patches = (
            root / name for name in ("stock", "overlay", "wire", "patches")
        )
        self.tree = root / "tree"
        self.write(self.stock / "migration/ram.c", UPSTREAM_FILE)
        self.write(self.overlay / "migration/smemv/pager.c", "pager\n")
        self.write(self.wire / "wire.c", "wire\n")
        self.write(self.wire / "protocol.md", "text\n")
        self.write(self.patches / "0001-hook.patch", PATCH)
        self._layers = 0

    @staticmethod
    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def lay(self) -> None:
        self._layers += 1
        layer = self.root / f"layer{self._layers}"
        layer.mkdir()
        compose(self.stock, self.overlay, self.wire, self.patches, layer)
        sync(self.stock, layer, self.tree)

    def time_of(self, name: str) -> int:
        return (self.tree / name).stat().st_mtime_ns


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


def test_tree_has_overlay_wire_and_hooks(trees: Trees) -> None:
    trees.lay()
    assert (trees.tree / "migration/ram.c").read_text(encoding="utf-8") == UPSTREAM_FILE.replace(
        "line 11\n", "hook\nline 11\n"
    )
    assert (trees.tree / "migration/smemv/pager.c").read_text(encoding="utf-8") == "pager\n"
    assert (trees.tree / "migration/smemv/wire/wire.c").read_text(encoding="utf-8") == "wire\n"
    assert not (trees.tree / "migration/smemv/wire/protocol.md").exists()
    assert (trees.stock / "migration/ram.c").read_text(encoding="utf-8") == UPSTREAM_FILE


def test_copying_that_was_cut_off_is_begun_again(
    trees: Trees, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.write(trees.stock / "configure", "#!/bin/sh\n")
    cut_off = tmp_path / "bin" / "cp"
    trees.write(cut_off, '#!/bin/sh\nfor target; do :; done\nmkdir "$target"\nexit 1\n')
    cut_off.chmod(0o755)
    with monkeypatch.context() as path:
        path.setenv("PATH", str(cut_off.parent), prepend=":")
        with pytest.raises(subprocess.CalledProcessError):
            trees.lay()
    trees.lay()
    assert (trees.tree / "configure").exists()
    test_tree_has_overlay_wire_and_hooks(trees)


def test_second_run_touches_nothing(trees: Trees) -> None:
    trees.lay()
    before = {name: trees.time_of(name) for name in ("migration/ram.c", "migration/smemv/pager.c")}
    trees.lay()
    assert {name: trees.time_of(name) for name in before} == before


def test_changed_file_alone_is_written(trees: Trees) -> None:
    trees.lay()
    hooked, pager = trees.time_of("migration/ram.c"), trees.time_of("migration/smemv/pager.c")
    trees.write(trees.overlay / "migration/smemv/pager.c", "better pager\n")
    trees.lay()
    assert trees.time_of("migration/ram.c") == hooked
    assert trees.time_of("migration/smemv/pager.c") > pager


def test_what_is_taken_away_is_upstream_again(trees: Trees) -> None:
    trees.lay()
    (trees.patches / "0001-hook.patch").unlink()
    (trees.overlay / "migration/smemv/pager.c").unlink()
    trees.lay()
    assert (trees.tree / "migration/ram.c").read_text(encoding="utf-8") == UPSTREAM_FILE
    assert not (trees.tree / "migration/smemv/pager.c").exists()


def test_overlay_may_not_overwrite(trees: Trees) -> None:
    trees.write(trees.overlay / "migration/ram.c", "mine\n")
    with pytest.raises(LayerError, match=r"overwrite upstream's migration/ram\.c"):
        trees.lay()


def test_patch_that_needs_fuzz_is_refused(trees: Trees) -> None:
    trees.write(trees.stock / "migration/ram.c", UPSTREAM_FILE.replace("line 13\n", "line thirteen\n"))
    with pytest.raises(LayerError, match=r"0001-hook\.patch does not apply"):
        trees.lay()


def test_patch_may_not_make_a_file(trees: Trees) -> None:
    trees.write(trees.patches / "0002-new.patch", "--- /dev/null\n+++ b/migration/new.c\n@@ -0,0 +1 @@\n+new\n")
    with pytest.raises(LayerError, match=r"touches migration/new\.c"):
        trees.lay()
