"""What is shown on a terminal, and what is not."""

import io

from rich.text import Text

from seewhy.cli.screen import Screen


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_shows_on_a_terminal_and_after_a_while_only(monkeypatch):
    shown = {}
    for kind, patience in ((_Terminal, 0), (_Terminal, 60), (io.StringIO, 0)):
        stream = kind()
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setattr("seewhy.cli.screen.PATIENCE", patience)
        screen = Screen()
        screen.progress(1, 4, "steps")
        screen.clear()
        shown[kind, patience] = stream.getvalue()
    assert "steps" in shown[_Terminal, 0]
    assert "1/4" in shown[_Terminal, 0]
    assert shown[_Terminal, 60] == shown[io.StringIO, 0] == ""


def test_colour_is_left_out_where_it_is_not_wanted(monkeypatch):
    for colour in (True, False):
        stream = _Terminal()
        monkeypatch.setattr("sys.stdout", stream)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        if not colour:
            monkeypatch.setenv("NO_COLOR", "1")
        Screen().out.print(Text("words", "red"))
        assert ("\x1b[31m" in stream.getvalue()) is colour
