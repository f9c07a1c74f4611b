"""Tar files on the web in the format of WebDataset, read as a stream."""

from __future__ import annotations

import http.client
import tarfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa

from tightbound.core.errors import InputError, first_line
from tightbound.data.dataset import Data
from tightbound.data.options import Options
from tightbound.data.readers import paths, tars
from tightbound.data.readers.tabular.arrow import Place
from tightbound.data.readers.tabular.stream import open_tables

_TIMEOUT = 60  # seconds
_Sample = tuple[str, str, bytes, int | float | str | None]


def is_url(source: str) -> bool:
    """Whether this is an address, of one or several files."""
    return source.startswith(("http://", "https://"))


def open_web(source: str, options: Options) -> Data:
    """Open tar files at an address, which may have ranges in braces."""
    options.refuse(source, kinds=True, column=True, labels="a stream; let its samples have .cls files")
    urls = paths.expanded(source)
    notes = (f"samples of {len(urls)} tar files on the web",)
    order = "the order of its shards, shuffled"
    return open_tables(_Shards(urls), None, urls[0], "stream", options, judged=64, size=64, order=order, notes=notes)


class _Shards:
    """The samples of tar files as tables; a seed shuffles the files."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._skipped: dict[int, Counter[str]] = {0: Counter()}  # of the first so many samples, how many are in a file

    def __call__(self, seed: int | None, skip: int, size: int) -> Iterator[tuple[pa.Table, Place]]:
        order: list[str] = [*self._urls]
        if seed is not None:
            order = [order[i] for i in np.random.default_rng(seed).permutation(len(order))]
        if skip not in self._skipped:
            first = (url for url in self._urls for _ in _samples(url))
            self._skipped[skip] = Counter(islice(first, skip))
        for url in order:
            rest = islice(_samples(url), self._skipped[skip][url], None)
            while some := list(islice(rest, size)):
                yield _table(some, url)


def _table(samples: list[_Sample], url: str) -> tuple[pa.Table, Place]:
    _, names, content, labels = zip(*samples, strict=True)
    columns = {"x": pa.array(content, pa.binary())}
    if any(label is not None for label in labels):
        words = any(isinstance(label, str) for label in labels)
        columns["label"] = pa.array([str(label) if words and label is not None else label for label in labels])
    return pa.table(columns), lambda i: f"{url}: {names[i]}"


def _samples(url: str) -> Iterator[_Sample]:
    try:
        with (
            urllib.request.urlopen(url, timeout=_TIMEOUT) as response,
            tarfile.open(fileobj=response, mode="r|*", errors="replace") as tar,
        ):
            yield from tars.samples(_files(tar), url, bytes, set())
            response.read()  # the padding of the tar
            if response.length:  # a connection that is lost between two files looks like the end of the tar
                raise InputError(f"{url} is cut short: {response.length:,} bytes never came; try again")
    except (OSError, http.client.HTTPException, tarfile.TarError, EOFError) as error:
        raise InputError(f"{url} cannot be read: {first_line(error)}") from None


def _files(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    while (member := tar.next()) is not None:
        if member.isreg() and (file := tar.extractfile(member)) is not None:
            yield member.name, file.read()
        tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  # they are not needed again
