# Renders a checkpoint's chat template for template_run.c, in a process of its own:
# one JSON request on stdin, one JSON answer on stdout. The template is untrusted. The
# environment is the one of transformers 4.57 (utils/chat_template_utils.py).
import sys


def limit_self():
    import resource
    for what, limit in ((resource.RLIMIT_CPU, 5), (resource.RLIMIT_AS, 512 << 20),
                        (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0),
                        (resource.RLIMIT_NOFILE, 64)):
        resource.setrlimit(what, (limit, limit))


def make_environment(now):
    import datetime
    import json
    import jinja2.ext
    import jinja2.exceptions
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """{% generation %} … {% endgeneration %}: the body, as it is."""
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.Scope(body).set_lineno(line)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    def strftime_now(form):
        return datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime(form)

    e = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    e.filters["tojson"] = tojson
    e.globals["raise_exception"] = raise_exception
    e.globals["strftime_now"] = strftime_now
    return e


def render(template, roles, request, context):
    messages = [{"role": r, "content": c} for r, c in zip(roles, request["contents"])]
    try:
        return {"text": template.render(messages=messages, tools=None, documents=None,
                                        add_generation_prompt=request["generate"], **context)}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"[:2000]}


def main():
    limit_self()
    sys.path[:] = [p for p in sys.path if p] + ["/usr/lib/python3/dist-packages"]
    import json
    request = json.loads(sys.stdin.buffer.read())
    try:
        import jinja2
    except ImportError as e:
        return {"error": f"{e}; install Debian's package python3-jinja2"}
    try:
        template = make_environment(request["now"]).from_string(request["template"])
    except Exception as e:
        line = getattr(e, "lineno", None)
        return {"error": f"{type(e).__name__}: {e}" + (f" (line {line})" if line else "")}
    return {"answers": [render(template, request["roles"], r, request["context"])
                        for r in request["renders"]]}


if __name__ == "__main__":
    import json
    answer = main()
    sys.stdout.buffer.write(json.dumps(answer).encode("utf-8", "replace"))
