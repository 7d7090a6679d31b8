"""Lifelines: who may call, and what a rank is told."""

import queue
import socket
import threading
import time

import pytest

from qrdistill.training.lifeline import Address, Lifeline, open_lifeline


def pair(before=lambda address: None, *, grace_s=600.0) -> tuple[Lifeline, Lifeline]:
    """Ranks 0 and 1 in two threads of this process; `before` is called with the address before rank 1 calls."""
    post: queue.Queue[Address] = queue.Queue()

    def share(address: Address | None) -> Address:
        if address is not None:
            post.put(address)
            return address
        known = post.get(timeout=60)
        before(known)
        return known

    ends: dict[int, Lifeline] = {}
    other = threading.Thread(target=lambda: ends.update({1: open_lifeline(1, 2, "", share, grace_s=600)}))
    other.start()
    first = open_lifeline(0, 2, "", share, grace_s=grace_s)
    other.join()
    return first, ends[1]


def test_a_stranger_is_no_rank_and_its_leaving_no_death():
    def stranger(address: Address) -> None:
        with socket.create_connection((address.host, address.port)) as connection:
            connection.sendall(b"guess 1\n")

    first, second = pair(stranger)
    first.wait_for_loss(0.5)
    assert first.loss is None
    second.leave(is_finished=True)
    first.wait_for_loss(0.5)
    assert first.loss is None, "who says goodbye has not died"
    first.leave(is_finished=True)


@pytest.mark.filterwarnings("error")
def test_leaving_before_the_thread_has_begun_to_listen_is_leaving():
    """A race: of 100 pairs some leave before their threads run."""
    for _ in range(100):
        first, second = pair()
        first.leave(is_finished=True)
        second.leave(is_finished=True)
        assert first.loss is None
        assert second.loss is None


def test_a_loss_that_is_heard_while_leaving_interrupts_nobody(monkeypatch):
    """The main thread has begun to leave, on a machine so busy that the time given it is over."""
    interrupts = []
    monkeypatch.setattr("qrdistill.training.lifeline._thread.interrupt_main", lambda: interrupts.append(1))
    first, second = pair(grace_s=0.001)
    with first._leaving:
        second._connections[0].shutdown(socket.SHUT_RDWR)
        first.wait_for_loss(60)
        time.sleep(0.1)
        first._left.set()
    first.leave(is_finished=False)
    second.leave(is_finished=True)
    assert first.loss is not None
    assert not interrupts


@pytest.mark.parametrize("is_said", [True, False])
def test_what_ends_a_rank_is_told_to_the_other(is_said):
    first, second = pair()
    if is_said:
        second.leave(is_finished=False)
    else:
        second._connections[0].shutdown(socket.SHUT_RDWR)  # as the kernel does for a process that is killed
    first.wait_for_loss(60)
    first.leave(is_finished=True)
    assert first.loss is not None
    assert first.loss.exit_code == 75
    assert ("rank 1 of 2 has stopped for a reason of its own" if is_said else "rank 1 of 2 has died") in str(first.loss)
    assert "same command" in str(first.loss)
    second.leave(is_finished=True)
