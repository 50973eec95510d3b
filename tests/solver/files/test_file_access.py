"""Making of folders: what exists stays, what cannot be made is the caller's error."""

from pathlib import Path

import pytest

from stsflora.solver import FileFormatError
from stsflora.solver.files.file_access import make_folder


def test_a_folder_is_made_with_its_parents_and_kept(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a" / "b")
    (folder / "kept").touch()
    assert make_folder(str(folder)) == folder
    assert (folder / "kept").exists()


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(FileFormatError, match=r"folder '.*taken.*no folder can be made .*Choose another"):
        make_folder(tmp_path / "taken" / below)
