"""What the panel says, as rich text for Qt labels: next step, result, reasons, problems.

Comes in: plain values of the logic. Goes out: strings. Nothing here knows Qt, so that each sentence can be tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from slicer.i18n import tr as _

from LLNMLib import NOTICE, SIMULATED
from LLNMLib.interfaces import Problem

FOR, AGAINST = "#c0392b", "#2471a3"
_BAR_PIXELS = 90


def notice() -> str:
    """The line that is always visible."""
    return f"{_(NOTICE)} {_(SIMULATED)}"


def next_line(sentence: str, running: str | None) -> str:
    """What to do next; `running`: the title of the work in the background, None if there is none."""
    if running is not None:
        return _("{task} runs. Wait, or press Cancel: the scene then stays as it was.").format(task=escape(running))
    return _("Next: {sentence}").format(sentence=escape(sentence))


def result_text(sentences: Sequence[str], stale: bool) -> str:
    """The result's sentences, the first one large; a word of caution above where an input has changed since."""
    if not sentences:
        return ""
    lines = [f'<p style="font-size: large"><b>{escape(sentences[0])}</b></p>']
    if stale:
        text = _("An input has changed since this prediction: predict again.")
        lines.insert(0, f'<p style="color: {FOR}"><b>{escape(text)}</b></p>')
    lines += [f'<p style="margin: 2px">{escape(sentence)}</p>' for sentence in sentences[1:]]
    return "".join(lines)


def contributions_text(contributions: Mapping[str, float | None] | None) -> str:
    """A bar for each input, longest first: to the right and red speaks for metastasis, to the left and blue against.

    `contributions`: points of probability by input; those without a value are left out.
    """
    known = {name: value for name, value in (contributions or {}).items() if value is not None}
    longest = max((abs(value) for value in known.values()), default=0.0)
    if not longest:
        return ""
    rows = "".join(
        _bar_row(name, value, round(_BAR_PIXELS * abs(value) / longest))
        for name, value in sorted(known.items(), key=lambda item: -abs(item[1]))
    )
    header = _("Contributions, in points of probability (red: for metastasis, blue: against)")
    return f'<p style="margin: 6px 0 2px 0">{escape(header)}</p><table cellspacing="1" cellpadding="0">{rows}</table>'


def _bar_row(name: str, value: float, pixels: int) -> str:
    bar = f'<td width="{max(pixels, 1)}" bgcolor="{FOR if value > 0 else AGAINST}">&nbsp;</td>'
    gap = f'<td width="{_BAR_PIXELS - pixels}">&nbsp;</td>' if pixels < _BAR_PIXELS else ""
    empty = f'<td width="{_BAR_PIXELS}">&nbsp;</td>'
    left, right = (empty, bar + gap) if value > 0 else (gap + bar, empty)
    sides = "".join(
        f'<td><table cellspacing="0" cellpadding="0"><tr>{side}</tr></table></td>' for side in (left, right)
    )
    return f'<tr><td width="100">{escape(_(name))}</td>{sides}<td align="right">&nbsp;{100 * value:+.1f}</td></tr>'


def problem_text(problem: Problem) -> str:
    """What went wrong and what to do."""
    return f'<span style="color: {FOR}"><b>{escape(problem.message)}</b><br>{escape(problem.remedy)}</span>'


def lines_text(lines: Sequence[str]) -> str:
    """Sentences below each other."""
    return "<br>".join(escape(line) for line in lines)
