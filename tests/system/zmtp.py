"""zmtp.py: speaks to caid's TCP socket as peers do that are not ours: raw ZMTP bytes, and
ZeroMQ sockets with any key through libzmq itself. For tests; knows nothing of any one test."""
import ctypes
import ctypes.util
import os
import socket
import struct
import time

from wire import fields

zmq = ctypes.CDLL(ctypes.util.find_library("zmq") or "libzmq.so.5")
for name in ("zmq_ctx_new", "zmq_socket"):
    getattr(zmq, name).restype = ctypes.c_void_p
zmq.zmq_socket.argtypes = [ctypes.c_void_p, ctypes.c_int]
zmq.zmq_setsockopt.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
zmq.zmq_connect.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
zmq.zmq_send.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
zmq.zmq_recv.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
zmq.zmq_close.argtypes = zmq.zmq_ctx_term.argtypes = [ctypes.c_void_p]
DEALER, ROUTER, SUB, REQ = 5, 6, 2, 3
LINGER, RCVTIMEO, SNDTIMEO, IDENTITY, RECONNECT = 17, 27, 28, 5, 18
PLAIN_USER, PLAIN_PASSWORD, PUBLIC, SECRET, SERVER, MAX = 45, 46, 48, 49, 50, 22
context = zmq.zmq_ctx_new()


def key_pair():
    public, secret = ctypes.create_string_buffer(41), ctypes.create_string_buffer(41)
    assert zmq.zmq_curve_keypair(public, secret) == 0
    return public.value.decode(), secret.value.decode()


# ---- protobuf, as far as frames need it ---------------------------------------------------------

def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def frame(kind, *fields):
    return field(kind, b"".join(field(n, v) for n, v in fields))


def fields_of(data):
    return dict(fields(data))


def request(verb, json="{}", key=""):
    return frame(13, (1, verb), (2, json), (3, key))


# What a worker says: Hello, Report, Done, Failed, Pong.
WORKER = {"hello": frame(1, (1, "0.1.0"), (2, "toy"), (3, "h"), (4, 1), (5, "w")),
          "report": frame(4, (1, 1), (2, 1), (3, 1), (4, 1)), "done": frame(6, (1, 1), (2, 1), (3, 1)),
          "failed": frame(8, (1, 1), (2, 1), (3, 1)), "pong": frame(11, (1, 1))}
BYE, REPLY, PING, WELCOME, CHALLENGE = 12, 14, 10, 2, 220


# ---- a ZeroMQ peer with a key -------------------------------------------------------------------

class Peer:
    def __init__(self, endpoint, server=None, pair=None, kind=DEALER, plain=False, identity=None):
        self.socket = zmq.zmq_socket(context, kind)
        self.set(LINGER, 0)
        self.set(RECONNECT, 60000)
        if server:
            self.text(SERVER, server), self.text(PUBLIC, pair[0]), self.text(SECRET, pair[1])
        if plain:
            self.text(PLAIN_USER, "admin"), self.text(PLAIN_PASSWORD, "admin")
        if identity:
            self.text(IDENTITY, identity)
        assert zmq.zmq_connect(self.socket, endpoint.encode()) == 0

    def set(self, option, value):
        assert zmq.zmq_setsockopt(self.socket, option, ctypes.byref(ctypes.c_int(value)), 4) == 0

    def text(self, option, text):
        assert zmq.zmq_setsockopt(self.socket, option, text.encode(), len(text)) == 0, text

    def send(self, body, version=b"CAI1"):
        """False when there is nobody to send to within a second."""
        self.set(SNDTIMEO, 1000)
        return zmq.zmq_send(self.socket, version, len(version), 2) >= 0 and \
            zmq.zmq_send(self.socket, body, len(body), 0) >= 0

    def receive(self, limit=1.0):
        """(kind, fields) of a frame; None when nothing came."""
        self.set(RCVTIMEO, int(limit * 1000))
        space = ctypes.create_string_buffer(1 << 16)
        n = zmq.zmq_recv(self.socket, space, len(space), 0)
        if n < 0:
            return None
        n = zmq.zmq_recv(self.socket, space, len(space), 0)
        (kind, body), = fields_of(space.raw[:n]).items()
        return kind, fields_of(body)

    def ask(self, verb, json="{}", key="", limit=3.0):
        """A reply's (exit code, error), or None."""
        if not self.send(request(verb, json, key)):
            return None
        got = self.receive(limit)
        if not got or got[0] != REPLY:
            return None
        return got[1].get(1, 0), got[1].get(2, b"").decode()

    def close(self):
        zmq.zmq_close(self.socket)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- raw bytes ----------------------------------------------------------------------------------

def greeting(mechanism=b"CURVE", major=3, minor=0, as_server=0):
    return b"\xff" + b"\0" * 8 + b"\x7f" + bytes([major, minor]) + mechanism.ljust(20, b"\0") + \
        bytes([as_server]) + b"\0" * 31


def command(name, body):
    data = bytes([len(name)]) + name + body
    return (b"\x04" + bytes([len(data)]) if len(data) < 256 else b"\x06" + struct.pack(">Q", len(data))) + data


def raw(port, address="127.0.0.1"):
    s = socket.socket()
    s.bind((address, 0))
    s.settimeout(3)
    s.connect(("127.0.0.1", port))
    return s


def ended(s, limit=8.0):
    """Whether the other side closes; what it said until then."""
    said, end = b"", time.monotonic() + limit
    while time.monotonic() < end:
        try:
            s.settimeout(max(0.01, end - time.monotonic()))
            data = s.recv(4096)
        except ConnectionError:
            return True, said
        except TimeoutError:
            break
        if not data:
            return True, said
        said += data
    return False, said


class Recorder:
    """Between a peer and caid: keeps what each side said."""

    def __init__(self, port):
        import threading
        self.port, self.sent = port, b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.own = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        import threading
        a, _ = self.listener.accept()
        b = socket.create_connection(("127.0.0.1", self.port))

        def pass_on(x, y, keep):
            try:
                while True:
                    data = x.recv(65536)
                    if not data:
                        break
                    if keep:
                        self.sent += data
                    y.sendall(data)
            except OSError:
                pass
            for s in (x, y):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        threading.Thread(target=pass_on, args=(a, b, True), daemon=True).start()
        pass_on(b, a, False)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))
