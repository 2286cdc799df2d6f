/* team.hpp: threads for the short pieces of work that generation is made of. Which thread
 * does which piece is open, what a piece computes is not. Private to the shim. */
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

/* f(begin, end) over [0, n) in pieces of at least `grain`. */
template <class F> void team_parallel(int64_t n, int64_t grain, F &&f) {
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
    team_run(
        threads, static_cast<uint32_t>(pieces),
        [](void *context, uint32_t i) {
            Work *w = static_cast<Work *>(context);
            w->f(w->n * i / w->pieces, w->n * (i + 1) / w->pieces);
        },
        &work);
}

} // namespace shim

#endif
