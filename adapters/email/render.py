"""Turns an answer's Markdown into HTML that any mail program shows and none is harmed by."""

import nh3
from markdown_it import MarkdownIt

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table").enable("strikethrough")
_TAGS = {
    "p", "br", "hr", "a", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li",
    "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_STYLES = {
    "<pre>": '<pre style="background:#f6f8fa;padding:8px;overflow:auto">',
    "<blockquote>": '<blockquote style="margin:0 0 0 8px;padding-left:8px;border-left:2px solid #ccc">',
    "<table>": '<table style="border-collapse:collapse" border="1" cellpadding="4">',
}


def render(markdown: str) -> str:
    """A fragment of safe HTML: no scripts, no images, no styles but ours; links only to http, https and mailto."""
    html = nh3.clean(
        _MARKDOWN.render(markdown),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer",
    )
    for bare, styled in _STYLES.items():
        html = html.replace(bare, styled)
    return html
