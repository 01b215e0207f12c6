"""The brain behind any OpenAI-compatible endpoint: streaming chat completions, no tools."""

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final

import httpx2

from bridge.agent.server.brains import Ask, Attachment, BrainFault, Pause, Result, Told
from bridge.agent.sse import Oversized, Sent, read_events
from bridge.model import Json

_SYSTEM: Final = "You are a helpful assistant. Answer in the language of the question."


class Chat:
    """One model at one endpoint."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        *,
        base_url: str,
        api_key: str,
        model: str,
        instructions: str | None = None,
        silence: timedelta = timedelta(seconds=120),
    ) -> None:
        self._http = http
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._model = model
        self._instructions = instructions or _SYSTEM
        self._silence = silence.total_seconds()

    async def answer(self, ask: Ask) -> AsyncIterator[str | Told | Result | Pause]:
        """Fragments as the model gives them. Half an answer is none: what breaks off ends as an error."""
        try:
            async with aclosing(self._fragments(_body(self._model, self._instructions, ask))) as fragments:
                async for fragment in fragments:
                    yield fragment
        except httpx2.TimeoutException as error:
            raise BrainFault(f"The model fell silent for {self._silence:.0f} s.") from error
        except httpx2.HTTPError as error:
            raise BrainFault(f"The connection to the model broke: {type(error).__name__}.") from error

    async def _fragments(self, body: Json) -> AsyncGenerator[str | Told, None]:
        timeout = httpx2.Timeout(self._silence, connect=10.0)
        async with self._http.stream("POST", self._url, json=body, headers=self._headers, timeout=timeout) as response:
            if not response.is_success:
                raise BrainFault(await _refusal(response))
            finished = False
            try:
                async for sent in read_events(response.aiter_bytes()):
                    if sent.data.strip() == b"[DONE]":
                        return
                    delta, ended = _delta(sent)
                    finished = finished or ended
                    if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
                        yield Told("think", reasoning)
                    if content := delta.get("content"):
                        yield content
            except Oversized as error:
                raise BrainFault("The model's answer cannot be read.") from error
            if not finished:
                raise BrainFault("The model broke off in the middle of its answer.")


def _body(model: str, instructions: str, ask: Ask) -> Json:
    body: dict[str, Any] = {"model": model, "stream": True, "messages": _messages(instructions, ask)}
    if ask.output_schema is not None:
        schema = {"name": "answer", "schema": dict(ask.output_schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif ask.output_format == "json":
        body["response_format"] = {"type": "json_object"}
    if ask.think_mode == "harder":
        body["reasoning_effort"] = "high"
    return body


def _messages(instructions: str, ask: Ask) -> list[Json]:
    system = [instructions, ask.instructions, ask.additional_context and f"Context:\n{ask.additional_context}"]
    if ask.expected_output:
        system.append(f"Expected output: {ask.expected_output}")
    if ask.output_format == "markdown":
        system.append("Answer in Markdown.")
    if user := {name: value for name, value in ask.user.items() if name != "additional_attributes"}:
        system.append(f"The user: {json.dumps(user, ensure_ascii=False)}")
    thread: list[Json] = [{"role": said.role, "content": said.text} for said in ask.thread]
    return [
        {"role": "system", "content": "\n\n".join(part for part in system if part)},
        *thread,
        {"role": "user", "content": _content(ask)},
    ]


def _content(ask: Ask) -> str | list[Json]:
    text = "\n\n".join([ask.text, *(_as_text(file) for file in ask.attachments if file.image is None)])
    images: list[Json] = [
        {
            "type": "image_url",
            "image_url": {"url": _data_url(file.media_type, file.image)},
        }
        for file in ask.attachments
        if file.image is not None
    ]
    return [{"type": "text", "text": text}, *images] if images else text


def _data_url(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _as_text(file: Attachment) -> str:
    if file.text is None:
        return f"[File {file.name} ({file.url}): {file.note}]"
    return f"[File {file.name}]\n{file.text}\n[End of file {file.name}]"


def _delta(sent: Sent) -> tuple[dict[str, Any], bool]:
    """What one chunk adds, and whether the model says that it has finished. An error in the stream is a BrainFault."""
    try:
        chunk = json.loads(sent.data)
        if chunk.get("error"):  # some send it in every chunk, null
            raise BrainFault(f"Error in the model's answer - {json.dumps(chunk['error'])[:500]}")
        if not chunk.get("choices"):
            return {}, False  # usage and keep-alive chunks
        choice = chunk["choices"][0]
        return choice.get("delta") or {}, choice.get("finish_reason") is not None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BrainFault("The model's answer cannot be read.") from error


async def _refusal(response: httpx2.Response) -> str:
    """The form in which the service itself shows a model's refusal: `Error code: 429 - {…}`."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _SHOWN:
            break
    return f"Error code: {response.status_code} - {body[:_SHOWN].decode('utf-8', 'replace')}"


_SHOWN: Final = 1000
