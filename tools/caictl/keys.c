/* keys.c: caictl key: who may speak to caid from other machines. A pair is made here; its public
 * half goes to caid, its secret one into a file that only its owner can read. */
#include "base/error.h"
#include "base/file.h"
#include "caictl.h"
#include "proto/keys.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OVERLAP_MAX_S = 366 * 86400 };

static int failed(int rc) { return complain(control_exit_of(rc), "%s", cai_error_text()); }

/* The file is there before caid accepts the key, so that an accepted key is never lost; what
 * caid refuses leaves no file. */
static int make(const struct args *a, const char *verb, json_t *arguments, enum key_role role) {
    struct key_file k = {.role = role};
    const char *name = a->positional[0], *out = args_get(a, "out");
    CAI_AUTO(mem) char *path = out ? cai_strdup(out) : cai_format("%s.key", name);
    CAI_AUTO(mem) char *comment = cai_format("The key of %s for caid. Keep it secret: caid takes who "
                                             "has it for %s.", name, name);
    snprintf(k.name, sizeof k.name, "%s", name);
    int rc = key_make(&k);
    if (rc == 0)
        rc = key_file_save(path, &k, comment, false);
    if (rc < 0) {
        json_decref(arguments);
        return failed(rc);
    }
    json_object_set_new(arguments, "public", json_string(k.public_key));
    json_t *reply;
    int code = client_call(verb, arguments, true, &reply);
    if (code) {
        unlink(path);
        return code;
    }
    k.role = key_role_of(text_of(reply, "role"));
    rc = key_servers_parse(text_of(reply, "server"), &k);
    if (rc == 0)
        rc = key_file_save(path, &k, comment, true);
    json_decref(reply);
    explicit_bzero(k.secret_key, sizeof k.secret_key);
    if (rc < 0)
        return failed(rc);
    printf("%s\n", k.public_key);
    say("%s is accepted as %s. Its key is in %s: carry it to its machine by a way that nobody else "
        "can read.\n", name, key_role_name(k.role), path);
    return 0;
}

static int check_name(const char *name) {
    return key_name_valid(name) ? 0
                                : complain(EXIT_USAGE, "a key's name is of a-z, 0-9 and -, at most %d",
                                           KEY_NAME_SIZE - 1);
}

static int key_new(const struct args *a) {
    const char *given = args_get(a, "role");
    enum key_role role = given ? key_role_of(given) : ROLE_NONE;
    if (!role)
        return complain(EXIT_USAGE, "--role must be client, reviewer, worker or admin");
    int code = check_name(a->positional[0]);
    return code ? code
                : make(a, "key.add", json_pack("{s:s, s:s}", "name", a->positional[0], "role", given),
                       role);
}

static int key_rotate(const struct args *a) {
    const char *text = args_get(a, "overlap");
    int64_t overlap = 86400;
    int code = check_name(a->positional[0]);
    if (code || (text && !args_number("--overlap", text, &overlap)))
        return code ? code : EXIT_USAGE;
    if (overlap > OVERLAP_MAX_S)
        return complain(EXIT_USAGE, "--overlap: at most a year");
    return make(a, "key.rotate",
                json_pack("{s:s, s:I}", "name", a->positional[0], "overlap", (json_int_t)overlap),
                ROLE_NONE);
}

static int key_list(const struct args *a) {
    (void)a;
    static const struct column columns[] = {
        {"NAME", "name", CELL_TEXT},      {"ROLE", "role", CELL_TEXT},
        {"STATE", "state", CELL_TEXT},    {"CONNECTIONS", "connections", CELL_COUNT},
        {"MADE", "made_ms", CELL_TIME},   {"ENDS", "ends_ms", CELL_TIME},
        {"PUBLIC KEY", "public", CELL_TEXT}};
    json_t *rows;
    int code = data_rows("key.list", json_object(), -1, &rows);
    if (code) {
        json_decref(rows);
        return code;
    }
    return print_reply(json_pack("{s:o}", "rows", rows), columns, CAI_COUNT(columns));
}

static int key_revoke(const struct args *a) {
    json_t *reply;
    int code = client_call("key.revoke", json_pack("{s:s}", "name", a->positional[0]), true, &reply);
    if (code)
        return code;
    say("The key of %s is revoked; %lld connections were ended\n", a->positional[0],
        (long long)integer_of(reply, "closed"));
    json_decref(reply);
    return 0;
}

static int key_server(const struct args *a) {
    const char *what = a->n ? a->positional[0] : "";
    const char *verb = !*what                         ? "key.server"
                       : strcmp(what, "rotate") == 0 ? "key.server.rotate"
                       : strcmp(what, "switch") == 0 ? "key.server.switch"
                                                      : NULL;
    json_t *reply;
    if (!verb)
        return complain(EXIT_USAGE, "usage: caictl key server [rotate|switch]");
    int code = client_call(verb, NULL, *what != '\0', &reply);
    if (code)
        return code;
    const char *next = text_of(reply, "next");
    if (globals.json)
        print_json(reply);
    else
        printf("%s\n", text_of(reply, "public"));
    if (*next && !globals.json)
        printf("next %s\n", next);
    if (*next)
        say("Add the line 'server %s' to every key file, then: caictl key server switch\n", next);
    json_decref(reply);
    return 0;
}

const struct command key_commands[] = {
    {"key new", "NAME --role ROLE [--out FILE]", "role out", 1, 1, key_new,
     "Make a key for another machine or person, and have caid accept it",
     "  caictl key new gpu-7 --role worker --out gpu-7.key\n",
     "  --role ROLE   client (submits jobs and looks at them), reviewer (looks and judges),\n"
     "                worker (does tasks, and asks nothing), admin (everything but work)\n"
     "  --out FILE    where its key goes (default NAME.key), readable for you alone\n\n"
     "The public key is printed. The secret one is in the file alone; caid never has it.\n"},
    {"key list", "", "", 0, 0, key_list, "List the keys that caid knows, revoked ones too",
     "  caictl key list\n", NULL},
    {"key revoke", "NAME|PUBLIC-KEY", "", 1, 1, key_revoke,
     "Accept a key no longer, and end its connections at once", "  caictl key revoke gpu-7\n",
     "A worker's tasks are given to others. All keys of the name end; a public key names one.\n"},
    {"key rotate", "NAME [--out FILE] [--overlap SECONDS]", "out overlap", 1, 1, key_rotate,
     "Make a new key for a name, and let the old one hold for a while",
     "  caictl key rotate gpu-7 --out gpu-7-new.key\n",
     "  --out FILE           where the new key goes (default NAME.key)\n"
     "  --overlap SECONDS    how long the old one is still accepted (86400; 0: no longer)\n"},
    {"key server", "[rotate|switch]", "", 0, 1, key_server,
     "Print caid's own public key, or change it in two steps", "  caictl key server\n",
     "rotate makes the next key and prints it; nothing changes yet. Put it into every key file\n"
     "(a second line 'server KEY'): those who have both reach caid before and after. Then\n"
     "switch makes it the present one; connections begin anew, and tasks go on from what was\n"
     "saved.\n"},
    {0},
};
