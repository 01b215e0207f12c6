"""Takes quoted mail out of HTML by the marks mail programs leave in it, before any text rule looks at it."""

import re
from collections.abc import Iterator, Mapping
from html import escape, unescape

from html_to_markdown import ConversionOptions, convert
from selectolax.lexbor import LexborHTMLParser, LexborNode

MAX_HTML = 256 * 1024
MAX_DEPTH = 200
"""Beyond any mail program's output; parsing and rendering grow with the square of the depth (measured)."""


def _by_word(*selectors: str) -> dict[str, str]:
    return {selector: max(re.findall(r"[\w-]+", selector), key=len).lower() for selector in selectors}


_CUT_AFTER = _by_word(
    "#divRplyFwdMsg", "#appendonsend", "#mail-editor-reference-message-container", "#OLK_SRC_BODY_SECTION",
    "#ms-outlook-mobile-body-separator-line", "#x_divRplyFwdMsg", "#x_appendonsend", "#stopSpelling",
    "#x_mail-editor-reference-message-container", "[data-marker=__QUOTED_TEXT__]", "#replySplit",
)  # fmt: skip
"""From these on, everything to the end of the mail is quoted (Outlook of all kinds, Hotmail, Zimbra)."""

_DROP = _by_word(
    ".gmail_quote", ".gmail_quote_container", ".gmail_attr", "blockquote[type=cite]", ".moz-cite-prefix",
    "[class*=yahoo_quoted]", "[id*=yahoo_quoted]", ".protonmail_quote", ".tutanota_quote", ".zmail_extra",
    ".front-blockquote", "[name=quote]", ".WordSection1 > .OutlookMessageHeader", "#isForwardContent",
    "#isReplyContent",
    ".mcntgmail_quote", ".ecxgmail_quote", "#reply-intro", ".spark_quote", "[id^=AOLMsgPart]", "blockquote.mori",
    ".skiff_quote", ".hey_quote", ".acompli_signature", ".freshdesk_quote", ".mailru-blockquote",
)  # fmt: skip

_MARKS = frozenset({"class", "id", "name"})
_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all",
    re.IGNORECASE,
)
_NO_SIZE = re.compile(
    r"font-size\s*:\s*0(?:\.0{0,8})?(?:px|pt|em|rem|%)?\s*(?:!\s*important\s*)?(?:;|$)", re.IGNORECASE
)
_SIZE = re.compile(r"(?<![\w-])font(?:-size)?\s*:", re.IGNORECASE)
_OUTLOOK_BORDER = re.compile(
    r"border:\s*none;\s*border-top:\s*solid\s*#(?:b5c4df|e1e1e1)\s*1\.0pt|border-(?:width|top)[^;]*1pt[^;]*;?.*#(?:b5c4df|e1e1e1|e5e5e5)",
    re.IGNORECASE,
)
_FORWARDED = re.compile(r"\W*(?:-{2,}\s*)?forwarded message|\W*begin forwarded message", re.IGNORECASE)
MAX_INDENTS = 25
"""Every level of these is written before every line: 256 KiB of HTML could become 16 MB of text (measured)."""

_INDENTING = re.compile(r"</?(?:blockquote|[uod]l)(?![a-z0-9])")
_ANY_TAG = re.compile(r"<[/!a-zA-Z][^<>]{0,4000}>?")
_NEED_NO_END = "p|li|td|tr|th|tbody|br|img|hr|meta|link|input|dt|dd|option|col|o|wbr|area|base"
_TAG = re.compile(rf"</?(?!(?:{_NEED_NO_END})(?![a-z0-9]))[a-z][a-z0-9]{{0,15}}")
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
    elided = _take_away(tree, html.lower())
    return _text(tree), _text(LexborHTMLParser("<hr>".join(elided))) if elided else ""


def to_text(html: str) -> str:
    """All visible text of the HTML as Markdown without emphasis."""
    if is_too_deep(html[:MAX_HTML]):
        return without_tags(html[:MAX_HTML])
    tree = LexborHTMLParser(html[:MAX_HTML])
    if tree.body is None:
        return ""
    _clean(tree)
    return _text(tree)


def is_too_deep(html: str) -> bool:
    """Whether elements are nested, or left open, to a depth no mail program produces."""
    return _exceeds(_TAG.findall(html.lower()), MAX_DEPTH)


