"""Lifelines between the ranks of a training: one that dies, on whatever machine, is noticed by the others within seconds.

Collectives wait as long as it takes (rank 0 may be generating paths for hours), so no time-out could tell a slow rank from a dead
one. Each rank holds a TCP connection to rank 0 instead. The kernel closes it when a process ends, however it ends, and its
keep-alive probes fail when a machine is gone. Rank 0 passes on what it hears.

Words on the wire, one a line: ``bye`` (finished), ``stop`` (this rank ends for a reason of its own, which it says itself), and
what rank 0 passes on: ``stopped RANK``, ``lost RANK``. A connection that ends without a word is a death.
"""

from __future__ import annotations

import _thread
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from qrdistill.errors import PausedError

JOIN_S = 120.0
"""How long ranks wait for each other's call."""
_PROBES = {"TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 2}
"""Seconds of silence before the first keep-alive probe, between probes, and probes: a machine that is gone is noticed in 8 s."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where rank 0 listens, and the word that shows a caller to be one of the ranks."""

    host: str
    port: int
    token: str


class Lifeline:
    """One rank's end.

    Args:
        rank: of this process.
        size: number of ranks.
        connections: to every other rank (rank 0), or to rank 0 (the others), by rank.
        grace_s: how long the main thread has to leave by itself once a rank is lost; after that the process is ended.
    """

    def __init__(self, rank: int, size: int, connections: Mapping[int, socket.socket], *, grace_s: float) -> None:
        self.rank = rank
        self.size = size
        self.grace_s = grace_s
        self.loss: PausedError | None = None
        """Why this process has to stop, once a rank is gone."""
        self._connections = dict(connections)
        self._left, self._lost = threading.Event(), threading.Event()
        self._leaving = threading.Lock()
        """Once the main thread has held it to leave, nothing interrupts it any more."""
        self._gone: set[int] = set()
        """Ranks that have said why they leave."""
        self._selector = selectors.DefaultSelector()
        for other, connection in connections.items():
            _watch(connection)
            self._selector.register(connection, selectors.EVENT_READ, other)
        self._thread = threading.Thread(target=self._listen, name="lifeline", daemon=True)
        self._thread.start()

    def leave(self, *, is_finished: bool) -> None:
        """Say goodbye and stop listening; where the work is not finished the others stop as well."""
        with self._leaving:
            self._left.set()
        self._tell("bye" if is_finished else "stop")
        for connection in self._connections.values():
            with suppress(OSError):  # it is gone already
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that listens
        self._thread.join()
        for connection in self._connections.values():
            connection.close()

    def wait_for_loss(self, seconds: float) -> None:
        """Wait until a rank is known to be lost, at most some seconds."""
        self._lost.wait(seconds)

    def _tell(self, word: str, *, but: int = -1) -> None:
        for rank, connection in self._connections.items():
            if rank != but:
                try:
                    connection.sendall(f"{word}\n".encode())
                except OSError:
                    continue  # it is gone itself

    def _listen(self) -> None:
        heard = dict.fromkeys(self._connections, b"")
        parent = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else 0
        with self._selector as selector:
            while selector.get_map() and not self._left.is_set():
                if parent and os.getppid() != parent:
                    self._end("torchrun has ended")
                for key, _ in selector.select(timeout=1.0):
                    rank, data = key.data, _receive(key.fileobj)
                    *words, heard[rank] = (heard[rank] + data).split(b"\n")
                    for word in words:
                        self._hear(rank, word.decode("ascii", "replace").split())
                    if not data:
                        selector.unregister(key.fileobj)
                        if rank not in self._gone:
                            self._hear(rank, ["lost", str(rank)])

    def _hear(self, rank: int, word: list[str]) -> None:
        """Act on a word of a rank; rank 0 tells the others."""
        if word[0] in ("bye", "stop"):
            self._gone.add(rank)
        if word[0] == "stop":
            word = ["stopped", str(rank)]
        if word[0] == "bye" or self._left.is_set():
            return
        if self.rank == 0:
            self._tell(" ".join(word), but=rank)
        who = f"rank {word[1]} of {self.size}"
        if word[0] == "stopped":
            self._end(f"{who} has stopped for a reason of its own")
        else:
            self._end(f"{who} has died (killed, out of memory, or its machine is gone)")

    def _end(self, what: str) -> None:
        """Let the main thread leave by itself, interrupt it, or (it waits in a collective) end the process."""
        if self.loss is not None:
            return
        self.loss = PausedError(f"{what}, so rank {self.rank} stops too; the same command goes on from the last checkpoint")
        self._lost.set()
        if self._left.wait(self.grace_s / 5):
            return
        with self._leaving:
            if self._left.is_set():
                return
            _thread.interrupt_main()
        if not self._left.wait(self.grace_s * 4 / 5):
            print(f"qrdistill: {self.loss}", file=sys.stderr, flush=True)
            os._exit(PausedError.exit_code)


def open_lifeline(rank: int, size: int, host: str, share: Callable[[Address | None], Address], *, grace_s: float) -> Lifeline:
    """Connect the ranks.

    Args:
        rank: of this process.
        size: number of ranks.
        host: name of rank 0's machine, "" when all ranks are on one.
        share: gives every rank the address that rank 0 gives it.
        grace_s: see `Lifeline`.

    Raises:
        PausedError: a rank does not answer within two minutes.
    """
    if rank:
        address = share(None)
        try:
            connection = socket.create_connection((address.host, address.port), timeout=JOIN_S)
            connection.sendall(f"{address.token} {rank}\n".encode())
        except OSError as error:
            raise PausedError(
                f"rank {rank} cannot reach rank 0 at {address.host}:{address.port} ({error}); let the machines of a training "
                "connect to each other on any port, then start the same command again"
            ) from error
        return Lifeline(rank, size, {0: connection}, grace_s=grace_s)
    is_anywhere = bool(host) and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if is_anywhere else socket.AF_INET
    with socket.create_server(("" if host else "127.0.0.1", 0), family=family, dualstack_ipv6=is_anywhere) as server:
        address = share(Address(host or "127.0.0.1", int(server.getsockname()[1]), secrets.token_hex(16)))
        return Lifeline(rank, size, _greet(server, address.token, size), grace_s=grace_s)


def _greet(server: socket.socket, token: str, size: int) -> dict[int, socket.socket]:
    connections: dict[int, socket.socket] = {}
    deadline = time.monotonic() + JOIN_S
    while len(connections) < size - 1:
        server.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            connection, _ = server.accept()
            connection.settimeout(JOIN_S)
            word = connection.makefile("rb").readline(256).decode("ascii", "replace").split()
        except OSError as error:
            missing = sorted(set(range(1, size)) - set(connections))
            raise PausedError(
                f"ranks {missing} did not call within {JOIN_S:.0f} s; let the machines of a training connect to each other on "
                "any port, then start the same command again"
            ) from error
        if len(word) == 2 and word[1].isdigit() and secrets.compare_digest(word[0].encode(), token.encode()):
            connections[int(word[1])] = connection
        else:
            connection.close()
    return connections


def _receive(connection: Any) -> bytes:
    """What has come; nothing when the connection has ended."""
    try:
        return bytes(connection.recv(256))
    except OSError:
        return b""


def _watch(connection: socket.socket) -> None:
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):  # the names differ between systems; without them a dead machine is noticed later
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
