"""Tables of a few rows as text and as HTML, for what shows itself at a prompt and in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any


def text_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows under their column names, columns aligned; numbers to the right."""
    if not rows:
        return ""
    names = list(rows[0])
    cells = [names, *([show_value(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    right = [isinstance(rows[0][name], int | float) for name in names]
    lines = []
    for line in cells:
        columns = zip(line, widths, right, strict=True)
        lines.append("  ".join(cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in columns))
    return "\n".join(line.rstrip() for line in lines)


def html_table(rows: Iterable[dict[str, Any]], *, header: bool = True) -> str:
    """Return the rows as an HTML table, every text escaped."""
    rows = list(rows)
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(_html_cell(value) for value in row.values())}</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if header else ''}<tbody>{body}</tbody></table>"


def show_value(value: Any) -> str:
    """Return three significant digits of a float, anything else as it is."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _html_cell(value: Any) -> str:
    align = "right" if isinstance(value, int | float) else "left"
    return f'<td style="text-align: {align}">{html.escape(show_value(value))}</td>'
