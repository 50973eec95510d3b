"""Sources of images, hostile files, partitions, pretrained weights."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("sklearn")

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from stsflora.models.data import Images, digits, load_data
from stsflora.models.partition import dirichlet_partition, iid_partition
from stsflora.models.vit.backbone import DIGITS_VIT_FILE, create, digits_vit, small_vit
from stsflora.solver import FileFormatError, MissingDependencyError, OptionError, ProblemError

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def rng(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


def jpeg(colour, size=(20, 12)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "jpeg")
    return buffer.getvalue()


def write_pack(path, colours, **changes):
    files = [jpeg(colour) for colour in colours]
    arrays = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)]),
        "labels": np.arange(len(files)) % 2,
    }
    np.savez(path, **{**arrays, **changes})


# sources


def test_digits_are_three_disjoint_parts():
    parts = digits(32)
    assert [len(part) for part in parts] == [898, 599, 300]
    assert all(part.pixels.shape[1:] == (3, 32, 32) for part in parts)
    seen = [{row.numpy().tobytes() for row in part.pixels} for part in parts]
    assert len(seen[0] | seen[1] | seen[2]) >= 1790
    values = parts[0].normalised(torch.arange(4))
    assert values.dtype == torch.float32
    assert values.min() >= -1
    assert values.max() <= 1


def test_packs_and_folders_are_read(tmp_path):
    write_pack(tmp_path / "some_train.npz", ["red", "lime", "blue"])
    write_pack(tmp_path / "some_test5.npz", ["red", "lime"])
    data = load_data(str(tmp_path), 8)
    assert (len(data.train), len(data.test), data.classes) == (3, 2, 2)
    assert data.train.labels.tolist() == [0, 1, 0]
    assert data.train.pixels[2, :, 4, 4].tolist() == pytest.approx([0, 0, 255], abs=4)
    for part, name in (("train", "a"), ("train", "b"), ("val", "b")):
        (tmp_path / "set" / part / name).mkdir(parents=True)
        (tmp_path / "set" / part / name / "1.jpg").write_bytes(jpeg("red"))
    folder = load_data(str(tmp_path / "set"), 8)
    assert (folder.train.labels.tolist(), folder.test.labels.tolist()) == ([0, 1], [1])


def test_arrays_are_read(tmp_path):
    x, y = rng().integers(0, 256, (4, 8, 8, 3), dtype=np.uint8), np.array([0, 1, 2, 0])
    np.savez(tmp_path / "mini.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    data = load_data(str(tmp_path / "mini.npz"), 8)
    np.testing.assert_array_equal(data.train.pixels.permute(0, 2, 3, 1), x)
    assert data.classes == 3


@pytest.mark.skipif(not SHARED.exists(), reason="no real images here")
def test_real_packs():
    data = load_data(str(SHARED / "flowers102" / "flowers10_mini_64px.npz"), 32)
    assert (len(data.train), len(data.test), data.classes) == (200, 100, 10)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"offsets": np.array([0, 5, 3, 9])}, "offsets that do not fit"),
        ({"labels": np.array([0, 1])}, "2 labels and 4 offsets"),
        ({"labels": np.array([0.5, 1, 1])}, "labels of type float64"),
        ({"labels": np.array([0, -1, 1])}, "labels -1 to 1; allowed: 0 to 1"),
        (
            {"jpeg": np.zeros(10, np.uint8), "offsets": np.array([0, 3, 6, 10])},
            "an image that does not decode",
        ),
        ({"jpeg": np.array([{}])}, "no readable .npz"),
    ],
)
def test_hostile_packs_are_refused_by_name(tmp_path, changes, text):
    write_pack(tmp_path / "some_test.npz", ["red", "red"])
    write_pack(tmp_path / "some_train.npz", ["red", "lime", "blue"], **changes)
    with pytest.raises((FileFormatError, OptionError)) as caught:
        load_data(str(tmp_path), 8)
    assert text in str(caught.value)


def test_missing_sources_are_named(tmp_path):
    with pytest.raises(OptionError, match="source 'flowers'; allowed: digits"):
        load_data("flowers", 8)
    with pytest.raises(FileFormatError, match="no train/CLASS and test/CLASS"):
        load_data(str(tmp_path), 8)
    with pytest.raises(FileFormatError, match="no readable file"):
        load_data(str(tmp_path / "no.npz"), 8)
    np.savez(tmp_path / "x.npz", a=np.zeros(2))
    with pytest.raises(FileFormatError, match="no array 'x_train'"):
        load_data(str(tmp_path / "x.npz"), 8)


def test_images_check_themselves():
    pixels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(OptionError, match="with 3 labels"):
        Images(pixels, torch.zeros(3, dtype=torch.int64), 2)
    with pytest.raises(OptionError, match="labels 0 to 2; allowed: 0 to 1"):
        Images(pixels, torch.tensor([0, 2]), 2)


# public sets by name, behind stand-ins for the packages that fetch them


def pairs(count, label=int):
    return [(Image.new("RGB", (20, 12), (10 * k, 0, 0)), label(k % 2)) for k in range(count)]


class BySplit:
    def __new__(cls, root, split="train", download=False):
        assert download
        return pairs({"train": 6, "test": 4}[split])


class ByFlag:
    def __new__(cls, root, train=True, download=False):
        assert download
        return pairs(6 if train else 4)


class Offline:
    def __new__(cls, root, split="train", download=False):
        raise RuntimeError("no route to host")


class Unsplit:
    def __new__(cls, root, download=False):
        return pairs(4)


@pytest.fixture
def torchvision(monkeypatch):
    kinds = {kind.__name__: kind for kind in (BySplit, ByFlag, Offline, Unsplit)}
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=SimpleNamespace(**kinds)))


@pytest.mark.parametrize("name", ["BySplit", "ByFlag"])
def test_torchvision_sets_are_read_by_name(torchvision, name):
    found = load_data(f"torchvision:{name}", 8)
    assert (len(found.train), len(found.test), found.classes, found.name) == (6, 4, 2, name)
    assert found.train.pixels[3, 0].float().mean() == pytest.approx(30, abs=1)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("Nothing", OptionError, "a class of torchvision.datasets"),
        ("Offline", FileFormatError, "no route to host"),
        ("Unsplit", OptionError, "takes other arguments"),
    ],
)
def test_torchvision_sets_that_cannot_be_read_say_why(torchvision, name, kind, said):
    with pytest.raises(kind, match=said):
        load_data(f"torchvision:{name}", 8)


class Table(list):
    """Rows with named columns, as Hugging Face's data sets are."""

    @property
    def column_names(self):
        return list(self[0])


