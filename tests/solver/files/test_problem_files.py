"""Problem files keep every bit, and hostile ones end in one clear sentence."""

import io
import json
import os
import pathlib
import stat
import warnings
import zipfile
from inspect import signature

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stsflora.solver import FileFormatError, Problem, ProblemError
from stsflora.solver.files import problem_files
from stsflora.solver.files.file_access import write_atomically
from stsflora.solver.files.json_files import MAX_JSON_DEPTH, parse_json

POSITIVE = st.floats(1e-3, 1e3)


@st.composite
def problems(draw) -> Problem:
    clients, tokens = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    importance = draw(hnp.arrays(np.float64, (clients, tokens), elements=st.floats(0, 10)))
    importance[0, 0] = 1.0
    limits = st.one_of(POSITIVE, st.just(np.inf))
    return Problem(
        gain=draw(hnp.arrays(np.float64, clients, elements=st.floats(1e-14, 1e-4))),
        importance=importance,
        bits_per_token=draw(hnp.arrays(np.float64, clients, elements=POSITIVE)),
        bandwidth_hz=draw(POSITIVE),
        max_power_w=draw(POSITIVE),
        max_energy_j=draw(hnp.arrays(np.float64, clients, elements=limits)),
        deadline_s=draw(hnp.arrays(np.float64, clients, elements=limits)),
        overhead_s=draw(hnp.arrays(np.float64, clients, elements=st.floats(0, 1))),
        min_tokens=draw(hnp.arrays(np.int64, clients, elements=st.integers(1, tokens))),
        extra_tokens=draw(st.integers(0, 3)),
    )


def small_problem(**changes) -> Problem:
    values = {
        "gain": [1e-9, 2e-9],
        "importance": [[3.0, 2.0, 1.0], [5.0, 0.5, 0.5]],
        "bits_per_token": 1e6,
        "bandwidth_hz": 1e7,
        "max_power_w": 0.2,
        "max_energy_j": [0.8, np.inf],
    }
    return Problem(**(values | changes))


def stored_fields() -> dict[str, object]:
    """What a file has of a problem without alternatives, caps and the like."""
    later = signature(Problem).parameters
    names = [
        name
        for name in small_problem().as_dict()
        if list(later).index(name) <= list(later).index("payload_bits")
    ]
    return {name: getattr(small_problem(), name) for name in names}


def npz_bytes(**changes) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **(stored_fields() | changes))
    return buffer.getvalue()


