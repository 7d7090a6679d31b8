"""A terminal screen that follows a run (the extra `tui`): stages, counts, money, losses and gates, the newest paths.

It draws what `live.snapshot` reads every other second, in a thread of its own, so a slow disk never freezes the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Static

from qrdistill.errors import QRDistillError
from qrdistill.report.live import Snapshot, snapshot
from qrdistill.report.tables import count, dollars, percent
from qrdistill.report.text import one_line, visible
from qrdistill.store import Run
from qrdistill.teacher.client.costs import Spent

_BARS = "▁▂▃▄▅▆▇█"
_SPARK_STEPS = 48
_TONES = {"finished": "green", "under way": "bold", "begun": "yellow", "waiting": "dim"}


class Watch(App[None]):
    """The screen.

    Args:
        read: takes a snapshot.
        every_s: seconds between two looks.
    """

    TITLE = "qrdistill"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape", "quit", "Leave (the run goes on)"),
        Binding("r", "look", "Look again"),
    ]
    CSS = """
    #head { height: auto; padding: 0 1; text-style: bold; }
    #middle { height: auto; max-height: 60%; }
    #middle > VerticalScroll { height: auto; padding: 0 1; }
    #paths { padding: 0 1; }
    """

    def __init__(self, read: Callable[[], Snapshot], *, every_s: float = 2.0) -> None:
        super().__init__()
        self._read = read
        self._every_s = every_s
        self._is_looking = False

    def compose(self) -> ComposeResult:
        """Head, two columns, the newest paths."""
        yield Static(Text("reading the run folder ..."), id="head")
        with Horizontal(id="middle"):
            with VerticalScroll():
                yield Static(id="work")
            with VerticalScroll():
                yield Static(id="training")
        with VerticalScroll():
            yield Static(id="paths")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self.action_look()
        self.set_interval(self._every_s, self.action_look)

    def action_look(self) -> None:
        """Take a snapshot, unless one is being taken."""
        if not self._is_looking:
            self._is_looking = True
            self._look()

    @work(thread=True)
    def _look(self) -> None:
        try:
            seen: Snapshot | QRDistillError = self._read()
        except QRDistillError as error:
            seen = error
        self.call_from_thread(self._draw, seen)

    def _draw(self, seen: Snapshot | QRDistillError) -> None:
        self._is_looking = False
        if isinstance(seen, QRDistillError):
            self.query_one("#head", Static).update(Text(visible(str(seen)), "red"))
            return
        for name, lines in (("head", head(seen)), ("work", work_lines(seen)), ("training", training_lines(seen))):
            self.query_one(f"#{name}", Static).update(_joined(lines))
        self.query_one("#paths", Static).update(_joined(path_lines(seen)))


def watch(folder: Path) -> None:
    """Follow a run until the user leaves."""
    Watch(lambda: look(folder)).run()


def look(folder: Path) -> Snapshot:
    """A snapshot of the run in a folder, opened afresh: its recipe may have been changed meanwhile."""
    run = Run(folder)
    try:
        return snapshot(run)
    finally:
        run.close()


def head(seen: Snapshot) -> list[Text]:
    """Whose run it is, and whether somebody works on it."""
    state = f"process {seen.owner} works on it" if seen.owner else "nobody works on it; the same command goes on"
    if seen.is_finished:
        state = f"finished: open {seen.folder}/report.html"
    return [_line(f"{seen.name}, seed {seen.seed}, in {seen.folder}: {state}")]


def work_lines(seen: Snapshot) -> list[Text]:
    """Stages, counts, calls and money."""
    lines = [_line(f"{stage:<9} {state}", _TONES[state]) for stage, state in seen.stages.items()]
    share = f" ({percent(seen.num_paths / seen.num_requests)})" if seen.num_requests else ""
    lines.append(_line(f"paths     {count(seen.num_paths)} of {count(seen.num_requests)} requests{share}"))
    if seen.num_judged:
        lines.append(_line(f"judged    {count(seen.num_judged)} paths"))
    if seen.num_kept or seen.num_dropped:
        lines.append(_line(f"filter    {count(seen.num_kept)} kept, {count(seen.num_dropped)} dropped"))
    if seen.num_answers:
        lines.append(_line(f"answers   {count(seen.num_answers)}"))
    if seen.calls:
        lines.append(_line("calls     " + ", ".join(f"{name} {count(number)}" for name, number in seen.calls.items())))
    lines += [_line(line) for line in (_money("teachers", seen.teachers), _money("judges", seen.judges)) if line]
    if seen.cap_usd:
        most = seen.teachers.most_usd + seen.judges.most_usd
        lines.append(_line(f"cap       {dollars(most)} of {dollars(seen.cap_usd)}", "red" if most > 0.9 * seen.cap_usd else ""))
    return lines


def training_lines(seen: Snapshot) -> list[Text]:
    """Losses as small curves, the newest gates by student and style."""
    if seen.training is None:
        return [_line("training has not begun", "dim")]
    training = seen.training
    lines = [_line(f"step {training.step}, epoch {training.epoch:.2f}")]
    for name, losses in training.losses.items():
        tokens = f", {count(training.label_tokens[name])} label tokens" if name in training.label_tokens else ""
        lines += [_line(f"{name}: loss {losses[-1]:.3f} nats{tokens}", "bold"), _line(f"  {spark(losses[-_SPARK_STEPS:])}")]
    for name, load in training.loads.items():
        shares = ", ".join(f"{style} {percent(rate)}" for style, rate in training.rates[name].items())
        lines.append(_line(f"{name}: gate {load:.2f} in the mean" + (f"; routed {shares}" if shares else "")))
    return lines


def path_lines(seen: Snapshot) -> list[Text]:
    """One line a path, the newest first."""
    if not seen.latest:
        return [_line("no path yet", "dim")]
    lines = [_line("newest paths", "bold")]
    for path in seen.latest:
        who = one_line(f"{path.teacher}/{path.style} {path.question_id}", 48)
        lines.append(_line(f"{path.state:<10} {who}: {one_line(path.text, 160)}", "" if path.state == "done" else "yellow"))
    return lines


def spark(values: Sequence[float]) -> str:
    """A curve of one character a value, from the least to the greatest of them.

    >>> spark([3.0, 2.0, 1.0])
    '█▅▁'
    """
    low, high = min(values), max(values)
    return "".join(_BARS[round((value - low) / (high - low) * 7) if high > low else 0] for value in values)


def _money(who: str, spent: Spent) -> str:
    if not spent.most_usd:
        return ""
    maybe = f", perhaps {dollars(spent.maybe_usd)} more" if spent.maybe_usd else ""
    return f"{who:<9} {dollars(spent.billed_usd)}{maybe}, {count(spent.prompt_tokens + spent.completion_tokens)} tokens"


def _line(text: str, style: str = "") -> Text:
    return Text(visible(text), style)


def _joined(lines: Sequence[Text]) -> Text:
    return Text("\n").join(lines)
