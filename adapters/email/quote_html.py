"""Takes quoted mail out of HTML by the marks mail programs leave in it, before any text rule looks at it."""

import re
from collections.abc import Iterator
from html import unescape

from html_to_markdown import ConversionOptions, convert
from selectolax.lexbor import LexborHTMLParser, LexborNode

MAX_HTML = 256 * 1024
MAX_DEPTH = 200
"""Beyond any mail program's output; parsing and rendering grow with the square of the depth (measured)."""

_CUT_AFTER = (
    "#divRplyFwdMsg", "#appendonsend", "#mail-editor-reference-message-container", "#OLK_SRC_BODY_SECTION",
    "#ms-outlook-mobile-body-separator-line", "#x_divRplyFwdMsg", "#x_appendonsend", "#stopSpelling",
    "#x_mail-editor-reference-message-container", "[data-marker=__QUOTED_TEXT__]", "#replySplit",
)  # fmt: skip
"""From these on, everything to the end of the mail is quoted (Outlook of all kinds, Hotmail, Zimbra)."""

_DROP = (
    ".gmail_quote", ".gmail_quote_container", ".gmail_attr", "blockquote[type=cite]", ".moz-cite-prefix",
    "[class*=yahoo_quoted]", "[id*=yahoo_quoted]", ".protonmail_quote", ".tutanota_quote", ".zmail_extra",
    ".front-blockquote", "[name=quote]", ".WordSection1 > .OutlookMessageHeader", "#isForwardContent", "#isReplyContent",
    ".mcntgmail_quote", ".ecxgmail_quote", "#reply-intro", ".spark_quote", "[id^=AOLMsgPart]", "blockquote.mori",
    ".skiff_quote", ".hey_quote", ".acompli_signature", ".freshdesk_quote", ".mailru-blockquote",
)  # fmt: skip

_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?:px|pt|em)?\s*(?:;|$)|mso-hide\s*:\s*all",
    re.IGNORECASE,
)
_OUTLOOK_BORDER = re.compile(
    r"border:\s*none;\s*border-top:\s*solid\s*#(?:b5c4df|e1e1e1)\s*1\.0pt|border-(?:width|top)[^;]*1pt[^;]*;?.*#(?:b5c4df|e1e1e1|e5e5e5)",
    re.IGNORECASE,
)
_FORWARDED = re.compile(r"\W*(?:-{2,}\s*)?forwarded message|\W*begin forwarded message", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,15})")
_ANY_TAG = re.compile(r"<[/!a-zA-Z][^<>]{0,4000}>?")
_NEED_NO_END = frozenset(
    [
        "p",
        "li",
        "td",
        "tr",
        "th",
        "tbody",
        "br",
        "img",
        "hr",
        "meta",
        "link",
        "input",
        "dt",
        "dd",
        "option",
        "col",
        "o",
        "wbr",
        "area",
        "base",
    ]
)
_INLINE = ["b", "strong", "em", "i", "u", "span", "font", "small", "big", "center", "abbr", "label", "mark", "tt"]
_NOISE = ["script", "style", "head", "title", "meta", "link", "template", "object", "iframe", "svg", "base", "noscript"]
_OPTIONS = ConversionOptions(
    extract_metadata=False,
    heading_style="atx",
    autolinks=False,
    skip_images=True,
    newline_style="backslash",
    bullets="-",
    compact_tables=True,
)


def split(html: str) -> tuple[str, str]:
    """The text outside quoted parts, and the text of those parts."""
    if is_too_deep(html[:MAX_HTML]):
        return without_tags(html[:MAX_HTML]), ""
    tree = LexborHTMLParser(html[:MAX_HTML])
    if tree.body is None:
        return "", ""
    _clean(tree)
    elided = _take_away(tree)
    return _text(tree.body.html or ""), _text("<hr>".join(elided)) if elided else ""


def to_text(html: str) -> str:
    """All visible text of the HTML as Markdown without emphasis."""
    if is_too_deep(html[:MAX_HTML]):
        return without_tags(html[:MAX_HTML])
    tree = LexborHTMLParser(html[:MAX_HTML])
    if tree.body is None:
        return ""
    _clean(tree)
    return _text(tree.body.html or "")


def is_too_deep(html: str) -> bool:
    """Whether elements are nested, or left open, to a depth no mail program produces."""
    depth = 0
    for match in _TAG.finditer(html):
        closing, name = match.group(1), match.group(2).lower()
        if name in _NEED_NO_END:
            continue
        depth = max(depth - 1, 0) if closing else depth + 1
        if depth > MAX_DEPTH:
            return True
    return False


def without_tags(html: str) -> str:
    """The text of HTML that is not worth parsing: tags become line breaks."""
    lines = (line.strip() for line in unescape(_ANY_TAG.sub("\n", html)).split("\n"))
    return "\n".join(line for line in lines if line)


def _clean(tree: LexborHTMLParser) -> None:
    tree.strip_tags(_NOISE, recursive=True)
    for node in tree.css("[style]"):
        if _HIDDEN.search((node.attributes.get("style") or "")[:2000]):
            node.decompose()
    for node in tree.css("a[href^='mailto:'], a:not([href])"):
        node.unwrap()


def _take_away(tree: LexborHTMLParser) -> list[str]:
    taken: list[str] = []
    for selector in _CUT_AFTER:
        node = tree.css_first(selector)
        if node is not None and _text_before(node):
            taken += _cut_from(node)
            break
    for node in _outlook_headers(tree):
        if _text_before(node):
            taken += _cut_from(node)
            break
    for selector in _DROP:
        for node in tree.css(selector):
            if node.parent is not None and not _is_forward(node):
                taken.append(node.html or "")
                node.decompose()
    return taken


def _is_forward(node: LexborNode) -> bool:
    return bool(_FORWARDED.match(node.text()[:200].strip()))


def _outlook_headers(tree: LexborHTMLParser) -> Iterator[LexborNode]:
    for node in tree.css("div[style*='border'], div[style*='BORDER']"):
        style = (node.attributes.get("style") or "")[:500]
        if _OUTLOOK_BORDER.search(style) and node.text()[:600].count(":") > 1:
            yield node


def _text_before(node: LexborNode) -> bool:
    """Whether anything is written before the node, in document order."""
    at: LexborNode | None = node
    while at is not None and at.tag != "body":
        previous = at.prev
        while previous is not None:
            if previous.text().strip():
                return True
            previous = previous.prev
        at = at.parent
    return False


def _cut_from(node: LexborNode) -> list[str]:
    """Takes away the node and everything after it, in document order."""
    taken: list[str] = []
    at: LexborNode | None = node
    inclusive = True
    while at is not None and at.tag not in {"body", "html"}:
        parent = at.parent
        following = at if inclusive else at.next
        while following is not None:
            after = following.next
            taken.append(following.html or "")
            following.decompose()
            following = after
        at, inclusive = parent, False
    return taken


def _text(html: str) -> str:
    tree = LexborHTMLParser(html)
    if tree.body is None:
        return ""
    tree.unwrap_tags(_INLINE)
    markdown = convert(tree.body.html or "", _OPTIONS).content or ""
    return re.sub(r"\\\n", "\n", markdown).replace("\xa0", " ").strip()
