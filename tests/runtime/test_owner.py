"""Who drives a run, and whether that process still lives."""

from __future__ import annotations

import socket
import subprocess
import sys

from autoglm.runtime.owner import is_alive, this_process


def test_this_process_has_one_name_and_lives() -> None:
    assert this_process() == this_process()
    assert is_alive(this_process()) is True


def test_a_process_that_ended_is_dead_and_a_zombie_too() -> None:
    command = "from autoglm.runtime.owner import this_process; print(this_process(), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert is_alive(name) is True
    child.kill()
    assert (
        child.stdout.read() == ""
    )  # its end of the pipe is closed: it is gone, though nobody has asked for its status
    child.wait()
    assert is_alive(name) is False
    child.communicate()


def test_a_process_id_that_is_used_again_is_another_process() -> None:
    host, pid, start = this_process().split("/")
    assert is_alive(f"{host}/{pid}/{int(start) + 1}") is False


def test_nobody_here_can_tell_of_other_hosts_and_odd_names() -> None:
    assert is_alive("elsewhere.example/1/1") is None
    assert is_alive("") is None
    assert is_alive("me") is None
    assert is_alive(f"{socket.gethostname()}/not-a-pid/1") is None
    assert is_alive(f"{socket.gethostname()}/{2**30}/1") is False
