"""make.py: the completions of one shell, from caictl's own tables: make.py SHELL CAICTL.

`caictl __table` gives commands, usage and options; what stands in a usage says what belongs
there: ID and JOB are jobs, NUMBER is a model, NAME and REF are constitutions, else a file. Live
names come from `caictl __names`, which asks the daemon for half a second at most."""
import re
import subprocess
import sys

GLOBAL = ["--server=", "--key=", "--server-key=", "--output=", "--timeout=", "--no-headers", "--quiet", "--help"]
WORDS = {"output": "table json", "kind": "policy pm classifier overseer state",
         "state": "PENDING HELD RUNNING WAITING_REVIEW SUSPENDED COMPLETED FAILED CANCELLED",
         "stage": "red_team revise audit review_texts consist sft label review prefer skill evaluate ppo",
         "role": "harmful helpful human classifier evaluate probes graded canaries questions critiques client reviewer worker admin"}
LIVE = {"constitution": "constitutions", "model": "models"}
SHELLS = ("bash", "zsh", "fish")


def kind_of(name, usage):
    first = re.match(r"\[?([A-Z]+)", usage)
    word = first[1] if first else ""
    if word in ("ID", "JOB", "A", "MODEL"):
        return "jobs"
    if word == "NUMBER":
        return "models"
    if name.startswith("constitution ") and word in ("NAME", "REF"):
        return "constitutions"
    return "files" if word else "nothing"


