/* web.c: caictl web: a link to caid's pages. Not for the review in the terminal. */
#include "caictl.h"
#include <stdio.h>
#include <string.h>

/* From another machine the link's port is that of caid's: a tunnel must bring it here. */
static void tell_way(const json_t *reply) {
    const char *address = text_of(reply, "address"), *port = strrchr(address, ':');
    say("It holds once, for %lld minutes.\n", (long long)integer_of(reply, "holds_s") / 60);
    if (strncmp(client_endpoint(), "tcp://", 6) == 0 && strncmp(address, "unix:", 5) != 0 && port)
        say("caid serves pages on its own machine alone. Bring the port here first: ssh -L "
            "%s:127.0.0.1:%s its-machine\n", port + 1, port + 1);
}

static int print_link(bool review) {
    json_t *reply;
    int code = client_call("web.link", NULL, false, &reply);
    if (code)
        return code;
    CAI_AUTO(mem) char *url = cai_format("%s%s", text_of(reply, "url"), review ? "#review" : "");
    json_object_set_new(reply, "url", json_string(url));
    if (globals.json) {
        print_json(reply);
    } else {
        printf("%s\n", url);
        tell_way(reply);
    }
    json_decref(reply);
    return 0;
}

static int run_web(const struct args *a) { return print_link(args_has(a, "review")); }
static int run_review_open(const struct args *a) {
    (void)a;
    return print_link(true);
}

const struct command web_commands[] = {
    {"web", "[--review]", "review", 0, 0, run_web,
     "Print a link to caid's pages: the dashboard and the review",
     "  caictl web\n  caictl web --review\n",
     "  --review   the link leads to what is to be judged\n\n"
     "The link signs one browser in as you, once, within five minutes; print another for another\n"
     "browser. caid serves pages to its own machine alone: from elsewhere, bring its port over with\n"
     "ssh -L, or let a TLS proxy serve them (web and web_host in caid.conf).\n"},
    {"review open", "", "", 0, 0, run_review_open,
     "Print a link to the page on which people judge what jobs ask of them",
     "  caictl review open\n",
     "As `caictl web --review`. The same review in the terminal: caictl review next.\n"},
    {0},
};
