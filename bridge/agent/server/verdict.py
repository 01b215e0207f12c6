"""Whether an answer is what its schema asks for.

jsonschema-rs, since its patterns run in bounded time and without the interpreter's lock: schemas come from callers.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import jsonschema_rs


async def violation(answer: str, schema: Mapping[str, Any]) -> str | None:
    """What is wrong with the answer, or None. Never fetches anything a schema refers to."""
    return await asyncio.to_thread(_violation, answer, schema)


def _violation(answer: str, schema: Mapping[str, Any]) -> str | None:
    try:
        instance = json.loads(answer)
    except (ValueError, RecursionError):
        return "it is no JSON"
    try:
        validator = jsonschema_rs.validator_for(
            dict(schema), offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
        error = next(iter(validator.iter_errors(instance)), None)
    except (ValueError, jsonschema_rs.ReferencingError) as broken:
        return f"the schema itself cannot be used: {str(broken)[:300]}"
    return None if error is None else f"{error.message[:300]} (at /{'/'.join(map(str, error.instance_path))})"
