"""Arrays in an .npz file without pickles: the same bytes for the same arrays on any day, and no more
unpacked of another's file than its headers say."""

from __future__ import annotations

import bz2
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError

Array = npt.NDArray[Any]
MOST_PACKED = 2**27  # bytes of a file
MOST = 2**28  # bytes of the arrays: a small file may hold as many zeros as one likes
MOST_ENTERED = 2**25  # of those of somebody else's record; the largest of this package has 2**20
_MOST_MEMBERS, _MOST_ARRAYS = 4096, 2**18
_MOST_HEADER = 1000  # bytes before an array's values


class TooLarge(BenchError):
    """Arrays that would not be read again."""


def packed(arrays: Mapping[str, Array]) -> bytes:
    """An .npz file, the same for the same arrays on any day. Raises TooLarge where it is above a limit of
    `unpacked`, or has more than `MOST_PACKED` bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in sorted(arrays.items()):
            member = zipfile.ZipInfo(f"{name}.npy")
            member.compress_type = zipfile.ZIP_BZIP2  # a tenth less than by deflate
            with file.open(member, "w") as handle:
                np.lib.format.write_array(handle, np.ascontiguousarray(array), allow_pickle=False)
    members = file.infolist()
    for number, most, unit in (
        (sum(member.file_size for member in members), MOST, "bytes"),
        (len(members), _MOST_MEMBERS, "arrays"),
        (buffer.tell(), MOST_PACKED, "bytes when packed"),
    ):
        if number > most:
            raise TooLarge(
                f"the predictions have {number} {unit}, and {most} are the most that are read; let the "
                "task have fewer replicates, targets or test rows"
            )
    return buffer.getvalue()


def unpacked(
    content: bytes,
    check: Callable[[str, np.dtype[Any], tuple[int, ...]], int],
    *,
    entered: bool = False,
) -> dict[str, Array]:
    """The arrays of a file that `packed` wrote. What its directory and its headers say is checked before
    anything is unpacked, and no more is unpacked than they say: `check` is given the name, type and shape
    of each array, and says how many it stands for. entered: it is of somebody else's record. Raises
    ValueError or what zipfile and bz2 raise."""
    most = min(MOST, MOST_ENTERED) if entered else MOST
    count, size, start = struct.unpack("<HLL", content[-12:-2])  # of the end, which has no comment
    if content[-22:-18] != b"PK\5\6" or start + size + 22 != len(content):
        raise ValueError("it does not end as a zip file")
    if count > _MOST_MEMBERS or size > 1000 * count:
        raise ValueError(f"it has {count} members; at most {_MOST_MEMBERS} are read")
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = file.infolist()
    if len({member.filename for member in members}) != count or len(members) != count:
        raise ValueError("its directory is not what it says")
    if (total := sum(member.file_size for member in members)) > most:
        raise ValueError(f"it holds {total} bytes, and {most} are the most allowed")
    arrays, number = dict[str, Array](), 0
    for member in members:
        name, unpacking = member.filename.removesuffix(".npy"), _Unpacking(content, member)
        with io.BytesIO(unpacking.up_to(_MOST_HEADER)) as head:
            if np.lib.format.read_magic(head) != (1, 0):
                raise ValueError(f"{name[:80]} is no array of this encoding")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(head, _MOST_HEADER)
            begin = head.tell()
        number += check(name, dtype, shape)
        if number > _MOST_ARRAYS:
            raise ValueError(f"it stands for more than {_MOST_ARRAYS} arrays")
        if fortran or begin + math.prod(shape) * dtype.itemsize != member.file_size:
            raise ValueError(f"{name[:80]} has another size than its header says")
        arrays[name] = np.ndarray(shape, dtype, unpacking.whole(), begin)
    return arrays


class _Unpacking:
    """A member of a zip file, unpacked step by step: bzip2 makes megabytes of a few bytes."""

    def __init__(self, content: bytes, member: zipfile.ZipInfo) -> None:
        if member.compress_type != zipfile.ZIP_BZIP2:
            raise ValueError(f"{member.filename[:80]} is not packed by bzip2")
        start = member.header_offset + 30
        start += sum(struct.unpack("<HH", content[start - 4 : start]))  # name, extra field
        self._member, self._unpacker = member, bz2.BZ2Decompressor()
        self._input, self._output = content[start : start + member.compress_size], bytearray()

    def up_to(self, size: int) -> bytearray:
        """The first `size` bytes, or all where there are fewer."""
        while len(self._output) < size and not self._unpacker.eof:
            part = self._unpacker.decompress(self._input, size - len(self._output))
            self._input = b""
            if not part and self._unpacker.needs_input:
                raise ValueError(f"{self._member.filename[:80]} is cut short")
            self._output += part
        return self._output

    def whole(self) -> bytearray:
        """All bytes, as many and with the checksum that the directory says."""
        output = self.up_to(self._member.file_size + 1)
        if len(output) != self._member.file_size or zlib.crc32(output) != self._member.CRC:
            raise ValueError(f"{self._member.filename[:80]} is not what the directory says")
        return output
