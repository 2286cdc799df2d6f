# Writes a file as a C string: embed.py NAME FROM TO. Used by the build.
import sys

name, source, target = sys.argv[1:]
with open(source, encoding="utf-8") as f, open(target, "w", encoding="utf-8") as out:
    out.write(f"/* Made from {source.rsplit('/', 1)[-1]} by the build. */\n")
    out.write(f"static const char {name}[] =\n")
    for line in f:
        text = line.rstrip("\n").replace("\\", "\\\\").replace('"', '\\"')
        out.write(f'    "{text}\\n"\n')
    out.write("    ;\n")
