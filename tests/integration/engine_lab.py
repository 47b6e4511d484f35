"""Real engines for one test run: Debian's Docker engine, and Podman's service, each with a directory of its own and without a network."""

import abc
import contextlib
import io
import os
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import docker
import requests
from certificates import Authority

ROOT = Path(__file__).parents[2]
# With a registry, since Podman looks for one without at those that it knows.
IMAGE = "localhost/mission-control-test:1"
# The engines themselves know it, and it must not get any further.
PROXY_PASSWORD = "canary-of-the-proxy"
_DOCKER = ROOT / ".cache" / "docker-engine"
_PATIENCE = 60


class Engine(abc.ABC):
    """Context manager around an engine; `api` is the library's low-level client to it, `url` where it is asked."""

    name = ""
    # What the containers of this engine need on machines that are containers themselves.
    privileged = False

    def __init__(self):
        # A short path, as that of a socket must be.
        self.directory = Path(tempfile.mkdtemp(prefix="mc-"))
        self.socket = self.directory / "engine.sock"
        self.url = f"unix://{self.socket}"
        self._process = None
        self.api = None

    def __enter__(self):
        subprocess.run([ROOT / "scripts/docker-engine"], check=True)
        try:
            self.start()
            self.api.import_image_from_data(_busybox())
            (image,) = self.api.images()
            self.api.tag(image["Id"], *IMAGE.split(":"))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, exc_type, exc, traceback):
        if self.api is not None and self._process is not None:
            self.remove_all()
        self.stop()
        subprocess.run([ROOT / "scripts/as-root", "rm", "-rf", "--", self.directory], check=True)

    def start(self):
        command = [ROOT / "scripts/as-root", ROOT / "scripts/in-podman-namespace", *self._command()]
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._environment(),
            )
        end = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                self.api = docker.APIClient(self.url, version="auto", timeout=_PATIENCE)
                return
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{self.name} does not run: {(self.directory / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self):
        if self.api is not None:
            self.api.close()
            self.api = None
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def create(self, name, *command, restart=None, **settings):
        """Identifier of a container that is not started."""
        host_config = self.api.create_host_config(
            network_mode="none", privileged=self.privileged, restart_policy=restart and {"Name": restart}
        )
        return self.api.create_container(IMAGE, list(command), name=name, host_config=host_config, **settings)["Id"]

    def run(self, name, *command, **settings):
        identifier = self.create(name, *(command or ("sleep", "1000")), **settings)
        self.api.start(identifier)
        return identifier

    def remove(self, container):
        self.api.remove_container(container, force=True)

    def remove_all(self):
        for each in self.api.containers(all=True):
            self.remove(each["Id"])

    @abc.abstractmethod
    def _command(self):
        """The engine's program with its arguments."""

    def _environment(self):
        return {**os.environ, "HTTP_PROXY": f"http://me:{PROXY_PASSWORD}@127.0.0.1:9"}


class DockerEngine(Engine):
    """dockerd, which also listens with TLS on loopback: `tls_url` for whom `authority` has signed a certificate."""

    name = "docker"

    def __init__(self):
        super().__init__()
        self.authority = Authority(self.directory, "authority")
        self._certificate, self._key = self.authority.issue("engine", "127.0.0.1")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.tls_url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"

    def _command(self):
        return [
            *("dockerd", "--data-root", self.directory / "data", "--exec-root", self.directory / "exec"),
            *("--pidfile", self.directory / "pid", "--group", str(os.getgid())),
            # It works without the rights to change the network and the limits of this machine.
            *("--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"),
            *("--exec-opt", "native.cgroupdriver=cgroupfs"),
            *("--host", self.url, "--host", self.tls_url),
            *("--tlsverify", "--tlscacert", self.authority.path),
            *("--tlscert", self._certificate, "--tlskey", self._key),
        ]

    def _environment(self):
        programs = [str(_DOCKER / "usr/bin"), str(_DOCKER / "usr/sbin"), os.environ["PATH"]]
        return {**super()._environment(), "PATH": os.pathsep.join(programs)}


class PodmanEngine(Engine):
    """podman system service."""

    name = "podman"
    privileged = True

    def _command(self):
        return [
            *("podman", "--root", self.directory / "root", "--runroot", self.directory / "run"),
            *("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"),
            *("system", "service", "--time", "0", self.url),
        ]


def _busybox():
    """An image of one program, as a tar archive."""
    program = next(path for path in (_DOCKER / "bin/busybox", _DOCKER / "usr/bin/busybox") if path.exists())
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(program, "bin/busybox")
        for name in ("sh", "sleep", "true", "false"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return archive.getvalue()
