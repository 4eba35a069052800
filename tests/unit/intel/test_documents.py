"""Documents from others: huge, deep, cut, made to be misread; and what is taken of them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.errors import BadInput
from app.intel import documents, tlp
from app.intel.documents import MAX_OBJECTS, read

ID = "indicator--6c0a5c1e-3f0f-5a59-9d0c-2d5b7a1c9e10"
GOOD = {"type": "indicator", "id": ID, "name": "Grüße \U0001f600"}


def _bundle(*objects: Any, **more: Any) -> bytes:
    return orjson.dumps({"type": "bundle", "id": f"bundle--{ID[11:]}", **more, "objects": list(objects)})


def test_objects_read() -> None:
    """A bundle and an envelope give their objects, whatever white space and alphabet they are written in."""
    spaced = b' \n{ "more" : false ,"objects"\t:\r\n[ ' + orjson.dumps(GOOD) + b" , " + orjson.dumps(GOOD) + b" ] } \n"
    for data, kind in ((_bundle(GOOD, GOOD), "bundle"), (spaced, "envelope")):
        found = read(data)
        assert (found.kind, len(found)) == (kind, 2)
        assert [one.content for one in found.objects()] == [GOOD, GOOD]
        assert [one.number for one in found.objects(1, 7)] == [1]
        assert orjson.loads(next(found.objects()).data) == GOOD


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "must be a JSON object"),
        (b"[1]", "must be a JSON object"),
        (b"{}", "valid JSON"),
        (b'{"objects": []}', "at least one object"),
        (b'{"objects": 7}', "must be a list"),
        (b'{"objects": [7]}', r"objects\.0: must be an object"),
        (b'{"type": "bundle"}', "at least one object"),
        (b'{"type": "report", "objects": [{}]}', "type must be bundle"),
        (b'{"objects": [{"a": 1, "a": 2}]}', r"objects\.0: a name stands in it twice"),
        (b'{"objects": [{"b": {"a": 1, "a": 2}}]}', "twice"),
        (b'{"objects": [{"a": 1}], "objects": [{"b": 2}]}', "twice"),
        (b'{"objects": [{"a": NaN}]}', "without NaN"),
        (b'{"objects": [{"a": -Infinity}]}', "without NaN"),
        (b'{"objects": [{"a": "\xff"}]}', "UTF-8"),
        (b'{"objects": [{"a": "\xe2\x82"}]}', "UTF-8"),
        (b'\xef\xbb\xbf{"objects": [{"a": 1}]}', "must be a JSON object"),
        (b'{"objects": [{"a": 1}', "cut"),
        (b'{"objects": [{"a": 1}]', "cut"),
        (b'{"objects": [{"a": 1}]} {}', "nothing behind it"),
        (b'{"objects": [{"a": 1},]}', "valid JSON"),
        (b'{"objects": [{"a": ' + b"9" * 5000 + b"}]}", "valid JSON"),
        (b'{"objects": [{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}]}", "nested deeper"),
        (b'{"objects": [' + b'{"a":' * 50_000, "nested deeper"),
        (b'{"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "nested deeper"),
        (b'{"objects": [{"a": "' + b"x" * 3_000_000 + b'"}]}', "65,536 bytes"),
        (b'{"x": "' + b"x" * 100_000 + b'", "objects": [{}]}', "beside its objects"),
        (b'{"objects": [' + b"{}," * MAX_OBJECTS + b"{}]}", f"at most {MAX_OBJECTS:,} objects"),
        (b" " * (documents.MAX_BYTES + 1), "at most 67,108,864 bytes"),
    ],
)
def test_documents_refused(data: bytes, rule: str) -> None:
    """One error names the place and the rule, and quotes nothing."""
    with pytest.raises(BadInput, match=rule) as caught:
        read(data)
    assert len(str(caught.value)) < 150


def test_bad_objects_left_out() -> None:
    """An object that breaks a rule of its own is named, and the others are taken; red ones are known as such."""
    deep: Any = 1
    for _ in range(30):
        deep = [deep]
    red = {**GOOD, "object_marking_refs": [tlp.LEVELS["red"]]}
    objects = (
        {"type": "indicator", "id": "indicator--7"}, {**GOOD, "type": "x"}, {**GOOD, "a": "x" * 70_000},
        {**GOOD, "a": deep}, {"a": 1}, red, GOOD,
    )  # fmt: skip
    found = list(read(_bundle(*objects)).objects())
    assert [bool(one.fault) for one in found] == [True] * 5 + [False, False]
    assert [one.red for one in found] == [False] * 5 + [True, False]
    (infinite,) = read(b'{"objects": [{"a": 1e999}]}').objects()
    assert infinite.content is None


_SCRIPT = """
import resource, sys
from pathlib import Path
from app.cli.acting import read_bytes
from app.errors import BadInput
from app.intel import documents
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    documents.read(read_bytes(Path(sys.argv[1]), documents.MAX_BYTES))
except BadInput as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_gigabyte_file(tmp_path: Path) -> None:
    """A file of 1 GB is refused, and no more of it is read than a document may have."""
    file = tmp_path / "huge.json"
    with file.open("wb") as out:
        out.write(b'{"objects": [')
        out.truncate(1 << 30)
    ran = subprocess.run([sys.executable, "-c", _SCRIPT, str(file)], capture_output=True, text=True, check=True, timeout=60)
    said, grown_mib = ran.stdout.splitlines()
    assert said.endswith("must be at most 67,108,864 bytes")
    assert int(grown_mib) < 200


def test_large_document_quick() -> None:
    """50,000 objects are looked through in seconds."""
    data = _bundle(*[{**GOOD, "pattern": "x" * 300}] * 50_000)
    began = time.monotonic()
    found = read(data)
    assert len(found) == 50_000
    assert time.monotonic() - began < 10
