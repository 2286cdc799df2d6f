/* share: two people get equal worker time from one queue, whatever their tasks take; used time
 * fades alike for all; the order of turns is total and depends on what is stored alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "run/share.h"
#include <math.h>
#include <stdlib.h>

enum { HOUR_MS = 3600000 };

static void time_fades_by_half(void **state) {
    (void)state;
    struct shares s = {.half_life_ms = HOUR_MS};
    struct share *a = share_of(&s, 1000);
    share_add(&s, a, 100, 0);
    assert_true(fabs(share_used(&s, a, HOUR_MS) - 50) < 1e-9);
    share_add(&s, a, 10, HOUR_MS);
    assert_true(fabs(share_used(&s, a, HOUR_MS) - 60) < 1e-9);
    a->held = 5;
    assert_true(fabs(share_used(&s, a, 2 * HOUR_MS) - 35) < 1e-9);
    /* A clock that goes back neither fades nor wakes anything. */
    assert_true(fabs(share_used(&s, a, 0) - 65) < 1e-9);
    share_add(&s, a, 1, 0);
    assert_true(a->wall_ms == HOUR_MS && fabs(a->seconds - 61) < 1e-9);
    shares_free(&s);
}

static void waiting_changes_no_order(void **state) {
    (void)state;
    struct shares s = {.half_life_ms = HOUR_MS};
    share_add(&s, share_of(&s, 1), 100, 0);
    share_add(&s, share_of(&s, 2), 60, HOUR_MS / 2);
    for (int64_t t = HOUR_MS / 2; t < 40 * (int64_t)HOUR_MS; t += HOUR_MS / 7)
        assert_true(share_used(&s, share_of(&s, 2), t) < share_used(&s, share_of(&s, 1), t));
    shares_free(&s);
}

static void people_are_kept_by_uid(void **state) {
    (void)state;
    struct shares s = {.half_life_ms = HOUR_MS};
    for (int64_t i = 0; i < 50; i++)
        share_add(&s, share_of(&s, i * 37 % 50), (double)(i * 37 % 50), 0);
    assert_int_equal(s.n, 50);
    for (size_t i = 0; i < s.n; i++)
        assert_true(s.all[i].uid == (int64_t)i && s.all[i].seconds == (double)i);
    shares_free(&s);
}

static void the_order_is_total(void **state) {
    (void)state;
    struct share_turn t[64];
    unsigned seed = 7;
    for (size_t i = 0; i < CAI_COUNT(t); i++) {
        seed = seed * 1103515245 + 12345;
        int64_t uid = seed >> 16 & 3;
        t[i] = (struct share_turn){.used = (double)(uid / 2), .uid = uid,
                                   .priority = (int64_t)(seed >> 20 & 3) - 1, .id = (int64_t)i};
    }
    for (size_t a = 0; a < CAI_COUNT(t); a++)
        for (size_t b = 0; b < CAI_COUNT(t); b++) {
            assert_true(a == b || share_before(&t[a], &t[b]) != share_before(&t[b], &t[a]));
            for (size_t c = 0; c < CAI_COUNT(t); c++)
                if (share_before(&t[a], &t[b]) && share_before(&t[b], &t[c]))
                    assert_true(share_before(&t[a], &t[c]));
        }
    struct share_turn low = {5, 1, -3, 1}, high = {5, 1, 9, 2}, other = {4, 2, -100, 3};
    assert_true(share_before(&high, &low) && share_before(&other, &high));
}

/* Workers that each take the next task of whoever's turn it is, for a day. */
struct day {
    int64_t uid[3];
    double task_s[3], used[3];
    int from_s[3]; /* when the person's job came */
    int people, workers;
};
static void live(struct day *d, int seconds) {
    struct shares s = {.half_life_ms = 2 * HOUR_MS};
    struct { int who; double until; } worker[8];
    for (int w = 0; w < d->workers; w++)
        worker[w].who = -1;
    for (int now = 0; now < seconds; now++)
        for (int w = 0; w < d->workers; w++) {
            if (worker[w].who >= 0) {
                int who = worker[w].who;
                share_add(&s, share_of(&s, d->uid[who]), 1, 1000 * (int64_t)now);
                d->used[who] += 1;
                if (now < worker[w].until)
                    continue;
            }
            for (size_t i = 0; i < s.n; i++)
                s.all[i].held = 0;
            for (int v = 0; v < d->workers; v++)
                if (v != w && worker[v].who >= 0)
                    share_of(&s, d->uid[worker[v].who])->held += 1;
            int best = -1;
            struct share_turn first = {0};
            for (int p = 0; p < d->people; p++) {
                struct share_turn turn = {share_used(&s, share_of(&s, d->uid[p]),
                                                     1000 * (int64_t)now), d->uid[p], 0, p};
                if (now < d->from_s[p] || (best >= 0 && !share_before(&turn, &first)))
                    continue;
                best = p;
                first = turn;
            }
            worker[w].who = best;
            worker[w].until = now + (best >= 0 ? d->task_s[best] : 0);
        }
    shares_free(&s);
}

static void two_people_share_within_ten_percent(void **state) {
    (void)state;
    static const double lengths[][2] = {{5, 5}, {1, 60}, {120, 7}, {600, 30}};
    for (size_t i = 0; i < CAI_COUNT(lengths); i++)
        for (int workers = 1; workers <= 8; workers *= 2) {
            struct day d = {.uid = {1000, 1001}, .task_s = {lengths[i][0], lengths[i][1]},
                            .people = 2, .workers = workers};
            live(&d, 6 * 3600);
            double half = (d.used[0] + d.used[1]) / 2;
            assert_true(fabs(d.used[0] - half) <= 0.1 * half);
        }
}

/* Who comes later is served first, until both have as much; nobody starves for longer than the
 * half-life. */
static void a_late_comer_catches_up(void **state) {
    (void)state;
    struct day d = {.uid = {1000, 1001}, .task_s = {10, 10}, .from_s = {0, 12 * 3600},
                    .people = 2, .workers = 4};
    live(&d, 12 * 3600);
    double alone = d.used[0];
    assert_true(alone > 0.99 * 4 * 12 * 3600 && d.used[1] == 0);
    d.used[0] = 0;
    live(&d, 15 * 3600);
    double after = d.used[0] - alone;
    assert_true(after < 0.25 * 4 * 3 * 3600 && after > 0.1 * 4 * 3 * 3600);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_fades_by_half),
        cmocka_unit_test(waiting_changes_no_order),
        cmocka_unit_test(people_are_kept_by_uid),
        cmocka_unit_test(the_order_is_total),
        cmocka_unit_test(two_people_share_within_ten_percent),
        cmocka_unit_test(a_late_comer_catches_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
