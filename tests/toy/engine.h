/* engine.h: the toy engine, for the toy worker and for the simulation. */
#ifndef TOY_ENGINE_H
#define TOY_ENGINE_H

#include "worker/loop.h"
#include <stdatomic.h>

extern const struct loop_engine toy_engine;

/* How far the running task is, for the control thread: a meeting of ranks is a collective. One
 * for each worker; the program that links the engine keeps it. */
struct toy_place {
    _Atomic uint64_t entered;
    _Atomic bool inside;
    _Atomic int64_t since_ms; /* when it came in */
};
struct toy_place *toy_place(void);

#endif
