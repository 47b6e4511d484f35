"""A throw-away server that a test may stop and start again, on the same port."""

import signal

from throwaway_cluster import ThrowawayCluster

STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class RestartableCluster(ThrowawayCluster):
    def stop(self, mode="fast"):
        self._server.send_signal(STOP_SIGNALS[mode])
        self._server.wait(timeout=30)

    def start(self):
        if not self._started_on_port():
            raise RuntimeError("The throw-away PostgreSQL server did not start again.")
