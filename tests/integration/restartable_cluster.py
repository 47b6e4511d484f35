"""A throw-away server that a test may stop and start again, on the same port."""

import signal

from processes import kill_with_descendants
from throwaway_cluster import ThrowawayCluster

STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class RestartableCluster(ThrowawayCluster):
    def stop(self, mode="fast"):
        self._server.send_signal(STOP_SIGNALS[mode])
        self._server.wait(timeout=30)

    def kill(self):
        """`kill -9` of the server and of all its processes at once, as a machine that loses power does; start() then recovers.

        What the server gave to the kernel stays, so this holds without fsync.
        """
        kill_with_descendants(self._server.pid)
        self._server.wait(timeout=30)

    def start(self):
        if not self._started_on_port():
            raise RuntimeError("The throw-away PostgreSQL server did not start again.")
