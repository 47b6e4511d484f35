"""Build what is published from the last commit, the same byte for byte each time: scripts/dist.py [DIRECTORY]

Into the directory (dist, which is emptied first) come the collection, the library as wheel and source distribution, and SHA256SUMS. All times in
them are that of the commit. Another release of Python, setuptools or ansible-core may compress or order something in another way.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# These two come first, as Ansible writes them.
MANIFEST, FILES = "MANIFEST.json", "FILES.json"
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def output_of(command: list[str], **options) -> bytes:
    result = subprocess.run(command, stdout=subprocess.PIPE, check=False, **options)
    if result.returncode != 0:
        sys.exit(f"dist: {command[0]} failed")
    return result.stdout


def git(*arguments: str) -> bytes:
    return output_of(["git", *arguments], cwd=ROOT)


def unpack(archive: Path | bytes, directory: Path) -> None:
    source = io.BytesIO(archive) if isinstance(archive, bytes) else archive.open("rb")
    with source, tarfile.open(fileobj=source) as tar:
        tar.extractall(directory, filter="data")


def sort_manifest(contents: dict[str, bytes]) -> None:
    """Order the collection's list of files, which Ansible writes in the order of the file system, and its checksum with it."""
    files, manifest = json.loads(contents[FILES]), json.loads(contents[MANIFEST])
    files["files"].sort(key=lambda entry: entry["name"])
    contents[FILES] = json.dumps(files, indent=True).encode()
    manifest["file_manifest_file"]["chksum_sha256"] = hashlib.sha256(contents[FILES]).hexdigest()
    contents[MANIFEST] = json.dumps(manifest, indent=True).encode()


def normalize(archive: Path, time: int) -> None:
    """Write a .tar.gz again: sorted, of one time, and without the user who built it."""
    with tarfile.open(archive) as old:
        members = sorted(old, key=lambda member: (member.name not in (MANIFEST, FILES), member.name))
        contents = {member.name: old.extractfile(member).read() for member in members if member.isfile()}
    if MANIFEST in contents:
        sort_manifest(contents)
    with (
        archive.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=time) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as new,
    ):
        for member in members:
            member.mtime, member.uid, member.gid, member.uname, member.gname = time, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            content = contents.get(member.name)
            member.size = len(content or b"")
            new.addfile(member, None if content is None else io.BytesIO(content))


def build(place: Path, time: int) -> Path:
    """Build everything in `place`; return the directory that holds it."""
    source, built = place / "source", place / "built"
    unpack(git("archive", "HEAD"), source)
    galaxy = [str(Path(sys.executable).with_name("ansible-galaxy")), "collection", "build", str(source)]
    output_of([*galaxy, "--output-path", str(built)], cwd=place)  # not in the checkout, whose ansible.cfg would count
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(time)}
    python = [sys.executable, "-c", BUILD]
    output_of([*python, "build_sdist", str(built)], cwd=source, env=environment)
    for archive in built.glob("*.tar.gz"):
        normalize(archive, time)
    (sdist,) = built.glob("mission_control_database-*.tar.gz")
    unpack(sdist, place)  # the wheel is made of it, so it is known to be whole
    output_of([*python, "build_wheel", str(built)], cwd=place / sdist.name.removesuffix(".tar.gz"), env=environment)
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(built.iterdir())]
    (built / "SHA256SUMS").write_text("".join(sums), encoding="ascii")
    return built


def main(arguments: list[str]) -> None:
    target = Path(arguments[0]) if arguments else ROOT / "dist"
    if changed := git("status", "--porcelain", "--untracked-files=no").decode():
        sys.exit(f"dist: what is published is built from a commit, so commit or undo first:\n{changed.rstrip()}")
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="mission-control-dist-") as place:
        built = build(Path(place), int(git("log", "-1", "--format=%ct")))
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(built, target)
    print((target / "SHA256SUMS").read_text(encoding="ascii"), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
