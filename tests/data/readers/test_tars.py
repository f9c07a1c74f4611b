"""Tar shards in the manner of WebDataset: an index, random access, and a stream from the web."""

import contextlib
import functools
import http.server
import io
import tarfile
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError
from tightbound.data import Indexed, Limits, MappedSplit, open
from tightbound.data.readers import paths, tars, web

RNG = np.random.default_rng(0)
N = 50
PIXELS = RNG.integers(0, 256, (N, 1, 6, 5), dtype=np.uint8)


def content(array, form="PNG"):
    file = io.BytesIO()
    if form == "npy":
        np.save(file, array)
    else:
        Image.fromarray(array).save(file, form, **({"lossless": True} if form == "WEBP" else {}))
    return file.getvalue()


def tarred(path, members, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as out:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


def sample(i, form="PNG"):
    suffix = form.lower()
    data = content(PIXELS[i] if form == "npy" else PIXELS[i, 0], form)
    return [(f"{i:05d}.{suffix}", data), (f"{i:05d}.cls", str(i % 3).encode())]


def shards(folder, each=20, form="PNG"):
    for number, start in enumerate(range(0, N, each)):
        members = [m for i in range(start, min(N, start + each)) for m in sample(i, form)]
        tarred(folder / f"s-{number:03d}.tar", members)
    return folder / "s-{000..002}.tar"


def everything(split):
    return torch.cat([batch.x for batch in split.epoch(7)])


SMALL = Limits(memory=100)


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(0, 2000)), min_size=1, max_size=8),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.sampled_from(["a", "é"]),
)
def test_the_index_says_where_each_file_is(tmp_path_factory, entries, form, letter):
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    tarred(path, [(f"{i}/{letter * length}.bin", bytes([i]) * size) for i, (length, size) in enumerate(entries)], form)
    with tarfile.open(path) as file:
        names = file.getnames()
    found = list(tars.members(path))
    assert [m.name for m in found] == names
    whole = path.read_bytes()
    assert [whole[m.offset_data : m.offset_data + m.size] for m in found] == [
        bytes([i]) * s for i, (_, s) in enumerate(entries)
    ]


@pytest.mark.parametrize("form", ["PNG", "WEBP", "npy"])
@pytest.mark.parametrize("limit", [1 << 30, 100])
def test_samples_and_labels_by_pattern_wildcard_folder_and_file(tmp_path, form, limit):
    pattern = shards(tmp_path, form=form)
    for source in (str(pattern), str(tmp_path / "s-*.tar"), tmp_path):
        data = open(source, limits=Limits(memory=limit))
        assert isinstance(data.train, Indexed)
        assert data.domain == Domain("levels", 256)
        x = torch.from_numpy(PIXELS).expand(-1, 3 if form == "WEBP" else 1, -1, -1)  # WebP knows no gray
        assert torch.equal(everything(data.whole), x)
        assert data.whole.labels.tolist() == [i % 3 for i in range(N)]
        assert data.whole.names[17] == "00017"
    assert len(open(tmp_path / "s-002.tar").whole) == 10
    assert open(str(pattern)).name == "s"


def test_worker_processes_read_the_same_batches_from_anywhere_and_share_them(tmp_path):
    data = open(str(shards(tmp_path)), limits=SMALL)
    assert isinstance(data.train.base, MappedSplit)
    whole = list(data.train.epoch(8, key=(1,)))
    for batch in whole:
        assert torch.equal(batch.x, torch.from_numpy(PIXELS)[data.train.rows[batch.index]])
    rest = list(data.train.epoch(8, key=(1,), start=3))
    assert all(torch.equal(a.x, b.x) for a, b in zip(rest, whole[3:], strict=True))
    parts = [list(data.train.epoch(8, key=(1,), rank=rank, world=2)) for rank in range(2)]
    for batch, *both in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([part.x for part in both]), batch.x)


