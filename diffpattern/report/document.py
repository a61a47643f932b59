"""What pages share: the document around their chapters, charts, and tables of settings.

Pictures travel inside the file as data URIs, so that a page opens without a network and can be sent
by mail.
"""

import base64
import html
from collections.abc import Callable, Iterable, Sequence

from matplotlib.figure import Figure

from diffpattern.report import figures
from diffpattern.report.style import CSS


def document(title: str, lead: str, command: str, chapters: Sequence[tuple[str, str]]) -> str:
    """A whole page.

    Args:
      title: its heading.
      lead: the sentences below it, HTML.
      command: the command that made what it shows.
      chapters: titles and bodies, HTML; those without a body are left out.
    """
    bodies = [(name, _anchor(name), body) for name, body in chapters if body]
    contents = "".join(f'<li><a href="#{anchor}">{name}</a></li>' for name, anchor, _ in bodies)
    sections = "\n".join(
        f'<section id="{anchor}">\n<h2>{name}</h2>\n{body}\n</section>'
        for name, anchor, body in bodies
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{CSS}</style>
</head>
<body>
<header>
<h1>{html.escape(title)}</h1>
<p class="lead">{lead}</p>
{_command(command)}
</header>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
<main>
{sections}
</main>
</body>
</html>
"""


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def chart(draw: Callable[[figures.Theme], Figure], alt: str, caption: str) -> str:
    """A chart in light and in dark colours, of which the browser shows one.

    Args:
      draw: makes it in the colours of a theme.
      alt: what it shows, for those who cannot see it.
      caption: HTML.
    """
    drawn = figures.to_svg(draw(figures.LIGHT))
    light, dark = data_uri("svg+xml", drawn), data_uri("svg+xml", figures.recoloured(drawn))
    alt = html.escape(alt, quote=True)
    # Two pictures and not two sources of one, which browsers do not choose anew to print.
    return (
        f"<figure><img class='light' src='{light}' alt='{alt}'>"
        f"<img class='dark' src='{dark}' alt='{alt}'><figcaption>{caption}</figcaption></figure>"
    )


def settings_table(rows: Iterable[tuple[str, object]]) -> str:
    """Settings and what they are, a row each."""
    body = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>"
        for name, value in rows
    )
    return f"<div class='scroll'><table class='settings'><tbody>{body}</tbody></table></div>"


def data_uri(kind: str, content: bytes, family: str = "image") -> str:
    """Content as an address that holds it."""
    return f"data:{family}/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _command(command: str) -> str:
    """A command whose lines break between its words only."""
    words = (f"<span>{html.escape(word)}</span>" for word in command.split())
    return f"<pre>{' '.join(words)}</pre>"
