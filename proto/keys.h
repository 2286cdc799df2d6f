/* keys.h: who may speak to caid over a network: CURVE key pairs, roles, and the two kinds of
 * files they are kept in. A key file holds one pair, its secret included; a keyring is caid's
 * list of the public keys it accepts. Not for what a role may do (run/gate.h) nor for sockets
 * (channel.h). Keys are Z85 text of 40 characters, as ZeroMQ writes them. */
#ifndef CAI_PROTO_KEYS_H
#define CAI_PROTO_KEYS_H

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum key_role { ROLE_NONE, ROLE_CLIENT, ROLE_REVIEWER, ROLE_WORKER, ROLE_ADMIN, ROLE_COUNT };
const char *key_role_name(enum key_role role); /* "none" for ROLE_NONE */
enum key_role key_role_of(const char *name);   /* ROLE_NONE when there is no such role */

enum { KEY_SIZE = 41, KEY_NAME_SIZE = 64, KEY_SERVERS = 4, KEY_FILE_MAX = 16 << 10 };

bool key_valid(const char *z85);       /* 40 characters of Z85 that decode to 32 bytes */
bool key_name_valid(const char *name); /* a-z, 0-9 and -, 1 to 63, not - first */

/* ---- a key file: "word value" lines, '#' begins a comment ---------------------------------- */
struct key_file {
    char name[KEY_NAME_SIZE]; /* "" for caid's own */
    enum key_role role;
    char public_key[KEY_SIZE], secret_key[KEY_SIZE];
    char server[KEY_SERVERS][KEY_SIZE]; /* caid's public keys, any of which it may have now */
    size_t n_servers;
};
/* A new pair into the two members. */
int key_make(struct key_file *io);
/* CAI_EINPUT with where:line. The public key must be the secret's. */
int key_file_parse(const char *text, size_t len, const char *where, struct key_file *ret);
/* CAI_EAUTH when others than its owner and group can read it, or others than its owner write. */
int key_file_load(const char *path, struct key_file *ret);
void key_file_write(const struct key_file *k, const char *comment, struct cai_buf *ret);
/* Mode 0600. A file that is there already is CAI_ESTATE unless `replace`. */
int key_file_save(const char *path, const struct key_file *k, const char *comment, bool replace);
/* One server key or several separated by commas. */
int key_servers_parse(const char *text, struct key_file *io);

/* ---- caid's list: "role name public made ends" lines --------------------------------------- */
struct key_entry {
    char name[KEY_NAME_SIZE], public_key[KEY_SIZE];
    enum key_role role;
    int64_t made_s, ends_s; /* since 1970; ends: from then on it is refused; 0 = not revoked */
};
struct keyring {
    struct key_entry *entries;
    size_t n, cap;
};
enum { KEYRING_MAX = 10000, KEYRING_BYTES_MAX = 2 << 20 };

int keyring_parse(const char *text, size_t len, const char *where, struct keyring *ret);
int keyring_load(const char *path, struct keyring *ret); /* no file: empty */
int keyring_save(const char *path, const struct keyring *k);
void keyring_write(const struct keyring *k, struct cai_buf *ret);
void keyring_free(struct keyring *k);
/* The entry whose key is accepted at that time, or NULL. */
const struct key_entry *keyring_find(const struct keyring *k, const char *public_key,
                                     int64_t now_s);
/* One of that key, ended ones too; for messages. */
const struct key_entry *keyring_known(const struct keyring *k, const char *public_key);
/* CAI_ESTATE: the name has a key that is accepted (unless `overlap_s` >= 0, which ends that one
 * so much later), or the key is known already. */
int keyring_add(struct keyring *k, enum key_role role, const char *name, const char *public_key,
                int64_t now_s, int64_t overlap_s);
/* Ends every key of the name (or the one public key); CAI_ENOTFOUND when none was accepted. */
int keyring_revoke(struct keyring *k, const char *name_or_key, int64_t now_s);

#endif