def test_labels_of_json_and_words(tmp_path):
    members = [(f"{i}.json", b'{"label": "%s", "text": "x"}' % (b"cat", b"dog")[i % 2]) for i in range(4)]
    png = content(PIXELS[0, 0])
    mixed = [m for i, mark in enumerate(members) for m in ((f"{i}.png", png), mark, (f"{i}.txt", b"no"))]
    data = open(tarred(tmp_path / "x.tar", mixed))
    assert data.whole.labels.tolist() == [0, 1, 0, 1]
    assert any("cat=0, dog=1" in note for note in data.notes)
    assert any(".txt" in note for note in data.notes)


@pytest.mark.parametrize(
    ("text", "read"),
    [("-3", -3), ("--3", "--3"), ("\u00b2", "\u00b2"), ("9" * 30, "9" * 30), ("", None), (" 4\n", 4), ("1.5", "1.5")],
)
def test_what_is_no_whole_number_is_a_word(text, read):
    assert tars.label("cls", text.encode(), "x.cls") == read
    assert tars.label("json", b'{"label": NaN}', "x.json") is None


def test_links_folders_and_names_that_are_no_unicode_do_no_harm(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as out:
        for name, kind, data in [
            ("./", tarfile.DIRTYPE, b""),
            *((f"./\u00e9{name.upper()}", tarfile.REGTYPE, data) for i in range(3) for name, data in sample(i)),
            ("9.png", tarfile.SYMTYPE, b""),
            ("9.png", tarfile.LNKTYPE, b""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(data)
            out.addfile(info, io.BytesIO(data))
    assert torch.equal(everything(open(tmp_path / "x.tar").whole), torch.from_numpy(PIXELS[:3]))


@pytest.mark.parametrize("limit", [1 << 30, 100])
def test_files_that_webdataset_leaves_out_do_no_harm(tmp_path, limit):
    members = [("README", b"of no suffix"), ("s/.hidden.png", b"")]
    for i in range(5):
        members += [each for name, data in sample(i) for each in ((f"._{name}", b"from macOS"), (name, data))]
    data = open(tarred(tmp_path / "x.tar", members), limits=Limits(memory=limit))
    assert torch.equal(everything(data.whole), torch.from_numpy(PIXELS[:5]))
    assert data.whole.labels.tolist() == [0, 1, 2, 0, 1]
    assert "left out: files, hidden ones, ones without a suffix" in data.notes


def test_patterns():
    with pytest.raises(InputError, match=r"\{3\.\.1\}; needed: the smaller number first"):
        paths.expanded("a-{3..1}.tar")
    assert paths.expanded("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert paths.expanded("{0..1}/{9..10}") == ["0/9", "0/10", "1/9", "1/10"]
    assert tars.key_of("a.b/c.seg.png") == ("a.b/c", "seg.png")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "has no samples"),
        ([("0.cls", b"1")], "sample 0 has neither an image nor a .npy"),
        ([("0.png", content(PIXELS[0, 0])), ("0.b.png", b"")], "sample 0 holds more than one image"),
        ([("0.png", content(PIXELS[0, 0])), ("1.png", b"no picture")], r"x\.tar: 1\.png.* cannot be decoded"),
        ([("0.npy", content(PIXELS[0], "npy")), ("1.npy", b"nothing")], r"x\.tar: 1\.npy.* cannot be decoded"),
        (
            [("0.npy", content(PIXELS[0], "npy")), ("1.npy", content(PIXELS[0, 0], "npy"))],
            r"1\.npy has shape \(6, 5\)",
        ),
        ([("0.png", content(PIXELS[0, 0])), ("1.png", content(PIXELS[0, 0, :3]))], "differ in size"),
        ([("0.png", content(PIXELS[0, 0])), ("0.json", b"{")], r"0\.json cannot be read as a label"),
    ],
)
def test_refusals_name_the_sample(tmp_path, members, message):
    path = tarred(tmp_path / "x.tar", members)
    with pytest.raises(InputError, match=message) as caught:
        open(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_picture_is_named_by_the_process_that_reads_it(tmp_path):
    members = [(f"{i:03d}.png", content(PIXELS[0, 0])) for i in range(100)]
    members[2] = ("002.png", members[2][1][:60])  # a header alone, in none of the data that are looked at
    path = tarred(tmp_path / "x.tar", members)
    with pytest.raises(InputError, match=r"x\.tar: 002\.png.* cannot be decoded"):
        everything(open(path, limits=SMALL).whole)


@pytest.mark.parametrize("cut", [700, 1500, 2048])
def test_a_tar_that_is_cut_short_or_damaged_is_refused_wherever(tmp_path, cut):
    path = tarred(tmp_path / "x.tar", sample(0))
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    with pytest.raises(InputError, match=r"x\.tar is cut short"):
        open(path)
    path.write_bytes(whole[:1030] + b"?" + whole[1031:])
    with pytest.raises(InputError, match=r"x\.tar is no tar file, or damaged or cut short at byte 1,024"):
        open(path)


def test_a_compressed_tar_and_a_sparse_file_are_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w:gz") as out:
        out.addfile(tarfile.TarInfo("0.npy"))
    with pytest.raises(InputError, match="unpack compressed ones"):
        open(tmp_path / "x.tar")
    with tarfile.open(tmp_path / "y.tar", "w") as out:
        info = tarfile.TarInfo("0.npy")
        info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1"}
        out.addfile(info)
    with pytest.raises(InputError, match=r"y\.tar: 0\.npy is stored as a sparse file"):
        open(tmp_path / "y.tar")


def test_a_shard_that_is_missing_is_named(tmp_path):
    shards(tmp_path)
    with pytest.raises(InputError, match=r"there is no file .*s-003\.tar"):
        open(str(tmp_path / "s-{001..003}.tar"))
    with pytest.raises(InputError, match="there is no file"):
        open(str(tmp_path / "t-*.tar"))


def test_the_fingerprint_of_shards_that_are_read_changes_with_their_members(tmp_path):
    pattern = shards(tmp_path)
    before = open(str(pattern), limits=SMALL).fingerprint
    assert open(str(pattern), limits=SMALL).fingerprint == before
    tarred(tmp_path / "s-002.tar", sample(3))
    assert open(str(pattern), limits=SMALL).fingerprint != before


@pytest.fixture
def served(tmp_path):
    """The address of a web server that gives the files of a folder."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with contextlib.closing(server.socket):
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_shards_on_the_web_are_a_stream(tmp_path, served):
    shards(tmp_path)
    data = open(f"{served}/s-{{000..002}}.tar", limits=Limits(set_aside=12))
    assert torch.equal(everything(data.test), torch.from_numpy(PIXELS[:12]))
    assert torch.equal(everything(data.whole), torch.from_numpy(PIXELS))
    whole = list(data.train.epoch(8, key=(1,)))
    x = torch.cat([b.x for b in whole])
    assert sorted(x.flatten(1).tolist()) == sorted(torch.from_numpy(PIXELS[12:]).flatten(1).tolist())
    for batch in whole:
        rows = [int(np.flatnonzero((each.numpy() == PIXELS).all((1, 2, 3)))[0]) for each in batch.x]
        assert batch.label.tolist() == [row % 3 for row in rows]
    rest = list(data.train.epoch(8, key=(1,), start=2))
    assert all(torch.equal(a.x, b.x) for a, b in zip(rest, whole[2:], strict=True))
    train, validation = data.held_out(5)
    assert torch.equal(everything(validation), torch.from_numpy(PIXELS[12:17]))
    assert len(everything(train)) == N - 17
    with pytest.raises(InputError, match="cannot be read: HTTP Error 404"):
        open(f"{served}/absent.tar")


@pytest.mark.parametrize("kept", [2, 3, 4])
def test_a_connection_lost_between_two_files_is_no_end_of_the_data(tmp_path, served, monkeypatch, kept):
    path = tarred(tmp_path / "x.tar", [m for i in range(30) for m in sample(i)])
    at = [member.offset_data for member in tars.members(path)][2 * kept] - tarfile.BLOCKSIZE
    whole = path.read_bytes()
    monkeypatch.setattr(
        http.server.SimpleHTTPRequestHandler, "copyfile", lambda self, source, out: out.write(whole[:at])
    )
    with pytest.raises(InputError, match=rf"x\.tar is cut short: {len(whole) - at:,} bytes never came"):
        open(f"{served}/x.tar")


def test_an_address_is_never_a_command():
    assert not web.is_url("pipe:cat x.tar")
    with pytest.raises(InputError):
        open("pipe:cat x.tar")
