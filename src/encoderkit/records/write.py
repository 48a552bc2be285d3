"""Results into a file as they come, in such a way that a job can be stopped anywhere and continued."""

from __future__ import annotations

import dataclasses
import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from encoderkit.errors import OptionError, StorageError
from encoderkit.files import HashingFile, atomic_write, locked_if_free, remove_temporaries
from encoderkit.records import CONVERTED, GROWING
from encoderkit.records.job import Job, as_facts, read_job, require_same
from encoderkit.records.read import fingerprint
from encoderkit.records.rows import ERROR, Rows

JOB_ENDING = ".job.json"
PART_ENDING = ".part.jsonl"
# A power cut costs at most the results of so many seconds; a killed process costs none.
_SYNC_SECONDS = 10.0


class ResultFile:
    """Results, written in the order of the inputs: one for every input, be it an answer or an error.

    Every result is handed to the operating system before `append` returns. Beside the file, `<name>.job.json`
    says what the results depend on. A file that can't grow (.json, .parquet) is made by `finish` out of
    `<name>.part.jsonl`. It is a context manager: whatever leaves it before `finish` leaves a job that can be
    continued.

    Attributes:
        path: where the results are to be.
        done: results that are there.
        failed: those of them that tell of an error.
        complete: whether a continued job had nothing left to do, or `finish` was called.
    """

    def __init__(
        self,
        path: Path,
        *,
        facts: Mapping[str, Any],
        source: Path | None = None,
        columns: Sequence[str] | None = None,
        resume: bool = False,
        force: bool = False,
    ) -> None:
        """Begin a job, or continue one.

        Args:
            path: its ending says the format: a row of the tables GROWING and CONVERTED.
            facts: what the results depend on (model, options); a job is only continued with the same.
            source: the file that the inputs come from, whose content is one of the facts.
            columns: of a table; not given: the keys of the first result without an error. `more`, for what
                has no column, and `error` follow them.
            resume: continue what is there; begin where nothing is.
            force: begin anew, whatever is there.

        Raises:
            OptionError: the format isn't known; there are results already, and neither `resume` nor `force`;
                they were made from other facts; another job is writing them.
            StorageError: it can't be written there.
            MissingExtraError: the format's library isn't installed.
        """
        if resume and force:
            raise OptionError("--resume and --force contradict each other", hint="Give one of them")
        _require_place(path, source)
        self.path = path
        self._convert = _converter(path.suffix.lower())
        self._growing = path if self._convert is None else path.with_name(path.name + PART_ENDING)
        self._sidecar = path.with_name(path.name + JOB_ENDING)
        self._rows = self._layout(columns)
        made_from = {} if source is None else {"source": fingerprint(source)}
        self._job = Job(facts=as_facts({**facts, **made_from}), columns=self._rows.columns)
        self._unsettled: list[Mapping[str, Any]] = []
        self._synced = time.monotonic()
        self._end = self.done = self.failed = 0
        self.complete = False
        with ExitStack() as held, _storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(_locked(path))
            for each in (path, self._sidecar):
                remove_temporaries(each)
            if not (path.exists() or self._growing.exists()) or force:
                self._begin(held)
            elif resume:
                self._continue(held)
            else:
                raise OptionError(
                    f"there are results in {path} already",
                    hint="Continue them with --resume, or start over with --force",
                )
            self._held = held.pop_all()

    def append(self, result: Mapping[str, Any]) -> None:
        """Write the result of the next input.

        Args:
            result: plain data (numpy's numbers and arrays are fine); of an input that has none, what went
                wrong under the key `error`.

        Raises:
            StorageError: the disk is full or broken; what was written before stays good.
            RuntimeFailure: a value is no number.
        """
        assert not self.complete, "nothing follows the last result"
        if not self._rows.settle(result):
            # Columns aren't known before an answer came; nothing is lost: a continued job does these again.
            self._unsettled.append(result)
            return
        self._settled()
        self._put(result)

    def results(self) -> Iterator[dict[str, Any]]:
        """All results that are there, those of earlier runs first, for summing up before `finish`. Out of a
        table every value comes as text."""
        yield from self._rows.results(self._growing)
        yield from map(dict, self._unsettled)

    def finish(self) -> None:
        """Say that every result is there, and make the file that couldn't grow.

        Raises:
            StorageError: the disk is full or broken; continuing the job tries again.
        """
        if self.complete:
            return
        if self._unsettled:
            self._rows = self._layout(tuple(dict.fromkeys(key for each in self._unsettled for key in each)))
            self._settled()
        with _storing(self.path):
            os.fsync(self._file.fileno())
            if self._convert is not None:
                with atomic_write(self.path) as sink:
                    self._convert(self._growing, sink)
            self._job = dataclasses.replace(self._job, complete=True, done=self.done, failed=self.failed)
            self._job.write(self._sidecar)
            self._completed()

    def close(self) -> None:
        """Let go of the file. May be called twice.

        Raises:
            StorageError: the disk is full or broken.
        """
        with _storing(self.path):
            self._held.close()

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _layout(self, columns: Sequence[str] | None) -> Rows:
        rows: Rows = GROWING[self._growing.suffix.lower()].load()(columns)
        return rows

    def _begin(self, held: ExitStack) -> None:
        # In this order: at no moment are old results beside a new job.
        for old in {self.path, self._growing}:
            old.unlink(missing_ok=True)
        self._job.write(self._sidecar)
        self._open(held)

    def _continue(self, held: ExitStack) -> None:
        job = read_job(self._sidecar)
        if job is None or not (job.complete or self._growing.exists()):
            gone = self._sidecar if job is None else self._growing
            raise OptionError(
                f"there are results in {self.path}, but no {gone.name}, without which none can be added",
                hint="Start over with --force",
            )
        require_same(self.path, job.facts, self._job.facts)
        if job.complete and self.path.exists():
            self.done, self.failed = job.done, job.failed
            self._completed()
            return
        self._job = dataclasses.replace(job, complete=False)
        self._rows = self._layout(job.columns)
        self._find_whole()
        self._open(held)

    def _find_whole(self) -> None:
        """Count the results that are whole, and find where they end."""
        header = self._rows.header()
        with self._growing.open("rb") as file:
            begun = file.read(len(header))
            if not header.startswith(begun):
                raise OptionError(
                    f"{self._growing} doesn't begin with its columns: it was changed",
                    hint="Start over with --force",
                )
            if begun == header:
                self._end = len(header)
                for size, failed in self._rows.whole(file):
                    self._end += size
                    self.done += 1
                    self.failed += failed

    def _open(self, held: ExitStack) -> None:
        """Open the file to go on behind its whole results; what follows them was torn and is cut off."""
        self._file = held.enter_context(self._growing.open("ab", buffering=0))
        self._file.truncate(self._end)
        held.callback(lambda: os.fsync(self._file.fileno()))
        if self._end == 0:
            self._write(self._rows.header())

    def _completed(self) -> None:
        """Nothing is left to do, and so nothing to do it with."""
        self.complete = True
        if self._convert is not None:
            self._growing.unlink(missing_ok=True)

    def _settled(self) -> None:
        """Once columns are known, they are kept, first of all; then comes what had to wait for them."""
        if self._rows.columns != self._job.columns:
            with _storing(self.path):
                self._job = dataclasses.replace(self._job, columns=self._rows.columns)
                self._job.write(self._sidecar)
            self._write(self._rows.header())
        while self._unsettled:
            self._put(self._unsettled[0])
            del self._unsettled[0]

    def _put(self, result: Mapping[str, Any]) -> None:
        self._write(self._rows.row(result))
        self.done += 1
        self.failed += result.get(ERROR) is not None

    def _write(self, data: bytes) -> None:
        with _storing(self.path):
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) :]
            except BaseException:
                # Half a row takes room that whole ones could use; where it can't be cut now, continuing will.
                with suppress(OSError):
                    self._file.truncate(self._end)
                raise
            self._end += len(data)
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()


