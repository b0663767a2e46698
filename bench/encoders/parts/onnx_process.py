"""An ONNX network in a process of its own, with limits on memory and time (`onnx_worker`)."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from bench.data.samples import Array
from bench.errors import BenchError

SECONDS = 120.0  # for loading, and for a batch
MEGABYTES = 8192  # of addresses: ONNX Runtime reserves more than it uses
MOST_FEATURES = 2**20  # of one image
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "SYSTEMROOT", "TMPDIR", "TEMP")


class OnnxProcess:
    """Images (n, c, h, w) to features (n, d), by one output of the network in a file.

    about: channels, height and width (None: any), number of weights, metadata of the model.
    Raises BenchError for a file that is no network of one input of images or that may not be run, and for
    one that needs more memory or time than the limits. A copy shares the process.
    """

    def __init__(
        self, path: Path, output: str = "", *, seconds: float = SECONDS, megabytes: int = MEGABYTES
    ) -> None:
        self.path, self.seconds = path, seconds
        self._lock = threading.Lock()
        # -P: a file beside the worker is no module. No variables of the user's reach the network.
        command = [sys.executable, "-P", str(Path(__file__).with_name("onnx_worker.py"))]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        )
        weakref.finalize(self, _stop, self._process)
        request = {
            "path": os.path.abspath(path),
            "output": output,
            "threads": torch.get_num_threads(),
            "megabytes": megabytes,
        }
        with self._limit():
            self._send(json.dumps(request).encode() + b"\n")
            line = self._stdout.readline(2**20)
        try:
            self.about: dict[str, Any] = json.loads(line)
        except ValueError:
            raise self._ended() from None
        if "error" in self.about:
            raise BenchError(f"{path} cannot be run: {self.about['error']}")

    def __call__(self, images: Array) -> Array:
        """Features (n, d), float32, of images (n, c, h, w)."""
        x = np.ascontiguousarray(images, "<f4")
        with self._lock, self._limit():
            self._send(struct.pack("<4q", *x.shape) + x.tobytes())
            rows, size = struct.unpack("<2q", self._receive(16))
            if rows == -1:
                text = self._receive(min(size, 2**12)).decode(errors="replace")
                raise BenchError(f"{self.path} cannot be run: {text}")
            if rows != len(x) or not 0 < size <= MOST_FEATURES:
                raise BenchError(f"{self.path} gives features {(rows, size)} of {len(x)} images")
            content = self._receive(4 * rows * size)
        return np.frombuffer(bytearray(content), "<f4").reshape(rows, size)

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxProcess:
        return self

    def __reduce__(self) -> Any:
        raise TypeError("a network in a process of its own cannot be pickled")

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _send(self, content: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(content)
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def _receive(self, count: int) -> bytes:
        content = self._stdout.read(count)
        if len(content) < count:
            raise self._ended()
        return content

    @contextlib.contextmanager
    def _limit(self) -> Iterator[None]:
        """The process is killed where what it does takes longer."""
        late = self._late = threading.Event()
        process = self._process  # the timer must not keep `self` alive

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self.seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _ended(self) -> BenchError:
        _stop(self._process)
        why = (
            f"it took more than {self.seconds:g} s"
            if self._late.is_set()
            else "its process has ended; memory may have been short"
        )
        return BenchError(f"{self.path} cannot be run: {why}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
