import windlass
from windlass import log, permanent


def run(work):
    name = work.input.get("name")
    if not name:
        # Trying again cannot help: the run is dead at once. Any other exception is tried again.
        raise permanent("input.name is empty: whom shall I greet?")
    log("info", f"attempt {work.attempt} greets {name}")
    text = f"{work.config.get('greeting', 'hello')}, {name}"
    return text, {"text": text}


Job = windlass.job(run)
Describe = windlass.describe(
    {
        "name": "{{name}}",
        "version": "0.1.0",
        "summary": "Greets whom the input names",
        "config": {"type": "object", "properties": {"greeting": {"type": "string"}}},
        "wants": [],
    }
)