def _converter(ending: str) -> Callable[[Path, HashingFile], None] | None:
    if ending not in CONVERTED:
        return None
    convert: Callable[[Path, HashingFile], None] = CONVERTED[ending].load()
    return convert


def _require_place(path: Path, source: Path | None) -> None:
    if path.suffix.lower() not in (*GROWING, *CONVERTED):
        raise OptionError(
            f"--output {path} ends in {path.suffix or 'nothing'}, expected one of "
            f"{', '.join((*GROWING, *CONVERTED))}",
            hint="Give it another name",
        )
    if path.is_dir():
        raise OptionError(
            f"--output {path} is a folder, expected a file", hint=f"Try {path / 'results.jsonl'}"
        )
    if source is not None and source.exists() and path.exists() and path.samefile(source):
        raise OptionError(f"--output {path} is the file that is read", hint="Give it another name")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Be the only one who writes to `path`."""
    name = f".{path.name}.lock"
    with locked_if_free(path.parent, name) as is_ours:
        if not is_ours:
            raise OptionError(
                f"another job is writing to {path}", hint="Wait for its end, or choose another --output"
            )
        try:
            yield
        finally:
            # While it is held: whoever comes next makes a new one. Not on Windows, where it stays.
            with suppress(OSError):
                (path.parent / name).unlink()


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into StorageError with this file's ways out."""
    try:
        yield
    except StorageError as error:
        error.hint = _way_out(error.__cause__)
        raise
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageError(f"{path} can't be written: {why}", hint=_way_out(error)) from error


def _way_out(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "What is written stays good: free some space, then continue with --resume"
    return "Choose an --output that can be written"
