"""Pages of documentation, read for what can be tried: commands, files, Python, and the output they show."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHELLS = ("bash", "console", "sh")
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"`([\w./-]+)`:\s*\Z")
_EXIT_CODE = re.compile(r"# exit code (\d+)\s*$")


@dataclass(frozen=True)
class Fence:
    """A fenced block.

    Attributes:
        file: the file whose content it is: a line `NAME`: stands before such a block.
    """

    language: str
    text: str
    file: str | None


@dataclass(frozen=True)
class Command:
    """A line of a shell.

    Attributes:
        line: as the page has it.
        words: of the last command of a pipe, without comment and redirection.
        before: the commands that are piped into it, or an empty text.
        code: the exit code that it has to end with; `# exit code N` stands behind it where that isn't 0.
    """

    line: str
    words: list[str]
    before: str
    code: int

    @property
    def stdin(self) -> str | None:
        """What is piped into it; None where nothing is."""
        if not self.before:
            return None
        return subprocess.run(["bash", "-c", self.before], check=True, capture_output=True, text=True).stdout


def fences(page: Path) -> list[Fence]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    found = []
    for fence in _FENCE.finditer(text):
        named = _NAMED.search(text[: fence.start()])
        found.append(Fence(fence[2], fence[3], named[1] if named else None))
    return found


def write_files(page: Path, folder: Path) -> None:
    """Write the files whose content a page shows."""
    for fence in fences(page):
        if fence.file:
            (folder / fence.file).write_text(fence.text)


def commands(text: str) -> Iterator[Command]:
    """The commands of a shell block; continued lines are joined."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        command = line.strip().removeprefix("$ ").strip()
        if not command or command.startswith("#"):
            continue
        code = _EXIT_CODE.search(command)
        words = shlex.split(command, comments=True)
        before = ""
        while "|" in words:
            place = words.index("|")
            before = " | ".join(filter(None, (before, shlex.join(words[:place]))))
            words = words[place + 1 :]
        ends = [index for index, word in enumerate(words) if word in (">", ">>", "2>", "&&", ";")]
        yield Command(command, words[: min(ends, default=len(words))], before, int(code[1]) if code else 0)


def shell_commands(page: Path) -> list[Command]:
    """The commands of a page."""
    return [each for fence in fences(page) if fence.language in SHELLS for each in commands(fence.text)]


def python_blocks(page: Path) -> list[str]:
    """The Python of a page."""
    return [fence.text for fence in fences(page) if fence.language == "python" and fence.file is None]


def shown_outputs(page: Path) -> Iterator[tuple[list[Command], list[str]]]:
    """Commands, and the lines of the output that stands right behind them."""
    found = [fence for fence in fences(page) if fence.file is None]
    for index, fence in enumerate(found):
        after = []
        for block in found[index + 1 :]:
            if block.language != "text":
                break
            after += block.text.splitlines()
        if fence.language in SHELLS and after:
            yield list(commands(fence.text)), after
