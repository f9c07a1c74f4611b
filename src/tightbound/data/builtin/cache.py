"""The folder of downloaded data: found, verified, filled."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from tightbound.core.errors import InputError, first_line
from tightbound.core.files import write_atomic

Convert = Callable[[bytes], bytes]

_TIMEOUT = 20  # seconds


def cache_folder() -> Path:
    """Return the folder that the environment variable TIGHTBOUND_DATA names, or the user's cache folder."""
    if folder := os.environ.get("TIGHTBOUND_DATA"):
        return Path(folder).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("tightbound"))


def cached(
    files: dict[str, str],
    folder: str,
    mirrors: Sequence[str],
    read: Convert,
    *,
    sources: dict[str, str] | None = None,
    convert: Convert = bytes,
) -> list[bytes]:
    """Return the verified payload of each file of a data set, fetched if it is absent.

    Args:
        files: File name -> SHA-256 of its payload.
        folder: Name below `cache_folder()`.
        mirrors: Addresses that a name is appended to, tried in order.
        read: Content of a file -> payload; may raise anything if the content is damaged.
        sources: File name -> name on the mirrors, where it differs.
        convert: What was downloaded -> content of the file.
    """
    home = cache_folder() / folder
    absent = [name for name in files if not (home / name).is_file()]
    for name in absent:
        addresses = [mirror + (sources or {}).get(name, name) for mirror in mirrors]
        try:
            content = _fetch(addresses, folder, convert, lambda c, n=name: _payload(c, files[n], read))
        except OSError as error:
            raise InputError(
                f"{folder} could not be fetched ({error}); put {', '.join(absent)} into {home}, "
                f"or set TIGHTBOUND_DATA to a folder that holds them in {folder}{os.sep}"
            ) from None
        write_atomic(home / name, content)
    return [_stored(home / name, digest, read) for name, digest in files.items()]


def _stored(path: Path, digest: str, read: Convert) -> bytes:
    try:
        return _payload(path.read_bytes(), digest, read)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    except ValueError as error:
        raise InputError(f"{path} {error}; delete it and it is fetched again") from None


def _payload(content: bytes, digest: str, read: Convert) -> bytes:
    """Return the payload of a file; raise ValueError if it is not what was published."""
    try:
        payload = read(content)
    except Exception as error:  # decoders of gzip and zip raise many kinds for garbage
        raise ValueError(f"is corrupt ({first_line(error)})") from None
    found = hashlib.sha256(payload).hexdigest()
    if found != digest:
        raise ValueError(f"does not hold the published data (SHA-256 {found[:12]}..., not {digest[:12]}...)")
    return payload


def _fetch(addresses: Sequence[str], name: str, convert: Convert, verify: Convert) -> bytes:
    """Return the content of a file from the first address that has what was published, or raise OSError."""
    reasons = []
    for address in addresses:
        try:
            with urllib.request.urlopen(address, timeout=_TIMEOUT) as response:
                content = convert(_received(response, int(response.headers.get("Content-Length") or 0), name))
            verify(content)
            return content
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            reasons.append(f"{address.split('/')[2]}: {first_line(reason)}")
    raise OSError("; ".join(reasons))


def _received(response: http.client.HTTPResponse, total: int, name: str) -> bytes:
    from tqdm.auto import tqdm

    data = bytearray()
    with tqdm(total=total, unit="B", unit_scale=True, desc=name, delay=1) as bar:
        while chunk := response.read(1 << 16):
            data += chunk
            bar.update(len(chunk))
    if total and len(data) != total:
        raise OSError(f"the connection ended after {len(data)} of {total} bytes")
    return bytes(data)
