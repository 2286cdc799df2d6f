/* cudart.c: what shim/comm_nccl.c asks of CUDA's runtime, for tests: a device whose memory is the
 * host's and whose work is what nccl.c has on its way. In the plug-in itself, because libtorch
 * has loaded the real one. */
#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

bool standin_busy(void); /* nccl.c */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    static int one;
    (void)flags;
    *event = (cudaEvent_t)(void *)&one;
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    (void)event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    (void)event, (void)stream;
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    (void)event;
    return standin_busy() ? cudaErrorNotReady : cudaSuccess;
}
cudaError_t cudaMalloc(void **memory, size_t size) {
    *memory = malloc(size);
    return *memory ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *memory) {
    free(memory);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    (void)kind, (void)stream;
    memcpy(to, from, n);
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    (void)stream;
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t rc) {
    (void)rc;
    return "an error of the stand-in";
}
