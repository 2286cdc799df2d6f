/* comm_nccl: the NCCL backend's own doing, with NCCL and CUDA played by this file, for what no
 * test machine can be made to do: setup that takes its time, an error that arrives later, a
 * peer that never comes, an end that hangs. Whether NCCL does what it promises is for
 * tests/device, on a GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "shim/comm_backend.h"
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const struct comm_backend cai_comm_nccl;

/* ---- the play ---------------------------------------------------------------------------- */

enum { NEVER = 1 << 30, EVENTS = 64 };

static struct {
    /* What shall happen. */
    int init_polls;            /* "in progress" so often before a communicator is there */
    int send_polls;            /* the same after a group */
    int device_polls;          /* the event is not ready so often */
    ncclResult_t init, group;  /* what these return themselves */
    ncclResult_t later;        /* the state that follows "in progress" */
    ncclResult_t finalize;
    cudaError_t copy;
    ncclResult_t abort;
    /* What happened. */
    int polls_left, device_left, aborted, destroyed, finalized, inits, ids;
    int sends[EVENTS], recvs[EVENTS], n_sends, n_recvs;
    size_t send_len[EVENTS], recv_len[EVENTS];
    int blocking, copies_in, copies_out, freed, allocated;
    char interface[64], id_used[NCCL_UNIQUE_ID_BYTES];
    bool in_group, outside_group;
} play;

static struct ncclComm *const the_comm = (void *)&play;

ncclResult_t ncclGetVersion(int *version) {
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    memset(id, 'a' + play.ids++, sizeof *id);
    return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int n, ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
    (void)n, (void)rank;
    play.inits++;
    play.blocking = config->blocking;
    snprintf(play.interface, sizeof play.interface, "%s", getenv("NCCL_SOCKET_IFNAME"));
    memcpy(play.id_used, id.internal, sizeof play.id_used);
    play.polls_left = play.init_polls;
    *comm = the_comm;
    return play.init;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state) {
    assert_ptr_equal(comm, the_comm);
    *state = play.polls_left > 0 ? ncclInProgress : play.later;
    play.polls_left -= play.polls_left > 0;
    return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
    assert_ptr_equal(comm, the_comm);
    play.aborted++;
    return play.abort;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    assert_ptr_equal(comm, the_comm);
    play.destroyed++;
    return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    assert_ptr_equal(comm, the_comm);
    play.finalized++;
    play.polls_left = 0;
    return play.finalize;
}
const char *ncclGetErrorString(ncclResult_t rc) {
    return rc == ncclRemoteError ? "remote process exited" : "played error";
}
const char *ncclGetLastError(ncclComm_t comm) {
    (void)comm;
    return "its last words";
}
ncclResult_t ncclGroupStart(void);
ncclResult_t ncclGroupStart(void) {
    play.in_group = true;
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd(void);
ncclResult_t ncclGroupEnd(void) {
    play.in_group = false;
    play.polls_left = play.send_polls;
    play.device_left = play.device_polls;
    return play.group;
}
ncclResult_t ncclSend(const void *from, size_t n, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    (void)from, (void)comm, (void)stream;
    assert_int_equal(type, ncclInt8);
    play.outside_group |= !play.in_group;
    play.send_len[play.n_sends] = n;
    play.sends[play.n_sends++] = peer;
    return ncclSuccess;
}
ncclResult_t ncclRecv(void *to, size_t n, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    (void)comm, (void)stream, (void)type;
    memset(to, 'r', n); /* what every peer sends */
    play.outside_group |= !play.in_group;
    play.recv_len[play.n_recvs] = n;
    play.recvs[play.n_recvs++] = peer;
    return ncclSuccess;
}

/* Device memory is host memory here. */
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    assert_int_equal(flags, cudaEventDisableTiming);
    *event = (cudaEvent_t)(void *)&play;
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
    return play.device_left-- > 0 ? cudaErrorNotReady : cudaSuccess;
}
cudaError_t cudaMalloc(void **memory, size_t size) {
    play.allocated++;
    *memory = malloc(size);
    return cudaSuccess;
}
cudaError_t cudaFree(void *memory) {
    play.freed++;
    free(memory);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    (void)stream;
    play.copies_in += kind == cudaMemcpyHostToDevice;
    play.copies_out += kind == cudaMemcpyDeviceToHost;
    memcpy(to, from, n);
    return play.copy;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    (void)stream;
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t rc) {
    (void)rc;
    return "played CUDA error";
}
void *cai_cuda_stream(void);
void *cai_cuda_stream(void) {
    return NULL;
}

