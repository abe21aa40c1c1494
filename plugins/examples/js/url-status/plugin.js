// Asks the addresses of the input one after another and tells their status. One that is busy or broken is asked again in the next attempt.
import { describes, fetch, job as made, log, permanent, transient } from "./windlass.js";

export const job = made(({ input }) => {
  if (!Array.isArray(input?.urls)) throw permanent('input.urls is missing: write {"urls": ["https://…"]}');
  const seen = {};
  for (const url of input.urls) {
    const { status } = fetch(url, { method: "HEAD" });
    log.info(`${url} answered ${status}`, { url, status });
    if (status === 429 || status >= 500) throw transient(`${url} answered ${status}`);
    seen[url] = status;
  }
  const wrong = Object.values(seen).filter((status) => status >= 400).length;
  return { summary: `${input.urls.length} addresses, ${wrong} of them wrong`, data: seen };
});

export const describe = describes({
  name: "url-status",
  version: "0.1.0",
  summary: "Tells the status of addresses",
  config: { type: "object", additionalProperties: false },
  wants: ["http"],
});
