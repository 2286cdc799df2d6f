/* comm_gloo.cpp: the exchange of comm_backend.h over Gloo's TCP transport: a plug-in of
 * its own, because libtorch exports another Gloo; it is opened with RTLD_LOCAL and
 * RTLD_DEEPBIND and links nothing of ours. Not for reductions (comm.c sums).
 *
 * States: meshed (open returned) → broken (an exchange failed; only close is left). */
#include "shim/comm_backend.h"

#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <vector>

extern "C" {
#include "base/error.h"
}

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr const char *INTERRUPTED = "interrupted";

using Buffers = std::vector<std::unique_ptr<gloo::transport::UnboundBuffer>>;

struct State {
    std::shared_ptr<gloo::rendezvous::Context> context;
    std::mutex lock; /* of what follows */
    bool interrupted = false;
    const Buffers *in = nullptr, *out = nullptr; /* of the exchange under way */
};

/* What an interrupt must reach, for as long as an exchange lasts. */
struct UnderWay {
    State &state;
    UnderWay(State &s, const Buffers &in, const Buffers &out) : state(s) {
        std::lock_guard<std::mutex> hold(s.lock);
        s.in = &in;
        s.out = &out;
        if (s.interrupted)
            throw std::runtime_error(INTERRUPTED);
    }
    ~UnderWay() {
        std::lock_guard<std::mutex> hold(state.lock);
        state.in = state.out = nullptr;
    }
};

/* Inside a catch block only. `peer` is who was waited for, or -1. */
int failed(struct comm_text *why, const char *doing, int peer) {
    std::string text;
    try {
        throw;
    } catch (const std::exception &e) {
        text = e.what();
    } catch (...) {
        text = "an exception of unknown type";
    }
    if (text == INTERRUPTED) {
        snprintf(why->text, sizeof why->text, "%s: told to stop", doing);
        return CAI_ESTATE;
    }
    bool late = text.find("imed out") != std::string::npos ||
                text.find("imeout") != std::string::npos;
    char who[32] = "a peer";
    if (peer >= 0)
        snprintf(who, sizeof who, "rank %d", peer);
    snprintf(why->text, sizeof why->text, "%s: %s %s (%s)", doing, who,
             late ? "is late" : "was lost", text.c_str());
    return late ? CAI_ETIMEOUT : CAI_EIO;
}

Milliseconds left(Clock::time_point deadline) {
    auto rest = std::chrono::duration_cast<Milliseconds>(deadline - Clock::now());
    return std::max(rest, Milliseconds(1));
}

int open_mesh(const struct comm_options *o, void **ret_state, struct comm_text *why) {
    *ret_state = nullptr;
    try {
        /* Gloo writes to sockets without MSG_NOSIGNAL: a dead peer must be an error here,
         * not the end of the process. */
        struct sigaction now;
        if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL)
            signal(SIGPIPE, SIG_IGN);
        gloo::transport::tcp::attr attr;
        attr.iface = o->interface && *o->interface ? o->interface : "lo";
        auto device = gloo::transport::tcp::CreateDevice(attr);
        auto state = std::make_unique<State>();
        gloo::rendezvous::FileStore store(o->rendezvous);
        state->context = std::make_shared<gloo::rendezvous::Context>(o->rank, o->world);
        state->context->setTimeout(Milliseconds(o->timeout_ms));
        state->context->connectFullMesh(store, device);
        *ret_state = state.release();
        return 0;
    } catch (...) {
        return failed(why, "meeting the other ranks", -1);
    }
}

void close_mesh(void *state) {
    try {
        delete static_cast<State *>(state);
    } catch (...) {
        /* a broken mesh has nothing left to say */
    }
}

int exchange(void *state, uint64_t number, const void *const *send, const size_t *send_len,
             void *const *recv, const size_t *recv_len, int timeout_ms, struct comm_text *why) {
    int peer = -1;
    try {
        auto &context = static_cast<State *>(state)->context;
        auto deadline = Clock::now() + Milliseconds(timeout_ms);
        Buffers in(static_cast<size_t>(context->size)), out(static_cast<size_t>(context->size));
        for (int r = 0; r < context->size; r++) {
            size_t i = static_cast<size_t>(r);
            if (r == context->rank)
                continue;
            if (recv_len[i]) {
                in[i] = context->createUnboundBuffer(recv[i], recv_len[i]);
                in[i]->recv(r, number);
            }
            if (send_len[i]) {
                out[i] = context->createUnboundBuffer(const_cast<void *>(send[i]), send_len[i]);
                out[i]->send(r, number);
            }
        }
        UnderWay mark(*static_cast<State *>(state), in, out);
        for (int r = 0; r < context->size; r++) {
            peer = r;
            auto &from = in[static_cast<size_t>(r)], &to = out[static_cast<size_t>(r)];
            if ((from && !from->waitRecv(left(deadline))) || (to && !to->waitSend(left(deadline))))
                throw std::runtime_error(INTERRUPTED);
        }
        return 0;
    } catch (...) {
        return failed(why, "exchanging", peer);
    }
}

void interrupt(void *state) {
    auto *s = static_cast<State *>(state);
    std::lock_guard<std::mutex> hold(s->lock);
    s->interrupted = true;
    for (size_t i = 0; s->in && i < s->in->size(); i++) {
        if ((*s->in)[i])
            (*s->in)[i]->abortWaitRecv();
        if ((*s->out)[i])
            (*s->out)[i]->abortWaitSend();
    }
}

} // namespace

extern "C" __attribute__((visibility("default"))) const struct comm_backend cai_comm_plugin;
const struct comm_backend cai_comm_plugin = {COMM_PLUGIN_ABI, open_mesh, close_mesh, exchange,
                                             nullptr, interrupt};
