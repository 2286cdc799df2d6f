/* cuda_plugin.cpp: CUDA behind the table of device_plugin.h: devices, memory, waiting, and
 * recorded graphs. With comm_nccl.c the only code that names CUDA; a module of its own, so
 * that one program serves machines with and without a GPU. Arithmetic needs nothing here:
 * libtorch_cuda, which this links, brings PyTorch's kernels in when the module is opened.
 *
 * A device is unselected → selected. A graph is recorded → forgotten; between them it may be
 * replayed, by the thread that selected the device. All graphs use one pool of memory: they
 * run one after the other, and keep nothing but what their callers hold. */
#include "shim/device_plugin.h"

#include <ATen/Context.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>

extern "C" {
#include "base/error.h"
extern const struct comm_backend cai_comm_nccl; /* comm_nccl.c */
void *cai_cuda_stream(void);                    /* for it: the present cudaStream_t */
}

namespace {

namespace cuda = c10::cuda;
namespace pool = c10::cuda::CUDACachingAllocator;

struct Recorded {
    at::cuda::CUDAGraph graph;
};

/* Inside a catch block only. */
int failed(struct comm_text *why) {
    int code = CAI_EINTERNAL;
    std::string text;
    try {
        throw;
    } catch (const c10::OutOfMemoryError &e) {
        text = e.what_without_backtrace();
        code = CAI_ENOMEM;
    } catch (const c10::Error &e) {
        text = e.what_without_backtrace();
    } catch (const std::exception &e) {
        text = e.what();
    } catch (...) {
        text = "an exception of unknown type";
    }
    snprintf(why->text, sizeof why->text, "%s", text.c_str());
    return code;
}

template <class F> int guarded(struct comm_text *why, F &&f) {
    try {
        return f();
    } catch (...) {
        return failed(why);
    }
}

int count(struct comm_text *why) {
    int n = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);
    if (rc == cudaSuccess && n > 0)
        return n;
    snprintf(why->text, sizeof why->text, "CUDA finds no GPU (%s)",
             rc == cudaSuccess ? "none is visible" : cudaGetErrorString(rc));
    cudaGetLastError(); /* or the next call would be blamed */
    return 0;
}

/* Bits must not depend on chance: cuBLAS with a fixed workspace, and of the attention
 * kernels only those whose backward sums in a fixed order. */
void choose_kernels() {
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
    at::globalContext().setSDPUseMemEfficient(false);
    at::globalContext().setSDPUseCuDNN(false);
    at::globalContext().setAllowTF32CuBLAS(false);
}

int select(int index, struct device_facts *ret, struct comm_text *why) {
    return guarded(why, [&] {
        cudaDeviceProp facts;
        choose_kernels();
        cuda::set_device(static_cast<c10::DeviceIndex>(index));
        at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
        C10_CUDA_CHECK(cudaGetDeviceProperties(&facts, index));
        snprintf(ret->name, sizeof ret->name, "%.*s", static_cast<int>(sizeof ret->name) - 1,
                 facts.name);
        ret->major = facts.major;
        ret->minor = facts.minor;
        return 0;
    });
}

int memory(struct ct_memory *ret, struct comm_text *why) {
    return guarded(why, [&] {
        size_t left = 0, all = 0;
        C10_CUDA_CHECK(cudaMemGetInfo(&left, &all));
        auto stats = pool::getDeviceStats(cuda::current_device());
        ret->free = static_cast<int64_t>(left);
        ret->total = static_cast<int64_t>(all);
        ret->allocated = stats.allocated_bytes[0].current; /* 0: of all pools together */
        ret->reserved = stats.reserved_bytes[0].current;
        ret->peak = stats.allocated_bytes[0].peak;
        ret->refused = stats.num_ooms;
        return 0;
    });
}

int trim(struct comm_text *why) {
    return guarded(why, [&] {
        pool::emptyCache();
        return 0;
    });
}

int sync(struct comm_text *why) {
    return guarded(why, [&] {
        cuda::device_synchronize();
        return 0;
    });
}

/* Recording needs a stream of its own; one for all, so that memory is reused. */
int record(int (*work)(void *context), void *context, void **ret_graph, struct comm_text *why) {
    return guarded(why, [&] {
        static const cuda::CUDAStream side = cuda::getStreamFromPool();
        static const c10::MempoolId_t shared = at::cuda::graph_pool_handle();
        auto recorded = std::make_unique<Recorded>();
        cuda::device_synchronize();
        int rc;
        {
            cuda::CUDAStreamGuard guard(side);
            rc = work(context); /* libraries take their memory now, not while recording */
            cuda::device_synchronize();
            if (rc == 0) {
                recorded->graph.capture_begin(shared, cudaStreamCaptureModeThreadLocal);
                rc = work(context);
                recorded->graph.capture_end();
            }
        }
        cuda::device_synchronize();
        if (rc == 0)
            *ret_graph = recorded.release();
        return rc;
    });
}

int replay(void *graph, struct comm_text *why) {
    return guarded(why, [&] {
        static_cast<Recorded *>(graph)->graph.replay();
        return 0;
    });
}

void forget(void *graph) {
    try {
        delete static_cast<Recorded *>(graph);
    } catch (...) {
        /* a device that is lost takes its graphs along */
    }
}

} // namespace

extern "C" {

void *cai_cuda_stream(void) {
    return cuda::getCurrentCUDAStream().stream();
}

extern __attribute__((visibility("default"))) const struct device_plugin cai_device_plugin;
const struct device_plugin cai_device_plugin = {DEVICE_PLUGIN_ABI, &cai_comm_nccl, count,  select,
                                                memory,            trim,           sync,   record,
                                                replay,            forget};
}
