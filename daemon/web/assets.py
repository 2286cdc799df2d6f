# Writes files as one C table: assets.py OUT ROUTE=FILE… A route that ends in .html has no type: it
# is a frame that page.c fills in, and is not served as it is. Used by the build.
import sys

TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml",
         "html": ""}
PART = 96  # bytes of a line


def literal(data):
    """C text of bytes; octal escapes, for they cannot run into a digit that follows."""
    return "".join(chr(b) if 32 <= b < 127 and chr(b) not in "\\\"?" else f"\\{b:03o}" for b in data)


out, *routes = sys.argv[1:]
with open(out, "w", encoding="ascii") as f:
    f.write("/* Made by assets.py from what caid's pages consist of. */\n#include \"web/inside.h\"\n")
    table = []
    for number, route in enumerate(routes):
        path, name = route.split("=", 1)
        with open(name, "rb") as source:
            data = source.read()
        f.write(f"static const unsigned char asset_{number}[] =\n")
        for at in range(0, len(data), PART):
            f.write(f'    "{literal(data[at:at + PART])}"\n')
        f.write("    \"\";\n")
        table.append(f'    {{"{path}", "{TYPES[path.rsplit(".", 1)[1]]}", asset_{number}, {len(data)}}},\n')
    f.write("const struct asset web_assets[] = {\n" + "".join(table) + "    {0},\n};\n")
