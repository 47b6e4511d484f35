# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a command so that signals end it at once, also while the server works on a statement."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Any, Callable, NoReturn

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_interruptibly(work: Callable[[], int], stop: Callable[[], None]) -> int:
    """What `work` returns or raises. A signal calls `stop` and then ends the program as that signal does.

    Python handles a signal between two steps of its main thread, and a statement that the server works on is a single
    step. So the work is done in another thread, while the main one waits.
    """
    outcome: list[Any] = []
    done = threading.Event()

    def target() -> None:
        try:
            outcome.extend((work(), None))
        except BaseException as error:
            outcome.extend((None, error))
        finally:
            done.set()

    def interrupt(number: int, frame: object) -> NoReturn:
        raise Interrupted(number)

    # One that is ignored stays so: nohup and shells that start something in the background mean it.
    before = {number: signal.getsignal(number) for number in _ENDING}
    caught = [number for number, handler in before.items() if handler != signal.SIG_IGN]
    try:
        for number in caught:
            signal.signal(number, interrupt)
        threading.Thread(target=target, name="mission-control", daemon=True).start()
        done.wait()
    except Interrupted as interruption:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
        stop()
        end_by_signal(interruption.number)
    finally:
        for number in caught:
            signal.signal(number, before[number])
    value, error = outcome
    if error is not None:
        raise error
    return int(value)


def end_by_signal(number: int) -> NoReturn:
    """End as the signal would have ended it, so that a shell sees why: 128 and its number."""
    with contextlib.suppress(ValueError, OSError):
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(128 + number)
