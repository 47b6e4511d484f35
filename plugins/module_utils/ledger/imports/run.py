# Copyright: Mission Control maintainers
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""An import: read the files of a tool from where the last import ended, and write the calls in them.

The files are read while the server works on the calls before. What is read and not yet written is bounded.
"""

from __future__ import annotations

import hashlib
import itertools
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from .calls import Refusal
from .files import FileError, Place, SourceFile, find_files
from .registry import form_module
from .store import Batch, Remembered, Store, Written
from .summaries import SummaryError

if TYPE_CHECKING:
    from ...client.client import Client
    from .calls import ImportOptions

_BATCH_CALLS = 2000
_BATCH_FILES = 500
_PAGE_FILES = 500
_LONGEST_KEY = 2000
_LONGEST_SENTENCE = 400
# So many problems are told; the others are counted.
MOST_PROBLEMS = 20


class Problem(NamedTuple):
    """A file, or a line of it, that was not imported, and why, as a sentence."""

    file: str
    line: int | None
    sentence: str


@dataclass
class ImportResult:
    """What an import read and wrote.

    Attributes:
        files: that were found, and of them those in which nothing was new, and those that were read from the beginning
            since they are others than before.
        calls: with usage that were read, of which those that were stored before are known.
        unpriced: new calls whose model has no price.
        held_back: messages without an end in files that somebody may be writing; a later import takes them.
        refused: lines of which nothing was taken.
        problems: the first of what was refused.
    """

    files: int = 0
    unchanged_files: int = 0
    replaced_files: int = 0
    calls: int = 0
    new: int = 0
    known: int = 0
    unpriced: int = 0
    held_back: int = 0
    refused: int = 0
    problems: list[Problem] = field(default_factory=list)


def import_usage(
    client: Client,
    form: str,
    paths: list[str],
    options: ImportOptions,
    *,
    from_start: bool = False,
    progress: Callable[[ImportResult], None] = lambda _result: None,
) -> ImportResult:
    """Import the calls in files and in the files of directories, each call once, however often.

    Args:
        client: of the application's login, with at least two connections.
        form: one of registry.FORMS.
        paths: files and directories.
        from_start: read files from their beginning that were read before.
        progress: called after each part that was written.

    Raises:
        PathError: a path is not there; nothing is read then.
        MissionControlError: the database cannot be asked, or takes no usage. What was written by then stays.
    """
    files, unreadable = find_files(paths, form_module(form).ENDINGS)
    run = _Import(client, form, files, options, from_start, progress)
    for path, reason in unreadable:
        run.note(path, None, f"It {reason}.")
    return run.carry_out()


class _Import:
    def __init__(
        self,
        client: Client,
        form: str,
        files: list[str],
        options: ImportOptions,
        from_start: bool,
        progress: Callable[[ImportResult], None],
    ) -> None:
        self._form = form_module(form)
        self._files = files
        self._options = options
        self._from_start = from_start
        self._progress = progress
        self._store = Store(client, options.source, socket.gethostname(), options.bodies)
        self._result = ImportResult(files=len(files))
        self._batch = Batch()
        self._writing: Future[Written] | None = None
        self._is_second_look = False
        # A session of Codex is read with what another one says.
        self._others = {"sessions": self._form.Sessions(files)} if hasattr(self._form, "Sessions") else {}

    def carry_out(self) -> ImportResult:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="mission_control-import") as self._writer:
            self._read_all()
            self._write()
            self._wait()
        return self._result

    def _read_all(self) -> None:
        unfinished: list[tuple[str, Remembered]] = []
        remaining = iter(self._files)
        while page := list(itertools.islice(remaining, _PAGE_FILES)):
            keys = {path: _key(path) for path in page}
            remembered = {} if self._from_start else self._store.remembered(list(keys.values()))
            for path in page:
                held = self._read(path, remembered.get(keys[path]), whole=False)
                if held is not None:
                    unfinished.append((path, held))
        # A message may stand without an end in one file and with it in another: those without come last.
        self._write()
        self._wait()
        self._is_second_look = True
        for path, held in unfinished:
            self._read(path, held, whole=True)

    def _read(self, path: str, remembered: Remembered | None, whole: bool) -> Remembered | None:
        """Read a file on; where it is idle but holds messages without an end, from where they are to be read."""
        try:
            with SourceFile(path) as file:
                return self._read_file(file, remembered, whole)
        except FileError as error:
            self.note(path, None, f"It {error}.")
        except SummaryError as error:
            self.note(path, None, str(error))
        return None

    def _read_file(self, file: SourceFile, remembered: Remembered | None, whole: bool) -> Remembered | None:
        place, state = Place(), {}
        whole = whole and file.is_idle
        if remembered is not None:
            position = remembered.place.position
            if position <= file.size and remembered.fingerprint == file.fingerprint(position):
                place, state = remembered.place, remembered.state
                if position == file.size:
                    self._result.unchanged_files += 1
                    return None
            else:
                self._result.replaced_files += 1
        reader = self._form.Reader(file, place, state, self._options, whole, **self._others)
        noted = 0
        for items in reader:
            for item in items:
                if isinstance(item, Refusal):
                    self.note(file.path, item.line, item.sentence)
                elif item.buckets is not None or item.bodies is not None:
                    self._batch.calls[item.source, item.external_id] = item
                    noted += 1
            if len(self._batch.calls) >= _BATCH_CALLS:
                self._keep(file, reader, noted)
                noted = 0
                self._write()
        kept = self._keep(file, reader, noted)
        if len(self._batch.places) >= _BATCH_FILES:
            self._write()
        if reader.held_back and not whole and file.is_idle:
            return kept
        self._result.held_back += reader.held_back
        return None

    def _keep(self, file: SourceFile, reader: Any, calls: int) -> Remembered:
        place = reader.place
        kept = Remembered(file.fingerprint(place.position), place, reader.state)
        self._batch.places[_key(file.path)] = (kept, calls)
        return kept

    def _write(self) -> None:
        """Hand the batch to the writer, once it has written the one before."""
        self._wait()
        batch, self._batch = self._batch, Batch()
        if batch.calls or batch.places:
            self._writing = self._writer.submit(self._store.write, batch)

    def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            written = writing.result()
            # What is looked at again for the messages without an end has been counted already.
            known = 0 if self._is_second_look else written.known
            self._result.calls += written.added + known
            self._result.new += written.added
            self._result.known += known
            self._result.unpriced += written.unpriced
            self._result.refused += written.refused
            self._progress(self._result)

    def note(self, file: str, line: int | None, sentence: str) -> None:
        self._result.refused += 1
        if len(self._result.problems) < MOST_PROBLEMS:
            shown = sentence if len(sentence) <= _LONGEST_SENTENCE else f"{sentence[:_LONGEST_SENTENCE]}…"
            self._result.problems.append(Problem(file, line, shown))


def _key(path: str) -> str:
    """A path as the database can store it: a long one by its end and a checksum."""
    text = path.encode("utf-8", "backslashreplace")
    if len(text) > _LONGEST_KEY:
        text = hashlib.sha256(text).hexdigest().encode() + text[-_LONGEST_KEY // 2 :]
    return text.decode("utf-8", "replace")
