/* tokenizer.c: collects the words of every text of the world, split as GPT-2 splits (the
 * world is ASCII), and writes them as whole tokens. `ignore_merges` makes a piece that is in
 * the vocabulary its own token, so no merges are needed; other text falls to bytes. */
#include "clerk/tokenizer.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "clerk/corpus.h"
#include <ctype.h>
#include <jansson.h>
#include <string.h>

struct words {
    json_t *vocab; /* token → id */
    struct cai_buf piece;
};

/* GPT-2's printable stand-in for a byte, as UTF-8. */
static void put_byte(struct cai_buf *b, unsigned char byte) {
    unsigned shifted = 0, code = byte;
    bool plain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    if (!plain) {
        for (unsigned i = 0; i < byte; i++)
            shifted += !((i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174);
        code = 256 + shifted;
    }
    if (code < 0x80) {
        cai_buf_putc(b, (char)code);
    } else {
        cai_buf_putc(b, (char)(0xC0 | (code >> 6)));
        cai_buf_putc(b, (char)(0x80 | (code & 0x3F)));
    }
}

static void add_piece(struct words *w, const char *s, size_t len) {
    cai_buf_clear(&w->piece);
    for (size_t i = 0; i < len; i++)
        put_byte(&w->piece, (unsigned char)s[i]);
    if (!json_object_get(w->vocab, w->piece.data))
        json_object_set_new(w->vocab, w->piece.data,
                            json_integer((json_int_t)json_object_size(w->vocab)));
}

static int class_of(char c) {
    return isalpha((unsigned char)c) ? 1 : isdigit((unsigned char)c) ? 2 : isspace((unsigned char)c) ? 3 : 4;
}

/* Adds the words of an ASCII text without runs of blanks; its first word too when it would
 * stand at the beginning of a turn (capital or sign), all others with their blank. */
static void add_words(void *context, const char *text) {
    struct words *w = context;
    CAI_AUTO(mem) char *spaced = cai_format(" %s", text);
    for (size_t i = 0; spaced[i];) {
        size_t start = i, word = i + (spaced[i] == ' ');
        int class = spaced[word] ? class_of(spaced[word]) : 3;
        if (class == 3)
            break;
        i = word;
        if (strncmp(spaced + i, "'s", 2) == 0)
            i += 2;
        else
            while (spaced[i] && class_of(spaced[i]) == class)
                i++;
        add_piece(w, spaced + start, i - start);
        if (isupper((unsigned char)spaced[word]))
            add_piece(w, spaced + word, i - word);
    }
}

static json_t *vocabulary(void) {
    struct words w = {.vocab = json_object()};
    for (unsigned b = 0; b < 256; b++)
        add_piece(&w, (const char *)&(unsigned char){(unsigned char)b}, 1);
    static const char *const around[] = {"Human: x", "Assistant: x", CLERK_CHOICE_PREFIX " (A) (B)",
                                          CLERK_RED_REQUEST, CLERK_AGAIN, CLERK_WORDS, CLERK_KIND,
                                          "yes no, x", "..."};
    for (size_t i = 0; i < CAI_COUNT(around); i++)
        add_words(&w, around[i]);
    world_texts(add_words, &w);
    reply_texts(add_words, &w);
    principle_texts(add_words, &w);
    cai_buf_free(&w.piece);
    return w.vocab;
}

static json_t *added_token(const char *text, json_int_t id) {
    return json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", id, "content", text,
                     "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1);
}

static json_t *byte_level(int prefix_space) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", prefix_space,
                     "trim_offsets", 1, "use_regex", 1);
}

static int save(const char *dir, const char *name, json_t *o) {
    CAI_AUTO(mem) char *path = cai_path_join(dir, name);
    CAI_AUTO(mem) char *text = json_dumps(o, JSON_INDENT(1));
    json_decref(o);
    return cai_file_write_atomic(path, text, strlen(text));
}

int clerk_tokenizer_write(const char *dir, int64_t *ret_size, int64_t *ret_end, int64_t *ret_pad) {
    json_t *vocab = vocabulary();
    json_int_t end = (json_int_t)json_object_size(vocab), pad = end + 1;
    *ret_end = end;
    *ret_pad = pad;
    /* a multiple of 16: the output layer's rows are then whole vectors */
    *ret_size = (pad + 1 + 15) / 16 * 16;
    json_t *model = json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:o, s:[]}", "type", "BPE",
                              "dropout", "unk_token", "continuing_subword_prefix",
                              "end_of_word_suffix", "fuse_unk", 0, "byte_fallback", 0,
                              "ignore_merges", 1, "vocab", vocab, "merges");
    json_t *tokenizer = json_pack(
        "{s:s, s:n, s:n, s:[o, o], s:n, s:o, s:n, s:o, s:o}", "version", "1.0", "truncation",
        "padding", "added_tokens", added_token(CLERK_END_TOKEN, end),
        added_token(CLERK_PAD_TOKEN, pad), "normalizer", "pre_tokenizer", byte_level(0),
        "post_processor", "decoder", byte_level(0), "model", model);
    CAI_TRY(save(dir, "tokenizer.json", tokenizer));
    CAI_TRY(save(dir, "special_tokens_map.json",
                 json_pack("{s:s, s:s}", "eos_token", CLERK_END_TOKEN, "pad_token",
                           CLERK_PAD_TOKEN)));
    return save(dir, "tokenizer_config.json",
                json_pack("{s:s, s:s, s:s, s:i, s:b}", "tokenizer_class", "PreTrainedTokenizerFast",
                          "eos_token", CLERK_END_TOKEN, "pad_token", CLERK_PAD_TOKEN,
                          "model_max_length", 512, "clean_up_tokenization_spaces", 0));
}