/* ---- helpers --------------------------------------------------------------------------------- */

static char folder[64];
static struct comm_text why;

static int begin(void **state) {
    (void)state;
    memset(&play, 0, sizeof play);
    memset(&why, 0, sizeof why);
    snprintf(folder, sizeof folder, "/tmp/nccl-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state) {
    (void)state;
    return cai_dir_remove(folder);
}

static struct comm_options options(int rank, int world) {
    return (struct comm_options){.backend = "nccl", .rank = rank, .world = world,
                                 .rendezvous = folder, .timeout_ms = 200};
}

static void *opened(int rank, int world) {
    struct comm_options o = options(rank, world);
    void *gang = NULL;
    if (rank > 0) { /* as rank 0 would have left it */
        char path[128];
        snprintf(path, sizeof path, "%s/nccl-id", folder);
        char id[NCCL_UNIQUE_ID_BYTES];
        memset(id, 'z', sizeof id);
        assert_int_equal(cai_file_write_atomic(path, id, sizeof id), 0);
    }
    if (cai_comm_nccl.open(&o, &gang, &why) < 0)
        fail_msg("%s", why.text);
    return gang;
}

static int to_all(void *gang, int rank, bool device, char *in) {
    static const char out[4] = "abc";
    const void *send[3] = {out, out, out};
    void *recv[3] = {in, in + 4, in + 8};
    size_t send_len[3] = {4, 4, 4}, recv_len[3] = {4, 4, 4};
    (void)rank;
    return (device ? cai_comm_nccl.exchange_device : cai_comm_nccl.exchange)(
        gang, 0, send, send_len, recv, recv_len, 200, &why);
}

/* ---- what is shown --------------------------------------------------------------------------- */

static void rank_0_leaves_its_id(void **state) {
    char path[128], id[NCCL_UNIQUE_ID_BYTES];
    CAI_AUTO(buf) struct cai_buf found = {0};
    (void)state;
    play.init = ncclInProgress;
    play.init_polls = 5;
    void *gang = opened(0, 3);
    snprintf(path, sizeof path, "%s/nccl-id", folder);
    assert_int_equal(cai_file_read(path, 4096, &found), 0);
    memset(id, 'a', sizeof id);
    assert_int_equal(found.len, sizeof id);
    assert_memory_equal(found.data, id, sizeof id);
    assert_memory_equal(play.id_used, id, sizeof id);
    assert_int_equal(play.blocking, 0);
    assert_int_equal(play.polls_left, 0); /* waited for the background work */
    assert_string_equal(play.interface, "=lo");
    cai_comm_nccl.close(gang);
    assert_int_equal(play.finalized, 1);
    assert_int_equal(play.destroyed, 1);
    assert_int_equal(play.aborted, 0);
}

static void others_take_it(void **state) {
    char id[NCCL_UNIQUE_ID_BYTES];
    (void)state;
    void *gang = opened(2, 3);
    memset(id, 'z', sizeof id);
    assert_memory_equal(play.id_used, id, sizeof id);
    cai_comm_nccl.close(gang);
}

static void the_interface_is_the_named_one(void **state) {
    struct comm_options o = options(0, 1);
    void *gang = NULL;
    (void)state;
    o.interface = "ib0";
    assert_int_equal(cai_comm_nccl.open(&o, &gang, &why), 0);
    assert_string_equal(play.interface, "=ib0");
    cai_comm_nccl.close(gang);
}

static void a_rank_0_that_never_comes_is_named(void **state) {
    struct comm_options o = options(1, 2);
    void *gang = NULL;
    (void)state;
    assert_int_equal(cai_comm_nccl.open(&o, &gang, &why), CAI_ETIMEOUT);
    assert_null(gang);
    assert_non_null(strstr(why.text, "rank 0 is late"));
    assert_int_equal(play.inits, 0);
}

static void setup_that_does_not_end_is_aborted(void **state) {
    struct comm_options o = options(0, 2);
    void *gang = NULL;
    (void)state;
    play.init = ncclInProgress;
    play.init_polls = NEVER;
    assert_int_equal(cai_comm_nccl.open(&o, &gang, &why), CAI_ETIMEOUT);
    assert_null(gang);
    assert_int_equal(play.aborted, 1);
    assert_int_equal(play.destroyed, 0);
}

static void setup_that_fails_later_says_why(void **state) {
    struct comm_options o = options(0, 2);
    void *gang = NULL;
    (void)state;
    play.init = ncclInProgress;
    play.init_polls = 3;
    play.later = ncclRemoteError;
    assert_int_equal(cai_comm_nccl.open(&o, &gang, &why), CAI_EIO);
    assert_non_null(strstr(why.text, "remote process exited"));
    assert_non_null(strstr(why.text, "its last words"));
    assert_int_equal(play.aborted, 1);
}

static void everyone_but_oneself_is_served_in_one_group(void **state) {
    char in[12] = "-----------";
    (void)state;
    void *gang = opened(1, 3);
    play.group = ncclInProgress;
    play.send_polls = 4;
    play.device_polls = 4;
    if (to_all(gang, 1, true, in) < 0)
        fail_msg("%s", why.text);
    assert_int_equal(play.n_sends, 2);
    assert_int_equal(play.n_recvs, 2);
    assert_int_equal(play.sends[0], 0);
    assert_int_equal(play.sends[1], 2);
    assert_int_equal(play.recvs[0], 0);
    assert_int_equal(play.recvs[1], 2);
    assert_false(play.outside_group);
    assert_memory_equal(in, "rrrr----rrrr", 12);
    assert_int_equal(play.copies_in + play.copies_out, 0);
    assert_true(play.device_left < 0); /* waited for the device, too */
    cai_comm_nccl.close(gang);
}

static void nothing_is_posted_for_nothing(void **state) {
    size_t none[2] = {0, 0};
    const void *send[2] = {NULL, NULL};
    void *recv[2] = {NULL, NULL};
    (void)state;
    void *gang = opened(0, 2);
    assert_int_equal(cai_comm_nccl.exchange_device(gang, 0, send, none, recv, none, 200, &why), 0);
    assert_int_equal(play.n_sends + play.n_recvs, 0);
    cai_comm_nccl.close(gang);
}

static void host_memory_goes_through_the_device(void **state) {
    char in[12] = "-----------";
    (void)state;
    void *gang = opened(0, 3);
    for (int again = 0; again < 2; again++)
        if (to_all(gang, 0, false, in) < 0)
            fail_msg("%s", why.text);
    assert_memory_equal(in, "----rrrrrrrr", 12);
    assert_int_equal(play.copies_in, 4);
    assert_int_equal(play.copies_out, 4);
    assert_int_equal(play.allocated, 1); /* kept between exchanges */
    cai_comm_nccl.close(gang);
    assert_int_equal(play.freed, 1);
}

static void a_late_peer_costs_the_deadline_and_the_gang(void **state) {
    char in[12];
    (void)state;
    void *gang = opened(0, 3);
    play.device_polls = NEVER;
    assert_int_equal(to_all(gang, 0, true, in), CAI_ETIMEOUT);
    assert_non_null(strstr(why.text, "exchanging: rank 1, rank 2 are late"));
    assert_int_equal(play.aborted, 1);
    assert_int_equal(to_all(gang, 0, true, in), CAI_ESTATE); /* no second word with it */
    cai_comm_nccl.close(gang);
    assert_int_equal(play.aborted, 1);
    assert_int_equal(play.finalized, 0);
}

/* Rank 1 has waited in the same exchange; rank 2 was last seen waiting in the one before. */
static void the_one_that_does_not_wait_is_late(void **state) {
    static const char *const said[] = {"0000000000000001", "0000000000000000"};
    char in[12], path[128];
    (void)state;
    void *gang = opened(0, 3);
    for (int r = 1; r <= 2; r++) {
        snprintf(path, sizeof path, "%s/waits-%d", folder, r);
        assert_int_equal(cai_file_write_atomic(path, said[r - 1], 16), 0);
    }
    play.device_polls = NEVER;
    assert_int_equal(to_all(gang, 0, true, in), CAI_ETIMEOUT);
    assert_non_null(strstr(why.text, "exchanging: rank 2 is late"));
    snprintf(path, sizeof path, "%s/waits-0", folder);
    CAI_AUTO(buf) struct cai_buf own = {0};
    assert_int_equal(cai_file_read(path, 100, &own), 0);
    assert_string_equal(own.data, said[0]); /* and this rank said that it waits */
    cai_comm_nccl.close(gang);
}

static void an_abort_that_fails_is_told(void **state) {
    char in[12];
    (void)state;
    void *gang = opened(0, 3);
    play.send_polls = 2;
    play.later = ncclRemoteError;
    play.abort = ncclSystemError;
    assert_int_equal(to_all(gang, 0, true, in), CAI_EINTERNAL);
    assert_non_null(strstr(why.text, "remote process exited"));
    assert_non_null(strstr(why.text, "the communicator cannot be ended: played error"));
    cai_comm_nccl.close(gang);
    assert_int_equal(play.aborted, 1);
}

static void an_interrupt_ends_what_waits(void **state) {
    char in[12];
    (void)state;
    void *gang = opened(0, 3);
    play.device_polls = NEVER;
    cai_comm_nccl.interrupt(gang);
    assert_int_equal(to_all(gang, 0, true, in), CAI_ESTATE);
    assert_non_null(strstr(why.text, "told to stop"));
    assert_int_equal(play.aborted, 1);
    cai_comm_nccl.close(gang);
}

static void a_lost_peer_is_an_error(void **state) {
    char in[12];
    (void)state;
    void *gang = opened(0, 3);
    play.send_polls = 2;
    play.later = ncclRemoteError;
    assert_int_equal(to_all(gang, 0, true, in), CAI_EIO);
    assert_non_null(strstr(why.text, "remote process exited"));
    assert_int_equal(play.aborted, 1);
    cai_comm_nccl.close(gang);
}

static void a_group_that_fails_at_once_is_aborted(void **state) {
    char in[12];
    (void)state;
    void *gang = opened(0, 3);
    play.group = ncclSystemError;
    assert_int_equal(to_all(gang, 0, true, in), CAI_EIO);
    assert_int_equal(play.aborted, 1);
    cai_comm_nccl.close(gang);
}

static void an_end_that_fails_is_aborted(void **state) {
    (void)state;
    void *gang = opened(0, 2);
    play.finalize = ncclSystemError;
    cai_comm_nccl.close(gang);
    assert_int_equal(play.destroyed, 0);
    assert_int_equal(play.aborted, 1);
}

static void each_gang_has_an_id_of_its_own(void **state) {
    char first[NCCL_UNIQUE_ID_BYTES];
    (void)state;
    cai_comm_nccl.close(opened(0, 2));
    memcpy(first, play.id_used, sizeof first);
    cai_comm_nccl.close(opened(0, 2));
    assert_memory_not_equal(first, play.id_used, sizeof first);
    assert_int_equal(play.inits, 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(rank_0_leaves_its_id),
        CASE(others_take_it),
        CASE(the_interface_is_the_named_one),
        CASE(a_rank_0_that_never_comes_is_named),
        CASE(setup_that_does_not_end_is_aborted),
        CASE(setup_that_fails_later_says_why),
        CASE(everyone_but_oneself_is_served_in_one_group),
        CASE(nothing_is_posted_for_nothing),
        CASE(host_memory_goes_through_the_device),
        CASE(a_late_peer_costs_the_deadline_and_the_gang),
        CASE(the_one_that_does_not_wait_is_late),
        CASE(an_abort_that_fails_is_told),
        CASE(an_interrupt_ends_what_waits),
        CASE(a_lost_peer_is_an_error),
        CASE(a_group_that_fails_at_once_is_aborted),
        CASE(an_end_that_fails_is_aborted),
        CASE(each_gang_has_an_id_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
