/* team.cpp: see team.hpp. libtorch's own threads (OpenMP) divide work in equal parts and
 * meet at a barrier, so that a thread that the system has taken away holds up all; and they
 * wait for their next part by spinning for milliseconds. A decoding step has dozens of parts
 * of some ten microseconds. Here pieces are claimed one by one: whoever runs takes the next,
 * and a helper that is asleep or elsewhere costs nothing.
 *
 * A helper is   claiming → spinning (some 0.1 ms) → asleep → claiming.
 * The ticket is  round (24 bits) | pieces (20) | next piece (20),  so that one compare and
 * swap claims a piece of this round and of no other. A claimed piece keeps its round alive:
 * the task is read after the claim only. */
#include "team.hpp"

#include <atomic>
#include <exception>
#include <mutex>
#include <pthread.h>
#include <thread>

namespace shim {

namespace {

constexpr int SPINS = 4000;
constexpr uint32_t FIELD = (1u << 20) - 1;

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

thread_local bool inside = false; /* a piece: what it calls runs on its thread */

struct Team {
    std::mutex busy; /* held for a round */
    int helpers = 0;
    void (*task)(void *context, uint32_t i) = nullptr;
    void *context = nullptr;
    std::exception_ptr failure;
    std::mutex failing;
    alignas(64) std::atomic<uint64_t> ticket{0};
    alignas(64) std::atomic<uint32_t> done{0};
    alignas(64) std::atomic<uint32_t> rounds{0}; /* what sleepers watch */

    void run_one(uint32_t i) {
        try {
            task(context, i);
        } catch (...) {
            std::lock_guard<std::mutex> hold(failing);
            if (!failure)
                failure = std::current_exception();
        }
    }

    /* Claims and runs pieces until none is left. */
    void work() {
        uint64_t t = ticket.load(std::memory_order_acquire);
        while ((t & FIELD) < (t >> 20 & FIELD)) {
            if (!ticket.compare_exchange_weak(t, t + 1, std::memory_order_acq_rel))
                continue;
            uint32_t pieces = t >> 20 & FIELD;
            run_one(static_cast<uint32_t>(t & FIELD));
            if (done.fetch_add(1, std::memory_order_acq_rel) + 1 == pieces)
                done.notify_all();
            t = ticket.load(std::memory_order_acquire);
        }
    }

    void help() {
        inside = true;
        for (;;) {
            uint32_t seen = rounds.load(std::memory_order_acquire);
            work();
            int spins = 0;
            while (rounds.load(std::memory_order_acquire) == seen && spins < SPINS) {
                relax();
                spins++;
            }
            rounds.wait(seen, std::memory_order_acquire);
        }
    }

    void grow(int wanted) {
        for (; helpers < wanted; helpers++) {
            std::thread t([this] { help(); });
            pthread_setname_np(t.native_handle(), "caid-compute");
            t.detach();
        }
    }

    void run(uint32_t n) {
        done.store(0, std::memory_order_relaxed);
        uint64_t round = rounds.load(std::memory_order_relaxed) + 1;
        ticket.store(round << 40 | uint64_t{n} << 20, std::memory_order_release);
        rounds.fetch_add(1, std::memory_order_release);
        rounds.notify_all();
        work();
        int spins = 0;
        for (uint32_t d; (d = done.load(std::memory_order_acquire)) < n;)
            if (spins++ < SPINS)
                relax();
            else
                done.wait(d, std::memory_order_acquire);
    }
};

/* Never destroyed: its helpers outlive main(). */
Team &team() {
    static Team *t = new Team;
    return *t;
}

} // namespace

void team_run(int threads, uint32_t n, void (*task)(void *context, uint32_t i), void *context) {
    std::unique_lock<std::mutex> mine(team().busy, std::defer_lock);
    if (inside || threads < 2 || n < 2 || n > FIELD || !mine.try_lock()) {
        for (uint32_t i = 0; i < n; i++)
            task(context, i);
        return;
    }
    Team &t = team();
    t.grow(threads - 1);
    t.task = task;
    t.context = context;
    t.failure = nullptr;
    inside = true;
    t.run(n);
    inside = false;
    if (t.failure)
        std::rethrow_exception(t.failure);
}

/* ---- crew --------------------------------------------------------------------------------- */

/* libgomp's own entry, as gcc calls it: at::parallel_for is a template that runs on one thread
 * where it is compiled without OpenMP, and clang's OpenMP would be a second set of threads. */
extern "C" void GOMP_parallel(void (*task)(void *), void *context, unsigned threads,
                              unsigned flags);

namespace {

struct Crew {
    uint32_t n;
    void (*task)(void *context, uint32_t i);
    void *context;
    std::atomic<uint32_t> next{0};
    std::exception_ptr failure;
    std::mutex failing;
};

void claim(void *context) {
    Crew *c = static_cast<Crew *>(context);
    for (uint32_t i; (i = c->next.fetch_add(1, std::memory_order_relaxed)) < c->n;) {
        try {
            c->task(c->context, i);
        } catch (...) {
            std::lock_guard<std::mutex> hold(c->failing);
            if (!c->failure)
                c->failure = std::current_exception();
        }
    }
}

} // namespace

void crew_run(int threads, uint32_t n, void (*task)(void *context, uint32_t i), void *context) {
    Crew c;
    c.n = n;
    c.task = task;
    c.context = context;
    if (inside || threads < 2 || n < 2 || at::in_parallel_region())
        claim(&c);
    else
        GOMP_parallel(claim, &c, static_cast<unsigned>(threads), 0);
    if (c.failure)
        std::rethrow_exception(c.failure);
}

} // namespace shim