def table(caictl):
    out = subprocess.run([caictl, "__table"], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines():
        name, usage, options, summary = line.split("\t")
        yield name, kind_of(name, usage), options.split(), summary


def values(option):
    """(kind, words) of what follows an option."""
    name = option.strip("-=")
    if name in WORDS:
        return "words", WORDS[name]
    return (LIVE[name], "") if name in LIVE else ("files", "")


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def cases(rows, form):
    return "\n".join(form.format(name=quoted(n), kind=k, options=" ".join(o.rstrip("=") for o in opts + GLOBAL))
                     for n, k, opts, _ in rows)


def option_cases(rows):
    seen = sorted({o for _, _, opts, _ in rows for o in opts + GLOBAL if o.endswith("=")})
    lines = []
    for o in seen:
        kind, words = values(o)
        lines.append(f"    {o.rstrip('=')}) kind={kind} given={quoted(words)} ;;")
    return "\n".join(lines)


def words_of(rows, group):
    if group is None:
        return list(dict.fromkeys(n.split()[0] for n, *_ in rows))
    return [n.split()[1] for n, *_ in rows if n.startswith(group + " ")]


def groups(rows):
    return [g for g in words_of(rows, None) if words_of(rows, g)]


# What bash and zsh share: from the words before the cursor (in "before") to the command, the
# kind of what comes next, and the words to choose from.
SHARED = """
_caictl_look() { # WORD…: the words after caictl and before the cursor
    local first= second= skip= last=
    kind=nothing given= command=
    for word; do
        last=$word
        if [ -n "$skip" ]; then skip=; continue; fi
        case $word in
        --*=*) ;;
        -*) _caictl_value "$word" && skip=1 ;;
        *) if [ -z "$first" ]; then first=$word; elif [ -z "$second" ]; then second=$word; fi ;;
        esac
    done
    case $last in
    -*) _caictl_value "$last" && return ;;
    esac
    if [ -z "$first" ]; then kind=words given=@TOP@; return; fi
    case $first in
@GROUPS@
    *) command=$first ;;
    esac
    _caictl_command "$command"
}

_caictl_value() { # OPTION: what follows it; false when nothing does
    case $1 in
    -s) set -- --server ;;
    -o) set -- --output ;;
    -m) set -- --message ;;
    esac
    case $1 in
@VALUES@
    *) return 1 ;;
    esac
}

_caictl_command() { # NAME: what its arguments are, and its options
    case $1 in
@COMMANDS@
    esac
}
"""

BASH = """# bash completion for caictl. Made from caictl's own tables.
@SHARED@
_caictl() {
    local current=${COMP_WORDS[COMP_CWORD]} kind given command options= word IFS=$' \\t\\n'
    COMPREPLY=()
    _caictl_look "${COMP_WORDS[@]:1:COMP_CWORD-1}"
    case $current in
    -*) COMPREPLY=($(compgen -W "${options:-@GLOBAL@}" -- "$current")); return ;;
    esac
    case $kind in
    words) COMPREPLY=($(compgen -W "$given" -- "$current")) ;;
    files) COMPREPLY=($(compgen -f -- "$current")); compopt -o filenames 2>/dev/null ;;
    jobs | models | constitutions)
        COMPREPLY=($(compgen -W "$(caictl __names "$kind" 2>/dev/null | cut -f 1)" -- "$current"))
        if [ "$kind" != models ] && [ ${#COMPREPLY[@]} = 0 ]; then COMPREPLY=($(compgen -f -- "$current")); fi ;;
    esac
}
complete -F _caictl caictl
"""

ZSH = """#compdef caictl
# zsh completion for caictl. Made from caictl's own tables.
@SHARED@
_caictl() {
    local kind given command options word
    local -a names about
    _caictl_look "${(@)words[2,CURRENT-1]}"
    if [[ $PREFIX == -* ]]; then
        compadd -- ${=options:-@GLOBAL@}
        return
    fi
    case $kind in
    words) compadd -- ${=given} ;;
    files) _files ;;
    jobs | models | constitutions)
        caictl __names $kind 2>/dev/null | while IFS=$'\\t' read -r word command; do
            names+=("$word") about+=("$word  $command")
        done
        if (( $#names )); then compadd -l -d about -a names; else [[ $kind == models ]] || _files; fi ;;
    esac
}
if [ "$funcstack[1]" = _caictl ]; then _caictl "$@"; else compdef _caictl caictl; fi
"""


def posix(rows, template):
    group_lines = "\n".join(
        f'    {g}) if [ -z "$second" ]; then kind=words given={quoted(" ".join(words_of(rows, g)))}; '
        'return; fi; command="$first $second" ;;' for g in groups(rows))
    shared = SHARED.replace("@TOP@", quoted(" ".join(words_of(rows, None)))).replace("@GROUPS@", group_lines)
    shared = shared.replace("@VALUES@", option_cases(rows)).replace(
        "@COMMANDS@", cases(rows, "    {name}) kind={kind} options='{options}' ;;"))
    return template.replace("@SHARED@", shared).replace("@GLOBAL@", " ".join(o.rstrip("=") for o in GLOBAL))


def fish(rows):
    out = ["# fish completion for caictl. Made from caictl's own tables.",
           "function __caictl_words", "    string match -v -- '-*' (commandline -opc)[2..-1]", "end",
           "function __caictl_is", "    set -l have (__caictl_words)",
           "    test (count $have) -ge (count $argv); or return 1",
           "    test \"$have[1..\"(count $argv)\"]\" = \"$argv\"", "end",
           "function __caictl_at", "    set -l have (__caictl_words)", "    test \"$have\" = \"$argv\"", "end",
           "complete -c caictl -f"]

    def add(condition, rest):
        out.append(f"complete -c caictl -n {quoted(condition)} {rest}")
    for word in words_of(rows, None):
        about = next((s for n, _, _, s in rows if n == word), "")
        add("__caictl_at", f"-a {quoted(word)} -d {quoted(about)}")
    for g in groups(rows):
        for name, _, _, about in rows:
            if name.startswith(g + " "):
                add(f"__caictl_at {g}", f"-a {quoted(name.split()[1])} -d {quoted(about)}")
    for name, kind, options, _ in rows:
        here = f"__caictl_is {name}"
        if kind == "files":
            add(here, "-F")
        elif kind != "nothing":
            add(here, f"-a '(caictl __names {kind} 2>/dev/null)'")
        for o in options:
            out.append(fish_option(here, o))
    out += [fish_option("true", o) for o in GLOBAL]
    return "\n".join(out) + "\n"


def fish_option(condition, o):
    line = f"complete -c caictl -n {quoted(condition)} -l {o.strip('-=')}"
    if not o.endswith("="):
        return line
    kind, words = values(o)
    if kind == "words":
        return f"{line} -x -a {quoted(words)}"
    return line + (" -r -F" if kind == "files" else f" -x -a '(caictl __names {kind} 2>/dev/null)'")


def main():
    shell, caictl = sys.argv[1:]
    assert shell in SHELLS, shell
    rows = list(table(caictl))
    sys.stdout.write(fish(rows) if shell == "fish" else posix(rows, BASH if shell == "bash" else ZSH))


main()
