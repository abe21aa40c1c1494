"""The host's words in Python's. Yours to change: Windlass knows only the contract, wit/deps/windlass.wit."""

import json
import traceback

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import fetch as _fetch
from wit_world.imports import log as _log
from wit_world.imports.types import Class, Failure, Output


def transient(message, delay_ms=None):
    """May go away by itself: tried again, not before delay_ms. `raise` it."""
    return Err(Failure(Class.TRANSIENT, message, delay_ms, None, []))


def permanent(message):
    """Will not go away by itself: the run is dead at once. `raise` it."""
    return Err(Failure(Class.PERMANENT, message, None, None, []))


def snooze(delay_ms, message):
    """Not now, and nobody's fault: tried again after delay_ms, without spending an attempt. `raise` it."""
    return Err(Failure(Class.SNOOZE, message, delay_ms, None, []))


def job(run):
    """The export `Job`: run gets the work with config and input decoded, and returns text, or text and data."""

    class Job(exports.Job):
        def run(self, work):
            try:
                work.config, work.input = json.loads(work.config), json.loads(work.input or "null")
                answer = run(work)
            except Err:
                raise
            except Exception as wrong:
                # It would end the guest: its message would be lost in a trap.
                log("warn", traceback.format_exc())
                raise transient(f"{type(wrong).__name__}: {wrong}") from None
            summary, data = answer if isinstance(answer, tuple) else (answer, None)
            return Output(summary or "", None if data is None else json.dumps(data), None, [])

    return Job


def describe(what):
    """The export `Describe`."""

    class Describe(exports.Describe):
        def describe(self):
            return json.dumps(what)

    return Describe


def log(level, message, **fields):
    _log.write(_log.Level[level.upper()], message, [(name, str(value)) for name, value in fields.items()])


def fetch(url, method="GET", headers=None, body=b"", first_byte_timeout_ms=None):
    """A request to a granted host; the answer has status, headers (pairs) and body (bytes)."""
    body = body.encode() if isinstance(body, str) else body
    try:
        return _fetch.fetch(_fetch.Request(method, url, list((headers or {}).items()), body, first_byte_timeout_ms))
    except Err as refused:
        # What was refused is refused again.
        code, message = refused.value.code, refused.value.message
        final = code.startswith("HttpRequest") or code.endswith("Prohibited")
        raise (permanent if final else transient)(message) from None