def table(count, label=int):
    return Table({"image": picture, "label": number} for picture, number in pairs(count, label))


def hugging_face(monkeypatch, sets):
    def load_dataset(name):
        if sets is None:
            raise ConnectionError("no route to host")
        return sets

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))


@pytest.mark.parametrize("test", ["test", "validation"])
def test_hugging_face_sets_are_read_by_name(monkeypatch, test):
    hugging_face(monkeypatch, {"train": table(6), test: table(4)})
    found = load_data("hf:someone/flowers", 8)
    assert (len(found.train), len(found.test), found.classes) == (6, 4, 2)


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (None, "no route to host"),
        ({"train": table(6)}, "a part test or validation"),
        ({"train": table(6, str), "test": table(4, str)}, "no whole numbers"),
    ],
)
def test_hugging_face_sets_that_cannot_be_read_say_why(monkeypatch, sets, said):
    hugging_face(monkeypatch, sets)
    with pytest.raises(FileFormatError, match=said):
        load_data("hf:someone/flowers", 8)


@pytest.mark.parametrize(
    ("source", "module"), [("torchvision:CIFAR10", "torchvision"), ("hf:a/b", "datasets")]
)
def test_without_the_package_that_fetches_a_set_it_is_named(monkeypatch, source, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=f"pip install {module}"):
        load_data(source, 8)


# partitions


@given(st.integers(1, 40), st.integers(0, 50), st.sampled_from([0.01, 0.5, 100.0]))
def test_every_image_goes_to_one_client_and_no_client_is_empty(clients, seed, concentration):
    labels = rng(seed).integers(0, 4, 40 + seed)
    for parts in (
        iid_partition(len(labels), clients, rng(seed)),
        dirichlet_partition(labels, clients, concentration, rng(seed)),
    ):
        assert len(parts) == clients
        assert min(map(len, parts)) >= 1
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))


def test_concentration_decides_how_skewed_clients_are():
    labels = np.repeat(np.arange(10), 100)

    def largest_share(concentration):
        parts = dirichlet_partition(labels, 10, concentration, rng())
        return np.mean([np.bincount(labels[part]).max() / len(part) for part in parts])

    assert largest_share(0.05) > largest_share(0.5) > largest_share(1000.0)
    assert largest_share(1000.0) == pytest.approx(0.1, abs=0.02)


def test_impossible_partitions_are_named():
    with pytest.raises(OptionError, match="5 clients for 3 images; allowed: at least one image per client"):
        iid_partition(3, 5, rng())
    with pytest.raises(ProblemError, match="concentration = 0"):
        dirichlet_partition([0, 1], 2, 0.0, rng())


# weights


def test_the_small_vit_is_pretrained_once_and_then_read(tmp_path, monkeypatch):
    from stsflora.models.vit import backbone

    monkeypatch.setattr(backbone, "PRETRAINING_EPOCHS", 1)
    monkeypatch.setattr(backbone.pretrain, "__defaults__", (1,))
    first = digits_vit(tmp_path / "cache")
    monkeypatch.setattr(backbone, "pretrain", lambda *_: pytest.fail("pretrained twice"))
    again = digits_vit(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [DIGITS_VIT_FILE]
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_weights_of_a_file_positions_interpolated(tmp_path):
    torch.manual_seed(0)
    whole = small_vit(img_size=32, patch_size=16, embed_dim=192, depth=12, num_heads=3, num_classes=7)
    save_file(whole.state_dict(), tmp_path / "vit.safetensors")
    same = create("vit_tiny_patch16_224", 5, 32, tmp_path / "vit.safetensors")
    assert torch.equal(same.pos_embed, whole.pos_embed)
    assert same.head.out_features == 5
    larger = create("vit_tiny_patch16_224", 5, 64, tmp_path / "vit.safetensors")
    assert larger.pos_embed.shape == (1, 17, 192)


def test_missing_and_wrong_weights_are_named(tmp_path):
    with pytest.raises(FileFormatError, match="no readable file"):
        create("vit_tiny_patch16_224", 5, 32, tmp_path / "no.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not tensors")
    with pytest.raises(FileFormatError, match="no readable safetensors"):
        create("vit_tiny_patch16_224", 5, 32, tmp_path / "bad.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(FileFormatError, match=r"weights 'other\.safetensors': got no tensor"):
        create("vit_tiny_patch16_224", 5, 32, tmp_path / "other.safetensors")
    with pytest.raises(OptionError, match="model 'vit_of_mine'"):
        create("vit_of_mine", 5, 32, tmp_path / "other.safetensors")
