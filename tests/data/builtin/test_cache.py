"""The folder of downloaded data: corruption, no network, mirrors, whole writes."""

import gzip
import hashlib
import io
import urllib.error
from pathlib import Path

import pytest

from tightbound.core.errors import InputError
from tightbound.data.builtin import cache

PAYLOADS = {"images.gz": b"images" * 500, "labels.gz": b"labels" * 9}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in PAYLOADS.items()}
MIRRORS = ("https://first.example/", "https://second.example/")


def read():
    return cache.cached(DIGESTS, "tiny", MIRRORS, gzip.decompress)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("TIGHTBOUND_DATA", str(tmp_path))
    return tmp_path / "tiny"


def fill(folder):
    folder.mkdir(exist_ok=True)
    for name, data in PAYLOADS.items():
        (folder / name).write_bytes(gzip.compress(data))


class Response(io.BytesIO):
    def __init__(self, content, length=None):
        super().__init__(content)
        self.headers = {"Content-Length": str(len(content) if length is None else length)}


def serve(monkeypatch, answer):
    asked = []

    def urlopen(address, timeout):
        asked.append(address)
        assert timeout == 20
        return answer(address)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return asked


def offline(address):
    raise urllib.error.URLError("no network")


def test_a_cache_is_read_without_a_network(tiny, monkeypatch):
    fill(tiny)
    assert serve(monkeypatch, offline) == []
    assert read() == [*PAYLOADS.values()]


def test_a_read_only_cache_can_be_read(tiny):
    fill(tiny)
    tiny.chmod(0o555)
    try:
        assert read() == [*PAYLOADS.values()]
    finally:
        tiny.chmod(0o755)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rubbish", "is corrupt"),
        (b"", "does not hold the published data"),
        (gzip.compress(PAYLOADS["labels.gz"])[:-9], "is corrupt"),
        (gzip.compress(b"something else"), "does not hold the published data"),
    ],
    ids=["rubbish", "empty", "truncated", "other data"],
)
def test_a_corrupt_file_is_named(tiny, content, message):
    fill(tiny)
    path = tiny / "labels.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read()
    assert str(path) in str(caught.value)
    assert "delete it" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_network_files_and_folder_are_named(tiny, monkeypatch):
    fill(tiny)
    (tiny / "labels.gz").unlink()
    (tiny / "images.gz").unlink()
    asked = serve(monkeypatch, offline)
    with pytest.raises(InputError) as caught:
        read()
    text = str(caught.value)
    assert "put images.gz, labels.gz into" in text
    assert str(tiny) in text
    assert "TIGHTBOUND_DATA" in text
    assert "no network" in text
    assert "\n" not in text
    assert len(asked) == 2


def test_fetched_files_are_verified_and_kept(tiny, monkeypatch):
    asked = serve(monkeypatch, lambda address: Response(gzip.compress(PAYLOADS[address.rsplit("/", 1)[1]])))
    assert read() == [*PAYLOADS.values()]
    assert len(asked) == 2
    assert sorted(p.name for p in tiny.iterdir()) == sorted(PAYLOADS)
    read()
    assert len(asked) == 2


def test_the_next_mirror_is_tried(tiny, monkeypatch):
    def answer(address):
        if "first" in address:
            return Response(b"<html>log in to the hotel</html>")
        return Response(gzip.compress(PAYLOADS[address.rsplit("/", 1)[1]]))

    asked = serve(monkeypatch, answer)
    assert read() == [*PAYLOADS.values()]
    assert len(asked) == 4


def test_a_download_that_ends_early_leaves_nothing(tiny, monkeypatch):
    serve(monkeypatch, lambda address: Response(b"\x1f\x8b", length=99))
    with pytest.raises(InputError, match="connection ended after 2 of 99 bytes"):
        read()
    assert not tiny.exists() or list(tiny.iterdir()) == []


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(tiny, monkeypatch, error):
    serve(monkeypatch, lambda address: Response(gzip.compress(PAYLOADS[address.rsplit("/", 1)[1]])))

    def replace(source, target):
        raise error

    monkeypatch.setattr("os.replace", replace)
    with pytest.raises((InputError, KeyboardInterrupt)):
        read()
    assert list(tiny.iterdir()) == []


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TIGHTBOUND_DATA", "~/somewhere")
    assert cache.cache_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("TIGHTBOUND_DATA")
    assert cache.cache_folder().name == "tightbound"