def npz_with_member(name: str, content: bytes) -> bytes:
    """A problem's archive in which one member has the given bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(npz_bytes())) as source, zipfile.ZipFile(buffer, "w") as target:
        for entry in source.infolist():
            target.writestr(entry.filename, content if entry.filename == name else source.read(entry))
    return buffer.getvalue()


def npy_header(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize("ending", ["npz", "json", "JSON"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(problem=problems())
def test_saved_problems_come_back_bit_by_bit(tmp_path, ending, problem):
    path = tmp_path / f"problem.{ending}"
    problem.save(path)
    assert Problem.load(path) == problem
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_json_is_readable_and_may_be_written_by_hand(tmp_path):
    path = tmp_path / "problem.json"
    small_problem().save(path)
    fields = json.loads(path.read_text())
    assert list(fields) == list(stored_fields())
    assert fields["max_energy_j"] == [0.8, "inf"]
    assert fields["deadline_s"] == "inf"
    assert fields["overhead_s"] == 0.0
    assert fields["importance"] == [[3.0, 2.0, 1.0], [5.0, 0.5, 0.5]]
    for optional in ("deadline_s", "overhead_s", "min_tokens", "extra_tokens", "noise_w_per_hz"):
        del fields[optional]
    path.write_text(json.dumps(fields))
    assert Problem.load(path) == small_problem()


def test_both_formats_hold_the_same(tmp_path):
    small_problem().save(tmp_path / "a.npz")
    small_problem().save(tmp_path / "a.json")
    assert Problem.load(tmp_path / "a.npz") == Problem.load(tmp_path / "a.json")


def test_compressed_archives_are_read(tmp_path):
    path = tmp_path / "problem.npz"
    np.savez_compressed(path, **stored_fields())
    assert Problem.load(path) == small_problem()


def test_writing_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "problem.json"
    small_problem().save(path)
    before = path.read_bytes()

    def broken(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(pathlib.Path, "replace", broken)
    with pytest.raises(FileFormatError, match="disk full"):
        small_problem(bandwidth_hz=2e7).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["problem.json"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_written_files_have_usual_permissions(tmp_path):
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    written = write_atomically(tmp_path / "written", b"")
    assert stat.S_IMODE(written.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


@pytest.mark.parametrize(
    ("name", "words"),
    [("problem.pickle", r"the ending '\.pickle'; allowed: \.npz or \.json"), ("problem", "the ending ''")],
)
def test_other_endings_are_refused(tmp_path, name, words):
    with pytest.raises(FileFormatError, match=words):
        small_problem().save(tmp_path / name)
    with pytest.raises(FileFormatError, match=words):
        Problem.load(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing.npz", "missing.json", "no/such/folder.npz"])
def test_missing_files_and_folders_are_named(tmp_path, name):
    with pytest.raises(FileFormatError, match="an existing file"):
        Problem.load(tmp_path / name)


def test_a_folder_or_device_is_not_read(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(FileFormatError, match="a folder or device"):
        Problem.load(tmp_path / "folder.npz")


def test_an_unwritable_place_is_named(tmp_path):
    with pytest.raises(FileFormatError, match="cannot be written"):
        small_problem().save(tmp_path / "no" / "folder" / "problem.npz")


def test_pickles_are_never_executed(tmp_path):
    trap = tmp_path / "executed"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    path = tmp_path / "problem.npz"
    np.savez(path, **(stored_fields() | {"gain": np.array([Hostile()], dtype=object)}))
    with pytest.raises(FileFormatError, match=r"'gain\.npy' of type object"):
        Problem.load(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npz_with_member("gain.npy", npy_header(f"({10**12},)")), "of 128 bytes"),
        (npz_with_member("gain.npy", npy_header("(-1,)") + bytes(8)), r"shape \(-1,\)"),
        (npz_with_member("gain.npy", npy_header("(1, 1, 2)") + bytes(16)), r"shape \(1, 1, 2\)"),
        (npz_with_member("gain.npy", npy_header("(2,)", "'<c16'") + bytes(32)), "complex128"),
        (npz_with_member("gain.npy", npy_header("(2,)", "'<U4'") + bytes(32)), "<U4"),
        (npz_with_member("gain.npy", npy_header("(2,)", "[('a', '<f8')]") + bytes(16)), "type"),
        (
            npz_with_member("gain.npy", npy_header("__import__('os')") + bytes(16)),
            "malformed header",
        ),
        (npz_with_member("gain.npy", b"\x93NUMPY\x09\x00" + bytes(20)), "malformed header"),
        (npz_with_member("gain.npy", b"no array at all"), "malformed header"),
        (npz_bytes()[:-200], "zip"),
        (npz_bytes()[: len(npz_bytes()) // 2], "zip"),
        (b"", "zip"),
        (b"PK\x03\x04 not really", "zip"),
        (npz_bytes(extra=np.zeros(3)), "unknown field 'extra'"),
    ],
)
def test_hostile_archives_end_in_one_sentence(tmp_path, content, words):
    path = tmp_path / "problem.npz"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=words) as caught:
        Problem.load(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("file 'problem.npz': got ")


def test_archives_that_unpack_to_too_much_are_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "problem.npz"
    np.savez_compressed(path, **(stored_fields() | {"importance": np.zeros((1000, 1000))}))
    monkeypatch.setattr(problem_files, "MAX_NPZ_BYTES", 100_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(FileFormatError, match="bytes unpacked, more than 100000"):
        Problem.load(path)
    monkeypatch.setattr(problem_files, "MAX_NPZ_BYTES", 1000)
    with pytest.raises(FileFormatError, match="at most 1000 bytes"):
        Problem.load(path)


@pytest.mark.parametrize("repeated", ["gain.npy", "gain"])
def test_members_must_be_a_problems_and_occur_once(tmp_path, repeated):
    path = tmp_path / "problem.npz"
    path.write_bytes(npz_bytes())
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile finds a repeated name odd too
        archive.writestr(repeated, b"")
    with pytest.raises(FileFormatError, match=r"occurs twice|'gain without \.npy'"):
        Problem.load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting|JSON"),
        ("[1, 2]", "a JSON list at the top"),
        ('{"gain": NaN}', "NaN, which is not JSON"),
        ('{"gain": -Infinity}', "-Infinity, which is not JSON"),
        ('{"gain": 1e999}', "1e999, which is beyond float64"),
        ('{"gain": 1, "gain": 2}', "a key that occurs twice"),
        ('{"gain": ' + "[" * 100_000 + "]" * 100_000 + "}", f"nested more than {MAX_JSON_DEPTH} deep"),
        ('{"gain": ' + "[" * 100_000, f"nested more than {MAX_JSON_DEPTH} deep"),
        ('{"gain": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ('{"gain": 1}', "no field 'bandwidth_hz'"),
        ('{"gains": 1}', "unknown field 'gains'"),
    ],
)
def test_hostile_json_ends_in_one_sentence(tmp_path, text, words):
    path = tmp_path / "problem.json"
    path.write_text(text)
    with pytest.raises(FileFormatError, match=words) as caught:
        Problem.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_json_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "problem.json"
    path.write_bytes(b'{"gain": "\xff\xfe"}')
    with pytest.raises(FileFormatError, match="utf-8"):
        Problem.load(path)


def test_brackets_inside_strings_do_not_count_as_depth():
    text = json.dumps({"a": "[" * 1000 + '\\"' + "{" * 1000})
    assert parse_json(text.encode())["a"].startswith("[[")


@pytest.mark.parametrize("value", ["many", None, [1, "two"], [[1, 2], [3]], {"a": 1}, True])
def test_json_values_of_wrong_types_are_problem_errors(tmp_path, value):
    path = tmp_path / "problem.json"
    small_problem().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gain": value}))
    with pytest.raises(ProblemError, match=r"Problem\.gain"):
        Problem.load(path)


def test_inf_is_allowed_only_where_there_may_be_no_limit(tmp_path):
    path = tmp_path / "problem.json"
    small_problem().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_power_w": "inf"}))
    with pytest.raises(ProblemError, match="max_power_w"):
        Problem.load(path)


def test_json_too_large_to_read_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(problem_files, "MAX_JSON_BYTES", 100)
    with pytest.raises(FileFormatError, match=r"Save it as \.npz"):
        small_problem().save(tmp_path / "problem.json")
    assert list(tmp_path.iterdir()) == []
