"""The header stamp inside a message's CDR bytes, read and replaced without deserialising.

A message whose first field is `std_msgs/Header` starts, after the 4-byte encapsulation header, with
the stamp: int32 seconds and uint32 nanoseconds (OMG DDS-RTPS 2.5, section 10; builtin_interfaces).
"""

from __future__ import annotations

import struct
from functools import cache

from erf_seg_core.bags.messages import typestore
from erf_seg_core.errors import ErfSegError

NS_PER_S = 1_000_000_000
_STAMP_AT = 4
_SHORTEST = 12
_HEADER_TYPE = "std_msgs/msg/Header"


@cache
def starts_with_header(msgtype: str) -> bool:
    """Whether messages of this type ("sensor_msgs/msg/Image") carry a stamp that we can find."""
    store = typestore()
    if msgtype not in store.fielddefs:
        return False
    fields = store.get_msgdef(msgtype).fields
    return bool(fields) and fields[0][1][1] == _HEADER_TYPE


def read_stamp_ns(raw: bytes | memoryview) -> int:
    """Header stamp in nanoseconds; `ErfSegError` if the bytes are too short to hold one."""
    seconds, nanoseconds = _stamp_format(raw).unpack_from(raw, _STAMP_AT)
    return seconds * NS_PER_S + nanoseconds


def with_stamp_ns(raw: bytes | memoryview, stamp_ns: int) -> bytes:
    """Return the same message with another header stamp; every other byte is unchanged."""
    stamped = bytearray(raw)
    _stamp_format(raw).pack_into(stamped, _STAMP_AT, *divmod(stamp_ns, NS_PER_S))
    return bytes(stamped)


def _stamp_format(raw: bytes | memoryview) -> struct.Struct:
    if len(raw) < _SHORTEST:
        raise ErfSegError(f"a message of {len(raw)} bytes is too short to hold a header")
    # The low bit of the encapsulation identifier's second byte says little-endian.
    return struct.Struct("<iI" if raw[1] & 1 else ">iI")
