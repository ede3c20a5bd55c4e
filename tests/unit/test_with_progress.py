# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.smemv.kvm.plugins.action import with_progress

MOVE = {"name": "big", "destination_host": "host-2", "timeout": 100, "progress_interval": 5}
PLACE = {"name": "big", "timeout": 100, "progress_interval": 5}
BEGUN = {"changed": True, "actions": ["migrate"], "diff": {"before": 1, "after": 2}, "status": "setup"}
DONE = {"changed": False, "actions": [], "diff": {"before": 2, "after": 2}, "status": "completed", "downtime_ms": 35}


def look(progress, left=0, **more):
    return {
        "run_state": "running",
        "progress": progress,
        "migration": {"status": "active", "ram": {"total": 100, "remaining": left, "transferred": 100 - left}},
        "memory": {"limit": 1, "sub_hosts": [{"name": "host-3", "sent": 0}], "rebalancing": left > 0,
                   "rebalance_remaining": left},
        **more,
    }  # fmt: skip


@pytest.fixture
def task(monkeypatch):
    """Runs the plugin with these options against these answers: (result, what was executed, lines, seconds)."""

    def run(args, answers, async_val=0, check_mode=False):
        now, lines, executed, answers = [0.0], [], [], list(answers)
        plugin = object.__new__(with_progress.ActionModule)
        plugin._task = SimpleNamespace(args=args, async_val=async_val, check_mode=check_mode)

        def execute(module_name=None, module_args=None, task_vars=None, wrap_async=0):
            executed.append(module_name or ("wait" if (module_args or args).get("wait", True) else "begin"))
            return dict(answers.pop(0))

        plugin._execute_module = execute
        monkeypatch.setattr(with_progress.ActionBase, "run", lambda *_args: {})
        monkeypatch.setattr(with_progress.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(with_progress.time, "sleep", lambda seconds: now.append(now.pop() + seconds))
        monkeypatch.setattr(
            with_progress,
            "Display",
            lambda: SimpleNamespace(display=lines.append, warning=lambda text: lines.append(f"WARNING {text}")),
        )
        result = plugin.run(None, {})
        assert not answers
        return result, executed, lines, now[0]

    return run


def test_each_look_is_a_line_and_the_result_is_the_modules_own(task):
    looks = [look("under_way", 60), look("unknown"), look("under_way", 20), look("completed")]
    result, executed, lines, seconds = task(MOVE, [BEGUN, *looks, DONE])
    assert [sample["remaining"] for sample in result.pop("samples")] == [60, 20, 0]
    assert result == {**DONE, "changed": True, "actions": ["migrate"], "diff": BEGUN["diff"]}
    assert executed == ["begin", *[with_progress.LOOK] * 4, "wait"]
    assert [line.split(", ")[1] for line in lines] == ["40 % of 0KiB", "80 % of 0KiB"]
    assert seconds == 15


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ({**MOVE, "progress_interval": 0}, {}),
        ({**MOVE, "wait": False}, {}),
        (MOVE, {"async_val": 60}),
        (MOVE, {"check_mode": True}),
    ],
)
def test_it_is_silent_where_that_is_asked_for(task, args, options):
    result, executed, lines, _seconds = task(args, [DONE], **options)
    assert (result, len(executed), lines) == (DONE, 1, [])


@pytest.mark.parametrize("bad", [{"failed": True, "msg": "no"}, {"unreachable": True, "msg": "away"}])
def test_what_goes_wrong_in_the_beginning_or_at_a_look_ends_the_task(task, bad):
    assert task(MOVE, [bad])[0] == bad
    assert bad.items() <= task(MOVE, [BEGUN, bad])[0].items()


@pytest.mark.parametrize("progress", ["failed", "cancelled", "fenced"])
def test_a_migration_that_fails_is_not_begun_again(task, progress):
    result, executed, _lines, _seconds = task(MOVE, [BEGUN, look(progress, failure="the migration failed: no room")])
    assert (result["failed"], result["msg"]) == (True, "the migration failed: no room")
    assert executed == ["begin", with_progress.LOOK]


def test_a_timeout_says_how_it_stands(task):
    result, _executed, lines, seconds = task({**MOVE, "timeout": 12}, [BEGUN, *[look("under_way", 60)] * 4])
    assert "the migration of VM big is still active after 12 s" in result["msg"]
    assert (result["failed"], len(lines), seconds) == (True, 4, 12)


def test_a_qemu_that_does_not_answer_meets_the_timeout_too(task):
    result, *_rest = task({**MOVE, "timeout": 7}, [BEGUN, *[look("unknown")] * 3])
    assert (result["failed"], result["last"]) == (True, None)
    assert result["msg"] == "the QEMU of VM big has not answered in 7 s; what was begun goes on"
    result, *_rest = task({**MOVE, "timeout": 7}, [BEGUN, look("under_way", 60), *[look("unknown")] * 2])
    assert "is still active after 7 s" in result["msg"]


def test_memory_that_is_placed_anew_is_watched_as_well(task):
    looks = [look("none", 40), look("none", 0)]
    result, executed, lines, _seconds = task(PLACE, [BEGUN, *looks, DONE])
    assert (result["changed"], len(executed), len(lines)) == (True, 4, 1)
    late, *_rest = task({**PLACE, "timeout": 0}, [BEGUN, look("none", 40)])
    assert "the memory of VM big is not where it is to be after 0 s" in late["msg"]


STUCK = [look("under_way", 60)] * 8
CANCELLED = {"changed": True, "progress": "cancelled", "run_state": "running"}
STALL = "the migration of VM big stalls: for 30 s nothing has been sent"


@pytest.mark.parametrize("asked", [{}, {"on_stall": "wait"}, {"on_stall": "throttle"}])
def test_a_stall_is_said_once_and_waited_out(task, asked):
    result, _executed, lines, _seconds = task({**MOVE, **asked}, [BEGUN, *STUCK, look("completed"), DONE])
    assert result["status"] == "completed"
    assert lines.count(f"WARNING {STALL}") == 1


def test_a_stall_may_end_it(task):
    result, executed, _lines, seconds = task({**MOVE, "on_stall": "fail"}, [BEGUN, *STUCK[:7], CANCELLED])
    assert (result["failed"], result["msg"]) == (True, f"{STALL}; it was cancelled")
    assert (executed[-1], seconds) == (with_progress.CANCEL, 30)


def test_a_stall_that_cannot_be_cancelled_says_so(task):
    fail = {**MOVE, "on_stall": "fail"}
    away = {"unreachable": True, "msg": "away"}
    assert away.items() <= task(fail, [BEGUN, *STUCK[:7], away])[0].items()
    fenced, *_rest = task(fail, [BEGUN, *STUCK[:7], {**CANCELLED, "progress": "fenced"}])
    assert "is paused here, as it may run at the destination" in fenced["msg"]
    done, *_rest = task(fail, [BEGUN, *STUCK[:7], {**CANCELLED, "progress": "completed"}, DONE])
    assert done["status"] == "completed"
