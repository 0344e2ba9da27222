"""Things made on a thread while those before them are used."""

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

Thing = TypeVar("Thing")


def prefetch(things: Iterator[Thing], count: int) -> Iterator[Thing]:
    """The same things, made on a thread up to `count` ahead. What the thread raises is raised here."""
    made: queue.Queue[Any] = queue.Queue(count)
    ended = threading.Event()

    def put(item: Any) -> bool:
        while not ended.is_set():
            try:
                made.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for thing in things:
                if not put((thing, None, False)):
                    return
            put((None, None, True))
        except BaseException as error:
            put((None, error, True))

    thread = threading.Thread(target=work, name="fastcnn-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            thing, error, is_last = made.get()
            if error is not None:
                raise error
            if is_last:
                return
            yield thing
    finally:
        ended.set()
        thread.join()
