"""The folder of downloaded data: found, verified, filled."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from tightbound.core.errors import InputError

Convert = Callable[[bytes], bytes]

_TIMEOUT = 20  # seconds
_LONG = 1 << 20  # bytes, from which progress is shown


def cache_folder() -> Path:
    """The folder named by the environment variable TIGHTBOUND_DATA, else the user's cache folder."""
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
    """The verified payload of each file of one data set, fetched where absent.

    Arguments:
        files: File name -> SHA-256 of its payload.
        folder: Name below `cache_folder()`.
        mirrors: Addresses that a name is appended to, tried in order.
        read: Content of a file -> payload; may raise anything where it is corrupt.
        sources: File name -> name on the mirrors, where it differs.
        convert: What was downloaded -> content of the file.

    Raises:
        InputError: for a corrupt file; and where files are absent and cannot be fetched: names them,
            and the folder to put them in.
    """
    home = cache_folder() / folder
    absent = [name for name in files if not (home / name).is_file()]
    for name in absent:
        remote = (sources or {}).get(name, name)
        try:
            _write(
                home / name,
                _fetch([mirror + remote for mirror in mirrors], folder, convert, read, files[name]),
            )
        except OSError as error:
            raise InputError(
                f"{folder} could not be fetched ({error}); put {', '.join(absent)} into {home}, "
                f"or set TIGHTBOUND_DATA to a folder that holds them in {folder}{os.sep}"
            ) from None
    return [_stored(home / name, digest, read) for name, digest in files.items()]


def _stored(path: Path, digest: str, read: Convert) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    try:
        return _payload(content, digest, read)
    except ValueError as error:
        raise InputError(f"{path} {error}; delete it and it is fetched again") from None


def _payload(content: bytes, digest: str, read: Convert) -> bytes:
    """What a file holds; raises ValueError where that is not what was published."""
    try:
        payload = read(content)
    except Exception as error:  # decoders of gzip and zip raise many kinds for garbage
        raise ValueError(f"is corrupt ({_first_line(error)})") from None
    found = hashlib.sha256(payload).hexdigest()
    if found != digest:
        raise ValueError(f"does not hold the published data (SHA-256 {found[:12]}..., not {digest[:12]}...)")
    return payload


def _fetch(addresses: Sequence[str], name: str, convert: Convert, read: Convert, digest: str) -> bytes:
    """The content of a file from the first address that gives what was published, else OSError."""
    reasons = []
    for address in addresses:
        host = address.split("/")[2]
        try:
            with urllib.request.urlopen(address, timeout=_TIMEOUT) as response:
                content = convert(_receive(response, int(response.headers.get("Content-Length") or 0), name))
            _payload(content, digest, read)
            return content
        except urllib.error.URLError as error:
            reasons.append(f"{host}: {_first_line(error.reason)}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            reasons.append(f"{host}: {_first_line(error)}")
    raise OSError("; ".join(reasons))


def _receive(response: http.client.HTTPResponse, total: int, name: str) -> bytes:
    if total < _LONG:
        data = response.read()
    else:
        from tqdm.auto import tqdm

        data = bytearray()
        with tqdm(total=total, unit="B", unit_scale=True, desc=name) as bar:
            while chunk := response.read(1 << 16):
                data += chunk
                bar.update(len(chunk))
    if total and len(data) != total:
        raise OSError(f"the connection ended after {len(data)} of {total} bytes")
    return bytes(data)


def _write(path: Path, content: bytes) -> None:
    """Writes a whole file or none: under a temporary name in the same folder, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