def _exceeds(tags: list[str], limit: int) -> bool:
    """Whether more elements are open at once. An end tag closes only its like: strays close nothing."""
    depth = 0
    still_open: dict[str, int] = {}
    for tag in tags:
        if tag[1] != "/":
            still_open[tag] = still_open.get(tag, 0) + 1
            depth += 1
            if depth > limit:
                return True
        elif number := still_open.get(opening := f"<{tag[2:]}"):
            still_open[opening] = number - 1
            depth -= 1
    return False


def without_tags(html: str) -> str:
    """The text of HTML that is not worth parsing: tags become line breaks."""
    lines = (line.strip() for line in unescape(_ANY_TAG.sub("\n", html)).split("\n"))
    return "\n".join(line for line in lines if line)


def _clean(tree: LexborHTMLParser) -> None:
    tree.strip_tags(_NOISE, recursive=True)
    for node in tree.css("[style]"):
        style = _style(node)
        if _HIDDEN.search(style):
            node.decompose()
        elif _NO_SIZE.search(style):
            _drop_without_size(node)
    for node in tree.css("a[href^='mailto:'], a:not([href])"):
        node.unwrap()


def _style(node: LexborNode) -> str:
    return (node.attributes.get("style") or "")[:2000]


def _drop_without_size(node: LexborNode) -> None:
    """Takes away what inherits no size; what has its own is seen. Newsletter programs close gaps in this way."""
    waiting = [node]
    while waiting:
        for child in list(waiting.pop().iter(include_text=True)):
            style = "" if child.tag == "-text" else _style(child)
            if child.tag == "-text":
                child.decompose()
            elif not _SIZE.search(style) or _NO_SIZE.search(style):
                waiting.append(child)
    del node.attrs["style"]  # the converter would leave out all that is in it


def _take_away(tree: LexborHTMLParser, lowered: str) -> list[str]:
    taken: list[str] = []
    for selector in _of_use(_CUT_AFTER, lowered):
        node = tree.css_first(selector)
        if node is not None and _text_before(node):
            taken += _cut_from(node)
            break
    for node in _outlook_headers(tree):
        if _text_before(node):
            taken += _cut_from(node)
            break
    selectors = _of_use(_DROP, lowered)
    for node in [node for selector in selectors for node in tree.css(selector) if _is_written_in(node)]:
        for name in _MARKS & node.attributes.keys():  # only the quotes in it go, and what introduces them
            del node.attrs[name]
        taken += _introduction_in(node)
    for selector in selectors:
        for node in tree.css(selector):
            if node.parent is not None and not _is_forward(node):
                taken.append(node.html or "")
                node.decompose()
    return taken


def _of_use(selectors: Mapping[str, str], lowered: str) -> list[str]:
    """Those whose longest word is anywhere in the HTML: to look for a word costs a tenth of a walk over the tree."""
    return [selector for selector, word in selectors.items() if word in lowered]


def _is_forward(node: LexborNode) -> bool:
    return bool(_FORWARDED.match(node.text()[:200].strip()))


def _is_written_in(node: LexborNode) -> bool:
    """Whether it holds quotes and, after one of them, words: Gmail and others put answers between the quotes there."""
    if node.tag == "blockquote" or _is_forward(node):
        return False
    children = list(node.iter(include_text=True))
    quotes = [at for at, child in enumerate(children) if child.tag == "blockquote"]
    return bool(quotes) and any(
        child.tag != "blockquote" and child.text().strip() for child in children[quotes[0] + 1 :]
    )


def _introduction_in(node: LexborNode) -> list[str]:
    """Takes away the words before the first quote."""
    taken: list[str] = []
    for child in list(node.iter(include_text=True)):
        if child.tag == "blockquote":
            break
        if child.tag == "-text":
            taken.append(escape(child.text()))
            child.decompose()
    return taken


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


def _text(tree: LexborHTMLParser) -> str:
    tree.unwrap_tags(_INLINE)
    html = (tree.body.html if tree.body else None) or ""
    if _exceeds(_INDENTING.findall(html), MAX_INDENTS):
        return without_tags(html)
    markdown = convert(html, _OPTIONS).content or ""
    return markdown.replace("\\\n", "\n").replace("\xa0", " ").strip()
