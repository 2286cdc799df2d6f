/* team.hpp: threads for our own kernels: the short pieces of work that generation is made of
 * (team), and the long ones of training (crew). Which thread does which piece is open, what a
 * piece computes is not. Private to the shim. */
#ifndef CAI_SHIM_TEAM_HPP
#define CAI_SHIM_TEAM_HPP

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>

namespace shim {

/* task(context, i) for i in [0, n), on this thread and on helpers, of which there are
 * `threads` - 1 at least; returns when all are done. Throws what the first failing task threw. From inside a task,
 * and while another thread is at it, everything runs on the caller. */
void team_run(int threads, uint32_t n, void (*task)(void *context, uint32_t i), void *context);

/* The same on the threads that libtorch's own operations run on (OpenMP's), which between two of
 * these spin: a helper of the team would find no processor free beside them. */
void crew_run(int threads, uint32_t n, void (*task)(void *context, uint32_t i), void *context);

using run_pieces = void (*)(int threads, uint32_t n, void (*task)(void *context, uint32_t i),
                            void *context);

/* f(begin, end) over [0, n) in pieces of at least `grain`, four to a thread at most: so a thread
 * that the system takes away for a while holds up little. */
template <class F> void in_pieces(run_pieces run, int64_t n, int64_t grain, F &&f) {
    int threads = at::get_num_threads();
    int64_t most = (n + grain - 1) / std::max<int64_t>(1, grain);
    int64_t pieces = std::min<int64_t>(most, int64_t{4} * threads);
    if (threads < 2 || pieces < 2) {
        if (n > 0)
            f(int64_t{0}, n);
        return;
    }
    struct Work {
        F &f;
        int64_t n, pieces;
    } work = {f, n, pieces};
    run(
        threads, static_cast<uint32_t>(pieces),
        [](void *context, uint32_t i) {
            Work *w = static_cast<Work *>(context);
            w->f(w->n * i / w->pieces, w->n * (i + 1) / w->pieces);
        },
        &work);
}

template <class F> void team_parallel(int64_t n, int64_t grain, F &&f) {
    in_pieces(team_run, n, grain, f);
}

template <class F> void crew_parallel(int64_t n, int64_t grain, F &&f) {
    in_pieces(crew_run, n, grain, f);
}

} // namespace shim

#endif
