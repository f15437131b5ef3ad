"""Log files have a bound, and a terminal that stands still stops nothing."""

import io
import sys
import threading
from pathlib import Path

import pytest

from harmost.services.supervisor.logs import LINES_MAX, LogFile, Terminal


def test_a_log_never_takes_more_than_twice_its_bound(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "x.log", bytes_max=1_000)
    for i in range(500):
        log.write(b"%039d" % i)
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["x.log", "x.log.1"]
    assert sum(file.stat().st_size for file in files) <= 2_000
    assert files[0].read_bytes().endswith(b"%039d\n" % 499)


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for text in (b"one", b"two"):
        log = LogFile(tmp_path / "x.log")
        log.write(text)
        log.close()
    assert (tmp_path / "x.log").read_bytes() == b"one\ntwo\n"


def test_lines_carry_the_name_of_who_said_them(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.say("router", "hello")
    terminal.close()
    assert capsys.readouterr().err == "   router | hello\n"


class StandingStill(io.StringIO):
    """A terminal on which someone pressed Ctrl-S."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def write(self, text: str) -> int:
        self.go_on.wait(10)
        return super().write(text)


def test_a_terminal_that_stands_still_drops_lines_and_never_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = StandingStill()
    monkeypatch.setattr(sys, "stderr", screen)
    terminal = Terminal()
    for _ in range(LINES_MAX + 100):
        terminal.say("router", "hello")
    assert terminal.dropped >= 99
    screen.go_on.set()
    terminal.close()
