// The host's words in JavaScript's. Yours to change: Windlass knows only the contract, wit/deps/windlass.wit.
import { fetch as ask } from "windlass:plugin/fetch@1.0.0";
import { write } from "windlass:plugin/log@1.0.0";

/** How a run did not end well. Any other exception counts as transient. */
export class Failure extends Error {
  constructor(kind, message, delayMs = null) {
    super(message);
    Object.assign(this, { kind, delayMs });
  }
}
/** May go away by itself: tried again, not before `delayMs`. */
export const transient = (message, delayMs) => new Failure("transient", message, delayMs);
/** Will not go away by itself: the run is dead at once. */
export const permanent = (message) => new Failure("permanent", message);
/** Not now, and nobody's fault: tried again after `delayMs`, without spending an attempt. */
export const snooze = (delayMs, message) => new Failure("snooze", message, delayMs);

/** The export `job`: `run` gets the work with config and input decoded, and returns text or `{ summary, data, counts }`. */
export function job(run) {
  return {
    run(work) {
      try {
        const answer = run({ ...work, config: JSON.parse(work.config), input: JSON.parse(work.input || "null") });
        const { summary = "", data = null, counts = null } = typeof answer === "string" ? { summary: answer } : (answer ?? {});
        return { summary, data: data === null ? null : JSON.stringify(data), counts, extras: [] };
      } catch (wrong) {
        // An exception that is none of ours would end the guest: its message would be lost in a trap.
        if (!(wrong instanceof Failure)) log.warn(String(wrong?.stack ?? wrong));
        const message = String(wrong?.message ?? wrong);
        throw { class: wrong?.kind ?? "transient", message, delayMs: wrong?.delayMs ?? null, counts: null, extras: [] };
      }
    },
  };
}

/** The export `describe`. */
export const describes = (what) => ({ describe: () => JSON.stringify(what) });

/** `log.info("took it", { pages: 3 })` */
export const log = {};
for (const level of ["trace", "debug", "info", "warn", "error"]) {
  log[level] = (message, fields = {}) => write(level, message, Object.entries(fields).map(([name, value]) => [name, String(value)]));
}

/** A request to a granted host. `headers` is an object, `body` text or bytes; the answer has `status`, `headers`, `bytes`, `text()` and `json()`. */
export function fetch(url, { method = "GET", headers = {}, body = "", firstByteTimeoutMs = null } = {}) {
  const request = { method, url, headers: Object.entries(headers), body: encoded(body), firstByteTimeoutMs };
  let answer;
  try {
    answer = ask(request);
  } catch (wrong) {
    const refusal = wrong?.payload;
    if (!refusal) throw wrong;
    // What was refused is refused again.
    const again = !/^HttpRequest|Prohibited$/.test(refusal.code);
    throw (again ? transient : permanent)(refusal.message);
  }
  const text = () => decoded(answer.body);
  return { status: answer.status, headers: answer.headers, bytes: answer.body, text, json: () => JSON.parse(text()) };
}

/** UTF-8 by hand: QuickJS has no TextEncoder. */
const encoded = (body) =>
  typeof body === "string" ? Uint8Array.from(unescape(encodeURIComponent(body)), (letter) => letter.charCodeAt(0)) : body;

function decoded(bytes) {
  let raw = "";
  for (let at = 0; at < bytes.length; at += 4096) raw += String.fromCharCode(...bytes.slice(at, at + 4096));
  return decodeURIComponent(escape(raw));
}
