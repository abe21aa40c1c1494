import { describes, job as made, log, permanent } from "./windlass.js";

export const job = made(({ attempt, config, input }) => {
  // Trying again cannot help: the run is dead at once. Any other exception is tried again.
  if (!input?.name) throw permanent("input.name is empty: whom shall I greet?");
  log.info(`attempt ${attempt} greets ${input.name}`);
  const text = `${config.greeting ?? "hello"}, ${input.name}`;
  return { summary: text, data: { text } };
});

export const describe = describes({
  name: "{{name}}",
  version: "0.1.0",
  summary: "Greets whom the input names",
  config: { type: "object", properties: { greeting: { type: "string" } } },
  wants: [],
});
