"""Report, `explain` and `show`: everything a run folder can tell, for the browser, the terminal and other programs."""

from qrdistill.report.explain import Story, explain
from qrdistill.report.show import render_show, show
from qrdistill.report.story_text import render_text, story_text
from qrdistill.report.write import write_report

__all__ = ["Story", "explain", "render_show", "render_text", "show", "story_text", "write_report"]
