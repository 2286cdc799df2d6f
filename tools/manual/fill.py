"""fill.py: a manual page's source with the programs' own words put in.

fill.py SOURCE OUT NAME=PROGRAM…   Lines of SOURCE that are
  @options PROGRAM     become the option list of `PROGRAM --help`
  @commands PROGRAM    become every command of caictl with its help
  @table NAME          become the output of `tables NAME`
  @comment FILE        become the comment that opens FILE, as it is
Not for prose: that is in the .scd files."""
import pathlib
import re
import subprocess
import sys
import textwrap


def plain(text):
    return re.sub(r"([\\*_`#\[\]|<>~])", r"\\\1", text)


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


WIDTH = 66  # of literal text: a page of 80 columns indents it twice


def folded(line):
    """A line that is too long goes on below what it tells: after its last wide gap."""
    if len(line) <= WIDTH:
        return [line]
    gaps = [m.end() for m in re.finditer(r"\S? {2,}(?=\S)", line[:30])]
    below = " " * (gaps[-1] if gaps else 4)
    return textwrap.wrap(line, WIDTH, subsequent_indent=below, break_long_words=False,
                         break_on_hyphens=False, drop_whitespace=True)


def literal(lines):
    return ["```"] + [part.rstrip() for line in lines for part in folded(line.rstrip())] + ["```", ""]


def options_of(text):
    """Lines '  -x, --long ARG   what it is', and what goes on below them."""
    rows = []
    for line in text.split("\n"):
        if re.match(r"  -h, --help; -V|  -V, --version   -h", line):
            rows.append(["-h, --help", "Prints help and exits."])
            rows.append(["-V, --version", "Prints the version and exits."])
            continue
        found = re.match(r" {2,6}((?:-\w(?:, )?)?(?:--[\w-]+)?(?: [A-Z]\w*| [a-z]+\|[a-z]+)?)(?:  +(.*))?$", line)
        if found and found[1].startswith("-"):
            rows.append([found[1], found[2] or ""])
        elif rows and re.match(r" {10,}\S", line):
            rows[-1][1] += " " + line.strip()
        elif rows and line.strip():
            break
    out = []
    for name, text_ in rows:
        out += [f"*{plain(name)}*", f"\t{plain(text_.strip())}", ""]
    return out


def command(program, name):
    text = run(program, *name.split(), "--help")
    examples, rest = text.split(f"\ncaictl {name}", 1)
    usage, rest = rest.split("\n\n", 1)
    summary, _, rest = rest.partition("\n")
    more = rest.split("\nOptions of every command")[0].strip("\n")
    out = [f"## caictl {name}", ""] + literal((f"caictl {name}{usage}").split("\n"))
    out += [plain(summary), ""]
    if more:
        out += literal(more.split("\n"))
    lines = [line.strip() for line in examples.split("\n")[1:] if line.strip()]
    return out + ["Example:", ""] + literal("  " + line for line in lines)


def commands(program):
    listed = run(program, "--help").split("Commands (each has --help)\n")[1].split("\n\n")[0]
    names = [re.match(r"  (\S+(?: \S+)?)  ", line)[1] for line in listed.split("\n")]
    return [line for name in names for line in command(program, name)]


def comment(path):
    """Paragraphs and items are filled anew: a line goes on in the next that is as deep."""
    text = pathlib.Path(path).read_text()
    out, item = [], ""
    for line in text[2:text.index("*/")].split("\n"):
        line = re.sub(r"^ \*? ?", "", line).rstrip()
        deep = len(line) - len(line.lstrip())
        word = line.lstrip()
        if item and word and not re.match(r"[-•] |→", word) and (deep or not item.startswith(" ")) \
                and not re.match(r"\S.*? {2,}|[a-z.]+ !? +|    [a-z]+ {3,}", line) and item[-1] != ":":
            item += " " + word
            continue
        out += [item] if item else []
        item = line
        if not line:
            out.append("")
    return literal(out + [item])


def main():
    source, out, *given = sys.argv[1:]
    programs = dict(g.split("=", 1) for g in given)
    fill = {"@options": lambda x: options_of(run(programs[x], "--help")),
            "@commands": lambda x: commands(programs[x]),
            "@table": lambda x: run(programs["tables"], x).rstrip("\n").split("\n"),
            "@comment": lambda x: comment(programs[x])}
    lines = []
    for line in pathlib.Path(source).read_text().split("\n"):
        word, _, name = line.partition(" ")
        lines += fill[word](name) if word in fill else [line]
    pathlib.Path(out).write_text(re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n")


main()
