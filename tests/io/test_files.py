"""Small file habits: whole or not at all."""

import json
import os
import stat

import numpy as np
import pytest

from genoweave.errors import StoreError
from genoweave.io import files


def test_write_atomic__replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "x.txt"
    files.write_atomic(path, "old")
    files.write_atomic(path, b"new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_write_atomic__a_private_file_is_private(tmp_path):
    files.write_atomic(tmp_path / "key", b"secret", mode=0o600)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_write_atomic__a_failure_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.txt"
    files.write_atomic(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left on device; free space or choose another folder"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"


def test_write_atomic__no_such_folder(tmp_path):
    with pytest.raises(StoreError, match="cannot write"):
        files.write_atomic(tmp_path / "none" / "x", "text")


def test_write_json__numpy_numbers_and_sorted_keys(tmp_path):
    files.write_json(tmp_path / "x.json", {"b": np.int64(2), "a": np.float64(0.5), "c": tmp_path})
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == {"a": 0.5, "b": 2, "c": str(tmp_path)}
    assert text.index('"a"') < text.index('"b"')


def test_digest__of_a_folder_is_of_names_and_contents(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "x").write_text("1")
    assert files.digest(tmp_path / "one") == files.digest(tmp_path / "two")
    (tmp_path / "two" / "sub" / "x").rename(tmp_path / "two" / "sub" / "y")
    assert files.digest(tmp_path / "one") != files.digest(tmp_path / "two")
    assert files.size(tmp_path / "one") == 1


def test_remove__files_folders_and_nothing(tmp_path):
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    for name in ("folder", "file", "nothing"):
        files.remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_remove__a_link_to_a_folder_leaves_the_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.remove(tmp_path / "link")
    assert (tmp_path / "real").is_dir()
    assert not (tmp_path / "link").exists()


def test_source_fingerprint__tells_a_changed_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"0" * 5000)
    before = files.source_fingerprint(path)
    assert files.source_fingerprint(path) == before
    path.write_bytes(b"0" * 4999 + b"1")
    assert files.source_fingerprint(path) != before


def write_batches(path, token, batches, stop=None):
    with files.AppendingFile(path, token) as out:
        start = out.batches
        for data in batches[start:stop]:
            out.append(data)
        if stop is None:
            out.commit()
    return start


BATCHES = [b"one ", b"two ", b"three "]


def test_appending_file__goes_on_after_the_last_whole_batch(tmp_path):
    path = tmp_path / "x"
    assert write_batches(path, "token", BATCHES, stop=2) == 0
    with (tmp_path / "x.partial").open("ab") as file:
        file.write(b"half a bat")
    assert not path.exists()
    assert write_batches(path, "token", BATCHES) == 2
    assert path.read_bytes() == b"one two three "
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_appending_file__without_a_token_nothing_is_continued(tmp_path):
    write_batches(tmp_path / "x", "", BATCHES, stop=2)
    assert write_batches(tmp_path / "x", "", BATCHES) == 0
    assert (tmp_path / "x").read_bytes() == b"one two three "


@pytest.mark.parametrize("damage", ["token", "journal", "short", "gone"])
def test_appending_file__begins_anew_where_it_cannot_go_on(tmp_path, damage):
    path, partial = tmp_path / "x", tmp_path / "x.partial"
    write_batches(path, "token", BATCHES, stop=2)
    if damage == "journal":
        (tmp_path / "x.journal").write_text("{")
    elif damage == "short":
        partial.write_bytes(b"one")
    elif damage == "gone":
        partial.unlink()
    assert write_batches(path, "other" if damage == "token" else "token", BATCHES) == 0
    assert path.read_bytes() == b"one two three "
