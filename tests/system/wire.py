"""wire.py: Protocol Buffers' wire format, read by rules of its own: what the product writes is
not read with the product's code. Not for any one message."""


def fields(raw):
    """(field number, value), in order: integers, else bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(raw):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            size = {1: 8, 5: 4}.get(key & 7) or varint()
            yield key >> 3, raw[at:at + size]
            at += size
