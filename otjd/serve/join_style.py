"""JoinStyle: how an endpoint wants to be told what to dial."""

from __future__ import annotations

from dataclasses import dataclass

AUTO = "auto"
"""The family of an endpoint of which nothing more is known."""

DROP, APPEND, KEEP = "drop", "append", "keep"
"""What becomes of the text of an invitation: it is left out, comes behind our lines, or in their place."""

SPLIT = "split"
"""The form of the Polycom token with prefix, number and domain apart."""

LINE_ENDINGS = {"crlf": "\r\n", "lf": "\n"}


@dataclass(frozen=True, slots=True)
class JoinStyle:
    """How the join details of one endpoint are written.

    `family` chooses the template. `split` writes the Polycom token with prefix, number and domain apart,
    `line_ending` ends the lines in it, `wrap` is the number of its characters on a line (0: all on one).
    `invitation_text` is DROP, APPEND or KEEP.
    """

    family: str = AUTO
    split: bool = False
    line_ending: str = LINE_ENDINGS["crlf"]
    wrap: int = 0
    invitation_text: str = DROP

    def settings(self) -> tuple[str, ...]:
        """Every setting as text, the family apart: its template counts, not its name."""
        return str(self.split), self.line_ending, str(self.wrap), self.invitation_text


USUAL = JoinStyle()
"""The style of an endpoint of which nothing is said."""
