"""TCP relay that counts bytes on the wire, TLS, HTTP and heartbeats included."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field

CHUNK_BYTES = 65536


@dataclass(eq=False)
class Relay:
    """Forwards connections on a free port of 127.0.0.1 to another port, in threads of its own.

    Attributes:
        target: port to forward to.
        up_bytes: towards the target.
        down_bytes: from it.
    """

    target: int
    up_bytes: int = 0
    down_bytes: int = 0
    _listener: socket.socket = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Port to connect to."""
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """Take no more connections; those that are open end with their peers."""
        with suppress(OSError):  # closed before, or a system where this is not needed to wake the thread
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                for source, sink, up in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._forward, args=(source, sink, up), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with suppress(OSError):  # a peer is gone: so is the connection
            while data := source.recv(CHUNK_BYTES):
                with self._lock:
                    if up:
                        self.up_bytes += len(data)
                    else:
                        self.down_bytes += len(data)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            if not up:
                end.close()
