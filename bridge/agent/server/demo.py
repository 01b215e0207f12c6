"""The demo brain: offline, deterministic, no model. It remembers its thread and obeys a few words."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from bridge.agent.server.brains import Ask, BrainFault, File, Pause, Result, Told, approval
from bridge.agent.server.smallest import smallest_instance

_FRAGMENT: Final = 200
_LONGEST: Final = 1_000_000

_MENTION = re.compile(r"^(?:<@[^>]*>|@\S+)[\s:,]*")
_SLEEP = re.compile(r"\bsleep (\d{1,4}(?:\.\d{1,3})?)\b")
_LONG = re.compile(r"\blong (\d{1,7})\b")
_FILE = re.compile(r"\bfile (\w[\w.-]{0,99})")
_FAIL = re.compile(r"(?:^|\bsleep \S+ (?:and )?)fail\b[ :]*(.*)", re.DOTALL)
_NAME = re.compile(r"\b(?:my name is|i am called|call me) (\w[\w'-]*)", re.IGNORECASE)
_WORK = re.compile(r"\bi work (?:at|for) (\w[\w'&-]*)", re.IGNORECASE)
_SENTENCES = re.compile(r"\bexactly (\d{1,2}) sentences?\b", re.IGNORECASE)


class Demo:
    """Says what it was told, and says that it is only a demo."""

    async def answer(self, ask: Ask) -> AsyncIterator[str | Told | Result | File | Pause]:
        """Obeys `sleep 5`, `fail why`, `long 30000`, `file a.txt`, `ask`, `login`, `approve`; else from the thread."""
        text = _MENTION.sub("", ask.text.strip())
        command = text.split("\n", 1)[0].strip().lower().rstrip("?!.")
        if found := _SLEEP.search(text):
            await ask.clock.sleep(float(found[1]))
        if found := _FAIL.search(text):
            raise BrainFault(found[1].strip() or "The demo agent was told to fail.")
        if command == "ask":
            yield _question()
        elif command == "login" and not ask.resumed:
            yield _login(ask.login_url)
        elif command == "approve" and ask.decision is None:
            yield approval("May I go on?")
        elif ask.output_schema is not None:
            yield Result(json.dumps(smallest_instance(ask.output_schema)))
        else:
            if found := _FILE.search(text):
                yield File(found[1], f"The demo agent wrote this for you.\n\n{text}\n".encode())
            for fragment in _fragments(_reply(ask, text)):
                yield fragment


def _reply(ask: Ask, text: str) -> str:
    if found := _LONG.search(text):
        return _filler(int(found[1]))
    if ask.decision is not None:
        return f"{ask.decision.decided_by} said: {ask.decision.choice}."
    reply = _remembered(ask, text) or _about_files(ask) or f"You said: {text}"
    if ask.instructions:
        return _obeying(ask.instructions, reply)
    return reply


def _remembered(ask: Ask, text: str) -> str | None:
    """Answers that need the thread, or what the request says of its user."""
    lower = text.lower()
    before = [said.text for said in ask.thread if said.role == "user"]
    if "what did i say" in lower:
        return "You said before: " + " | ".join(before) if before else "You have said nothing before."
    if "where do i work" in lower or "what is my name" in lower or "what's my name" in lower:
        return _who([*before, text], ask.user)
    if "what is my email" in lower:
        return f"Your email is {ask.user['email']}." if ask.user.get("email") else "I was not told your email."
    if "who am i" in lower:
        return _who(before, ask.user)
    if found := _NAME.search(text):
        return f"Hello {found[1]}, I will remember that in this thread."
    return "You are logged in." if ask.resumed else None


def _who(said: list[str], user: Any) -> str:
    name = _last(_NAME, said) or user.get("first_name")
    work = _last(_WORK, said)
    parts = [f"Your name is {name}." if name else "You have not told me your name."]
    return " ".join([*parts, f"You work at {work}."] if work else parts)


def _last(pattern: re.Pattern[str], texts: list[str]) -> str | None:
    return next((found[1] for text in reversed(texts) if (found := pattern.search(text))), None)


def _about_files(ask: Ask) -> str | None:
    if not ask.attachments:
        return None
    lines = []
    for file in ask.attachments:
        if file.text is not None:
            lines.append(
                f"{file.name} ({file.media_type}, {len(file.text)} characters) says: {file.text[:300].strip()}"
            )
        elif file.image is not None:
            lines.append(f"{file.name} is an image ({file.media_type}, {len(file.image)} bytes).")
        else:
            lines.append(f"{file.name} was not read: {file.note}")
    return "\n".join(lines)


def _obeying(instructions: str, reply: str) -> str:
    if found := _SENTENCES.search(instructions):
        wanted = max(int(found[1]), 1)
        flat = reply.replace(". ", ", ").replace("\n", " ").rstrip(".")
        return " ".join([f"{flat}.", *["This is a demo agent."] * (wanted - 1)])
    return f"{reply}\n(I was instructed: {instructions})"


def _filler(length: int) -> str:
    line = "This line is one of many, so that a long answer can be seen.\n"
    wanted = min(length, _LONGEST)
    return (line * (wanted // len(line) + 1))[:wanted]


def _fragments(text: str) -> Iterator[str]:
    for start in range(0, len(text), _FRAGMENT):
        yield text[start : start + _FRAGMENT]


def _question() -> Pause:
    question = {"id": "colour", "question": "Which colour do you like?", "options": [{"id": "red"}, {"id": "blue"}]}
    return Pause(Told("ask_user_questions", {"questions": [question]}), question["question"])  # type: ignore[arg-type]  # the literal above


def _login(url: str) -> Pause:
    data = {"url": url, "server_url": url, "server_name": "demo"}
    return Pause(Told("auth_event", {"type": "login_required", "data": data}), "Please log in to go on.")
