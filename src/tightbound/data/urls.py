"""Tar shards at an address on the web, read as a stream in the manner of WebDataset."""

from __future__ import annotations

import http.client
import io
import itertools
import tarfile
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError, needs
from tightbound.data import pictures, stream, tars
from tightbound.data.arrow import first_line
from tightbound.data.encoding import Encoding
from tightbound.data.pictures import Pictures, Wish
from tightbound.data.rows import JUDGED, as_stored, sampled
from tightbound.data.stream import Part, Stream, Streamed

_TIMEOUT = 60  # seconds
_PART = 64  # samples decoded together


def is_url(source: str) -> bool:
    """Whether this is an address, of one or several files."""
    return source.startswith(("http://", "https://"))


class UrlStream(Stream):
    """The samples of tar files on the web. With a seed the files are shuffled."""

    order = "that of its shards, shuffled"

    def __init__(
        self, urls: Sequence[str], seen: Pictures | None, code: Encoding, shape: tuple[int, ...], told: Domain | None
    ) -> None:
        """Samples as stored; labels are read where the first sample of a part has a number."""
        self._urls, self._pictures, self._code, self._shape, self._told = list(urls), seen, code, shape, told
        self.title, self.labeled = self._urls[0], False
        self._aside: dict[int, Counter[str]] = {0: Counter()}

    def parts(self, seed: int | None, skip: int) -> Iterator[Part]:
        """See `Stream.parts`."""
        order = self._urls
        if seed is not None:
            order = [self._urls[i] for i in np.random.default_rng(seed).permutation(len(self._urls))]
        aside = self._first(skip)
        for url in order:
            rest = itertools.islice(_samples([url]), aside[url], None)
            while some := list(itertools.islice(rest, _PART)):
                yield self._part(some, url)

    def _first(self, count: int) -> Counter[str]:
        """How many of the first samples lie in each file."""
        if count not in self._aside:
            self._aside[count] = Counter(str(s["__url__"]) for s in itertools.islice(_samples(self._urls), count))
        return self._aside[count]

    def _part(self, some: list[dict[str, Any]], url: str) -> Part:
        x = decoded(some, self._pictures)
        labels = [tars.sample(each)[2] for each in some] if self.labeled else []
        if not all(isinstance(label, int | float) for label in labels):
            raise InputError(f"{url}: a sample has no label, or a word for one; a stream needs numbers, or none at all")
        x = as_stored(pictures.scaled(x, self._told), self._code, self._shape, url)
        return Part(x, np.array(labels) if self.labeled else None)


def decoded(some: list[dict[str, Any]], seen: Pictures | None) -> np.ndarray:
    """Pictures or arrays of samples, (B, ...) raw."""
    out: list[np.ndarray] = []
    for each in some:
        extension, content, _ = tars.sample(each)
        where = f"{each['__url__']}: {each['__key__']}.{extension}"
        out.append(tars.array(extension, io.BytesIO(content), seen, where))
        if out[-1].shape != out[0].shape:
            raise InputError(f"{where} has shape {out[-1].shape}, those before it {out[0].shape}; make them equal")
    return np.stack(out)


def _samples(urls: Sequence[str]) -> Iterator[dict[str, Any]]:
    from webdataset.tariterators import group_by_keys, tar_file_expander

    for url in urls:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
                yield from group_by_keys(tar_file_expander(iter([{"url": url, "stream": response}])))
                response.read()  # what pads the tar
                if response.length:  # a connection that is lost between two files looks like the end of the tar
                    raise InputError(f"{url} is cut short: {response.length:,} bytes never came; try again")
        except (OSError, http.client.HTTPException, tarfile.TarError, ValueError, EOFError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{url} cannot be read: {first_line(error)}") from None


def open_urls(source: str, told: Domain | None, wish: Wish) -> Streamed:
    """The samples of tar files on the web.

    Raises:
        InputError: without webdataset, for an address that gives nothing, and samples that cannot be used.
    """
    with needs("stream", "shards on the web"):
        import webdataset  # noqa: F401
    wish.check()
    urls = tars.expanded(source)
    head = list(itertools.islice(_samples(urls), JUDGED))
    if not head:
        raise InputError(f"{urls[0]} has no samples; is it an empty tar?")
    found = [tars.sample(each) for each in head]
    headers = {}
    for each, (extension, content, _) in zip(head, found, strict=True):
        if extension != "npy":
            header = pictures.header(io.BytesIO(content))
            if header is None:
                raise InputError(f"{each['__url__']}: {each['__key__']}.{extension} cannot be decoded; remove it")
            headers[each["__key__"]] = header
    if wish and not headers:
        raise InputError(f"resize and gray are for pictures, and {source} holds none; leave them out")
    seen = pictures.judge(headers, wish, source) if headers else None
    x = pictures.scaled(decoded(head, seen), told)
    code, values, shape = sampled(x, told or (None if seen is None else seen.domain), source)
    shards = UrlStream(urls, seen, code, shape, told)
    marks = [mark for _, _, mark in found]
    shards.labeled = all(isinstance(mark, int | float) for mark in marks)
    notes = (f"samples of {len(urls)} tar files on the web",) + (() if seen is None else seen.notes) + (values,)
    if any(isinstance(mark, str) for mark in marks):
        notes += ("no labels: they are words, which a stream does not know in advance",)
    return stream.opened(shards, None, shape, code.domain, notes)
