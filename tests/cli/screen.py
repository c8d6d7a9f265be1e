"""A small terminal for tests: bytes of a program go in, the page that a person sees comes out.

It knows what our output and prompt_toolkit's use: printing with wrapping and wide characters,
cursor movements, erasing, scrolling. Rows that scroll off the top are kept, as in any terminal.
"""

import re

from rich.cells import cell_len

_TOKEN = re.compile(
    r"\x1b\[(?P<args>[0-9;?<>=]*)(?P<final>[@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC
    r"|\x1b[=>78cDEHM()][0B]?"
    r"|[\r\n\b\t\x07]"
    r"|[^\x00-\x1f]+",
    re.DOTALL,
)


class Screen:
    """``rows`` by ``columns`` cells; ``lines`` are all rows so far, the last ones are visible."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows
        self.lines: list[list[str]] = [[]]
        self.x = self.y = self.top = 0  # y and top count from the first line that ever was
        self._rest = ""
        self._folded: set[int] = set()  # rows that go on in the next

    def feed(self, text: str) -> None:
        """Bytes of the program, as text; an unfinished escape code waits for its rest."""
        text, self._rest = self._rest + text, ""
        place = 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                if text[place] == "\x1b":  # the rest of the code comes later
                    self._rest = text[place:]
                    return
                place += 1
                continue
            place = found.end()
            self._do(found)

    @property
    def folded(self) -> list[str]:
        """Rows that ran over the edge."""
        return [_joined(self.lines[number]) for number in sorted(self._folded)]

    def text(self) -> str:
        """Everything, scrolled off rows included."""
        return "\n".join(_joined(line) for line in self.lines).rstrip("\n")

    def visible(self) -> str:
        """What is on the screen now."""
        return "\n".join(_joined(line) for line in self.lines[self.top :])

    def resize(self, columns: int, rows: int) -> None:
        """Fold the rows again, as terminals do; the cursor stays at its character."""
        whole: list[list[str]] = []
        joined = False
        place = (0, 0)
        for number, line in enumerate(self.lines):
            if joined:
                whole[-1] += line
            else:
                whole.append(list(line))
            if number == self.y:
                place = (len(whole) - 1, len(whole[-1]) - len(line) + self.x)
            joined = number in self._folded
        self.lines, self._folded = [], set()
        for number, line in enumerate(whole):
            start = len(self.lines)
            parts = [line[at : at + columns] for at in range(0, len(line), columns)] or [[]]
            self.lines += parts
            self._folded |= set(range(start, start + len(parts) - 1))
            if number == place[0]:
                self.y = min(start + place[1] // columns, len(self.lines) - 1)
                self.x = place[1] % columns
        self.columns, self.rows = columns, rows
        while len(self.lines) > self.y + 1 and not self.lines[-1]:
            del self.lines[-1]
        self.top = max(0, self.y - rows + 1)

    def _do(self, found: re.Match[str]) -> None:
        if found["final"]:
            self._control(found["final"], found["args"])
        elif (word := found.group()) == "\r":
            self.x = 0
        elif word == "\n":
            self._down()
        elif word == "\b":
            self.x = max(0, self.x - 1)
        elif word == "\t":
            self.x = min(self.columns - 1, self.x // 8 * 8 + 8)
        elif not word.startswith(("\x1b", "\x07")):
            for character in word:
                self._print(character)

    def _control(self, final: str, args: str) -> None:
        first = int(args.split(";")[0]) if args.split(";")[0].isdigit() else 0
        steps = max(1, first)
        if final == "A":
            self.y = max(self.top, self.y - steps)
        elif final == "B":
            self.y = min(len(self.lines) - 1, self.y + steps)
        elif final == "C":
            self.x = min(self.columns - 1, self.x + steps)
        elif final == "D":
            self.x = max(0, self.x - steps)
        elif final == "G":
            self.x = steps - 1
        elif final == "K":
            self._erase_line(first)
        elif final == "J":
            self._erase_line(0)
            self.lines[self.y + 1 :] = [[] for _ in self.lines[self.y + 1 :]]
            self._folded = {number for number in self._folded if number < self.y}

    def _erase_line(self, how: int) -> None:
        line = self.lines[self.y]
        self._folded.discard(self.y)
        if how == 0:
            del line[self.x :]
        else:
            line[: self.x] = [" "] * min(self.x, len(line))
            if how == 2:
                line.clear()

    def _print(self, character: str) -> None:
        cells = cell_len(character)
        if cells == 0:
            line = self.lines[self.y]
            if 0 < self.x <= len(line):
                line[self.x - 1] += character
            return
        if self.x + cells > self.columns:
            self._folded.add(self.y)
            self._down()
            self.x = 0
        line = self.lines[self.y]
        line += [" "] * (self.x + cells - len(line))
        line[self.x] = character
        line[self.x + 1 : self.x + cells] = [""] * (cells - 1)
        self.x += cells

    def _down(self) -> None:
        self.y += 1
        if self.y == len(self.lines):
            self.lines.append([])
        self.top = max(self.top, self.y - self.rows + 1)


def _joined(line: list[str]) -> str:
    return "".join(line).rstrip()
