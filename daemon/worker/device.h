/* device.h: the real engine of a worker: libtorch, the collectives of a gang, and the
 * table of task functions. */
#ifndef CAI_WORKER_DEVICE_H
#define CAI_WORKER_DEVICE_H

#include "worker/loop.h"

extern const struct loop_engine worker_device;

#endif
