"""Laws of stored data sets: what is stored is what the codec gives, whatever happens on the way."""

import importlib.util
import json
import multiprocessing
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from salcompress.codecs import load_codec
from salcompress.codecs.compress import compress_images
from salcompress.codecs.stored_images import StoredImages, verify, write_pictures
from salcompress.data.shards import index_name, shard_name
from salcompress.data.sources import Sources, find_sources
from salcompress.data.storage import ArrowFolder, LocalFolder
from salcompress.data.stored import StoredStreams, read_manifest
from salcompress.errors import (
    BitstreamError,
    CorruptError,
    DataError,
    ModelMismatchError,
    OutputError,
    SettingError,
)
from salcompress.image import read_image

JPEG = "jpeg:q=30"


@pytest.fixture
def sources(scenes):
    names = [f"images/{path.name}" for path in sorted((scenes.parent / "images").iterdir())]
    return Sources(LocalFolder(scenes.parent), names)


def some(sources, *numbers):
    return sources._replace(file_names=[sources.file_names[k] for k in numbers])


def compress(sources, spec, folder, workers=0, images_per_shard=1000, **more):
    return compress_images(
        sources, load_codec(spec), LocalFolder(folder), workers, images_per_shard, **more
    )


def files_of(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.name: path.read_bytes() for path in files if path.name != ".lock"}


STORED = [JPEG, "none", "salient:q=0.3,saliency=uniform,device=cpu"]
if importlib.util.find_spec("imageio_ffmpeg"):
    STORED.append("vvc:q=40,preset=faster")


@pytest.mark.parametrize("spec", STORED)
def test_each_image_is_what_the_codec_gives(sources, tmp_path, spec):
    codec = load_codec(spec)
    sources = some(sources, 0, 1, 2)
    manifest = compress(sources, spec, tmp_path, images_per_shard=2)
    images = StoredImages(tmp_path)
    assert len(images) == 3 and manifest.num_shards == 2
    for k, (name, stored) in enumerate(zip(sources.file_names, images.streams, strict=True)):
        path = sources.images.folder / name
        picture = read_image(path)
        stream = path.read_bytes() if spec == "none" else codec.encode(picture)
        assert images.streams.stream(k) == stream and stored.file_name == name
        assert np.array_equal(images[k], codec.decode(stream))
        assert (stored.height, stored.width) == picture.shape[:2]
    lengths = [stored.length for stored in images.streams]
    pixels = [stored.height * stored.width for stored in images.streams]
    assert manifest.num_bits == 8 * sum(lengths)
    assert manifest.bpp == pytest.approx(8 * sum(lengths) / sum(pixels), rel=1e-12)
    bpp = [8 * n / p for n, p in zip(lengths, pixels)]
    assert manifest.bpp_mean == pytest.approx(np.mean(bpp), rel=1e-12)


def test_shards_have_the_layout_of_webdataset(sources, tmp_path):
    """Two members of one key follow each other, and the key has no dot."""
    compress(sources, JPEG, tmp_path, images_per_shard=4)
    with tarfile.open(tmp_path / shard_name(1)) as tar:
        assert tar.getnames() == [f"00000000{k}.{end}" for k in (4, 5) for end in ("jpg", "json")]
        about = json.load(tar.extractfile("000000004.json"))
    stored = StoredStreams(tmp_path)[4]
    assert about == {
        "file_name": sources.file_names[4],
        "height": 240,
        "width": 320,
        "num_bits": 8 * stored.length,
        "checksum": stored.checksum,
    }


def test_workers_change_nothing(sources, tmp_path):
    for workers in (0, 2):
        compress(sources, JPEG, tmp_path / str(workers), workers, 4)
    assert files_of(tmp_path / "0") == files_of(tmp_path / "2")


def test_a_killed_call_goes_on(sources, tmp_path):
    """What was finished is not done again, and the end is that of an unbroken call."""
    compress(sources, JPEG, tmp_path / "unbroken", 0, 2)

    def killed(num_done):
        if num_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(sources, JPEG, tmp_path / "killed", 0, 2, on_image=killed)
    with pytest.raises(SettingError, match="is not complete; run its salcompress compress"):
        StoredStreams(tmp_path / "killed")
    done = []
    compress(sources, JPEG, tmp_path / "killed", 0, 2, on_image=done.append)
    assert done == [2, 3, 4, 5, 6]
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "unbroken")
    compress(sources, JPEG, tmp_path / "killed", 0, 2, on_image=done.append)
    assert done[5:] == [6]


def test_the_cure_of_a_damaged_shard_cures(sources, tmp_path):
    """Remove it and its index, and run the same call again."""
    compress(sources, JPEG, tmp_path, 0, 3)
    whole = files_of(tmp_path)
    (tmp_path / shard_name(1)).unlink()
    (tmp_path / index_name(1)).unlink()
    done = []
    compress(sources, JPEG, tmp_path, 0, 3, on_image=done.append)
    assert done == [3, 4, 5, 6] and files_of(tmp_path) == whole
    (tmp_path / shard_name(0)).write_bytes(whole["000000.tar"][:-600])
    compress(sources, JPEG, tmp_path, 0, 3)
    assert files_of(tmp_path) == whole
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(SettingError, match="has shards and no manifest"):
        compress(sources, "png", tmp_path, 0, 3)


def test_what_was_skipped_can_be_tried_again(sources, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    whole = (sources.images.folder / sources.file_names[0]).read_bytes()
    (folder / "a.png").write_bytes(whole)
    (folder / "b.png").write_bytes(whole[:900])
    out = tmp_path / "out"
    for retry, expected in ((False, 1), (False, 1), (True, 2)):
        manifest = compress(
            find_sources(LocalFolder(folder))._replace(sizes={}), JPEG, out, retry_skipped=retry
        )
        assert manifest.num_stored == expected
        (folder / "b.png").write_bytes(whole)
    vanished = find_sources(LocalFolder(folder))._replace(file_names=["a.png"])
    assert compress(vanished, JPEG, out).num_stored == 2  # goes on with the list of then


def test_two_processes_do_not_compress_into_one_folder(sources, tmp_path):
    from salcompress.files import exclusive_folder

    code = f"""
from salcompress.files import exclusive_folder
with exclusive_folder({str(tmp_path)!r}):
    print("held", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SettingError, match="is in use by another process"):
            compress(sources, JPEG, tmp_path)
        other.communicate("\n")
    with exclusive_folder(tmp_path):
        pass


def test_another_codec_or_other_images_are_refused(sources, tmp_path):
    base = tmp_path / "base"
    compress(sources, JPEG, base)
    before = files_of(base)
    with pytest.raises(SettingError, match=r"another codec: jpeg:q=30.* then, webp:q=10"):
        compress(sources, "webp:q=10", base)
    new = sources._replace(file_names=[*sources.file_names, "images/new.png"])
    with pytest.raises(SettingError, match=r"was begun without 1 of these images, such as .*new"):
        compress(new, JPEG, base)
    sized = sources._replace(sizes=dict.fromkeys(sources.file_names, 1))
    compress(sized, JPEG, tmp_path / "sized")
    other = sources._replace(sizes=dict.fromkeys(sources.file_names, 2))
    with pytest.raises(SettingError, match=r"with other images: .* had 1 bytes then, 2 now"):
        compress(other, JPEG, tmp_path / "sized")
    outside = sources._replace(file_names=["../x.png"])
    with pytest.raises(SettingError, match="'../x.png' leaves its folder"):
        compress(outside, JPEG, tmp_path / "new")
    with pytest.raises(SettingError, match="images per shard: 1000 then, 2 now"):
        compress(sources, JPEG, base, images_per_shard=2)
    with pytest.raises(SettingError, match="has no image to compress"):
        compress(some(sources), JPEG, tmp_path / "new")
    with pytest.raises(SettingError, match="is listed twice"):
        compress(some(sources, 1, 1), JPEG, tmp_path / "new")
    assert files_of(base) == before


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_read_is_listed(sources, tmp_path, workers):
    whole = [(sources.images.folder / name).read_bytes() for name in sources.file_names[:3]]
    folder = tmp_path / "images"
    folder.mkdir()
    for name, content in {
        "a.png": whole[0],
        "damaged.png": whole[0][:2000],
        "small.png": whole[1],
        "z.png": whole[2],
    }.items():
        (folder / name).write_bytes(content)
    mixed = Sources(
        LocalFolder(folder),
        ["a.png", "damaged.png", "gone.png", "small.png", "z.png"],
        {"small.png": "it has another size than the annotations say"},
    )
    manifest = compress(mixed, JPEG, tmp_path / "out", workers, 2)
    assert (manifest.num_stored, manifest.num_skipped) == (2, 3)
    images = StoredImages(tmp_path / "out")
    assert [stored.file_name for stored in images.streams] == ["a.png", "z.png"]
    assert np.array_equal(images[1], load_codec(JPEG).decode(images.streams.stream(1)))
    skipped = images.streams.skipped
    assert list(skipped) == ["damaged.png", "gone.png", "small.png"]
    assert "No such file" in skipped["gone.png"] and "another size" in skipped["small.png"]


def test_of_a_batch_that_the_codec_refuses_the_others_are_stored(tmp_path):
    """An image beyond the format's size costs itself, not its neighbours."""
    from salcompress.codecs.encoder_pool import encode_images
    from salcompress.image import encode_image

    (tmp_path / "a.png").write_bytes(encode_image(np.zeros((40, 50, 3), np.uint8), "PNG"))
    (tmp_path / "wide.png").write_bytes(encode_image(np.zeros((1, 2**20 + 1, 3), np.uint8), "PNG"))
    codec = load_codec("salient:q=0.3,saliency=uniform,device=cpu")
    whole, wide = encode_images(codec, LocalFolder(tmp_path), ["a.png", "wide.png"])
    assert whole.stream == codec.encode(np.zeros((40, 50, 3), np.uint8))
    assert isinstance(wide, DataError) and "wide.png" in str(wide)


def test_every_damage_is_found(sources, tmp_path):
    compress(sources, JPEG, tmp_path, 0, 3)
    whole = (tmp_path / shard_name(1)).read_bytes()
    stored = StoredStreams(tmp_path)[4]
    assert verify(tmp_path, None) == (6, 6, ())
    flipped = bytearray(whole)
    flipped[stored.offset + stored.length // 2] ^= 1
    (tmp_path / shard_name(1)).write_bytes(flipped)
    with pytest.raises(CorruptError, match="000005.png does not match its checksum"):
        StoredImages(tmp_path)[4]
    found = verify(tmp_path, 0)
    assert found.num_streams == 6 and found.num_decoded == 0 and len(found.problems) == 1
    (tmp_path / shard_name(1)).write_bytes(whole[:-1000])
    with pytest.raises(DataError, match="not the .* of its index: it is cut short"):
        StoredStreams(tmp_path)[4]
    (tmp_path / shard_name(1)).write_bytes(whole)
    (tmp_path / index_name(1)).unlink()
    with pytest.raises(DataError, match=r"index.json is missing; make the indices again"):
        StoredStreams(tmp_path)[4]
    assert verify(tmp_path, None, rebuild_indices=True) == (6, 6, ())
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="manifest.json is damaged"):
        StoredStreams(tmp_path)
    with pytest.raises(SettingError, match="holds no stored data set; make one with"):
        StoredStreams(tmp_path / "nothing")


def test_indices_are_made_again_where_they_are_lost_and_only_there(sources, tmp_path):
    """The reasons of a shard that is whole stay, and those of one that is not are lost."""
    gone = ["images/gone.png", "images/gone2.png"]
    names = [*sources.file_names[:2], gone[0], *sources.file_names[2:], gone[1]]
    out = tmp_path / "out"
    compress(sources._replace(file_names=names), JPEG, out, 0, 4)
    before, manifest = files_of(out), read_manifest(LocalFolder(out))
    (out / index_name(0)).write_text("{")
    assert verify(out, 1, rebuild_indices=True).problems == ()
    assert read_manifest(LocalFolder(out)) == manifest
    after = files_of(out)
    assert [name for name in before if before[name] != after[name]] == ["000000.index.json"]
    assert list(StoredStreams(out).skipped) == ["number 000000002", gone[1]]


def test_a_damaged_header_within_a_shard_is_no_end_of_it(sources, tmp_path):
    """tarfile would take it for the end, and what follows would be lost unsaid."""
    compress(sources, JPEG, tmp_path)
    path = tmp_path / shard_name(0)
    whole = path.read_bytes()
    offset = StoredStreams(tmp_path)[3].offset
    (tmp_path / index_name(0)).unlink()
    for damaged in (
        whole[: offset - 400] + b"\xff" + whole[offset - 399 :],
        whole[: offset - 512],
        whole[:-10240],
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"000000.tar is missing or damaged"):
            verify(tmp_path, rebuild_indices=True)
    path.write_bytes(whole)
    assert verify(tmp_path, None, rebuild_indices=True) == (6, 6, ())


def test_a_full_disk_leaves_what_is_finished(sources, tmp_path):
    """The second shard cannot be written; a later call makes it, and the first stays as it is."""
    folder = tmp_path / "out"
    compress(sources, JPEG, tmp_path / "unbroken", 0, 3)

    def occupied(num_done):
        if num_done == 4:
            (folder / shard_name(1)).mkdir()

    with pytest.raises(OutputError, match="000001.tar"):
        compress(sources, JPEG, folder, 0, 3, on_image=occupied)
    (folder / shard_name(1)).rmdir()
    compress(sources, JPEG, folder, 0, 3)
    assert files_of(folder) == files_of(tmp_path / "unbroken")


def _picture(images, k):
    return images[k]


def test_loader_workers_read_it(sources, tmp_path):
    compress(sources, JPEG, tmp_path, 0, 2)
    images = StoredImages(tmp_path)
    copied = pickle.loads(pickle.dumps(images))
    assert np.array_equal(copied[3], images[3])
    from torch.utils.data import DataLoader

    loader = DataLoader(images, batch_size=None, num_workers=2)
    for k, picture in enumerate(loader):
        assert np.array_equal(picture.numpy(), images[k])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(_picture, (images, 5)), images[5])


def test_standard_formats_decode_with_any_version_of_their_library(sources, tmp_path):
    compress(some(sources, 0), "png", tmp_path)
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "fingerprint": "png of long ago"}))
    assert np.array_equal(
        StoredImages(tmp_path)[0], read_image(sources.images.folder / sources.file_names[0])
    )


def test_own_weights_and_own_saliency(sources, tmp_path, monkeypatch):
    """What steered is not needed; the weights are, and the error says how to give them."""
    from salcompress.codecs.salient import WEIGHTS, SalientCodec
    from salcompress.models.compression_model import load_model, save_model

    def mine(image):
        return np.zeros(image.shape[:2], np.float32)

    steered = SalientCodec(0.3, saliency=mine, device="cpu")
    compress_images(some(sources, 0), steered, LocalFolder(tmp_path / "steered"))
    picture = read_image(sources.images.folder / sources.file_names[0])
    images = StoredImages(tmp_path / "steered")
    assert np.array_equal(images[0], steered.decode(steered.encode(picture)))
    model = load_model(WEIGHTS)[0]
    next(model.synthesis.parameters()).data.mul_(1.25)
    (tmp_path / "own.safetensors").write_bytes(save_model(model))
    own = load_codec(
        f"salient:q=0.3,saliency=uniform,device=cpu,weights={tmp_path}/own.safetensors"
    )
    compress_images(some(sources, 0), own, LocalFolder(tmp_path / "own"))
    made_by, decoded = own.model_fingerprint.hex(), own.decode(own.encode(picture))
    with pytest.raises(
        ModelMismatchError, match=f"fingerprint {made_by}.* as salient:weights=FILE"
    ):
        StoredImages(tmp_path / "own")
    assert np.array_equal(StoredImages(tmp_path / "own", codec=own)[0], decoded)
    monkeypatch.setenv("SALCOMPRESS_WEIGHTS", str(tmp_path))
    found = StoredImages(tmp_path / "own")
    assert found.codec.weights == tmp_path / "own.safetensors"
    assert np.array_equal(pickle.loads(pickle.dumps(found))[0], decoded)
    assert issubclass(ModelMismatchError, BitstreamError)


def test_a_manifest_whose_model_is_no_fingerprint_or_none(sources, tmp_path):
    compress(some(sources, 0), "png", tmp_path)
    salient = load_codec("salient:saliency=uniform,device=cpu")
    with pytest.raises(ModelMismatchError, match="streams of .* are of png.*the learned one"):
        StoredImages(tmp_path, codec=salient)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": "photo"}))
    with pytest.raises(
        DataError, match="manifest.json is damaged: model 'photo' is no fingerprint"
    ):
        StoredImages(tmp_path, codec=salient)


def test_any_filesystem_of_pyarrow(sources, tmp_path):
    """By addresses the same files come out, and are read."""
    pytest.importorskip("pyarrow")
    compress(sources, JPEG, tmp_path / "here", 0, 4)
    away = ArrowFolder((tmp_path / "away").as_uri())
    images = ArrowFolder(sources.images.folder.as_uri())
    compress_images(sources._replace(images=images), load_codec(JPEG), away, 0, 4)
    assert files_of(tmp_path / "here") == files_of(tmp_path / "away")
    stored = StoredImages((tmp_path / "away").as_uri())
    assert np.array_equal(stored[5], StoredImages(tmp_path / "here")[5])
    with pytest.raises(DataError, match="cannot read .*/away/nothing"):
        away.read("nothing")
    with pytest.raises(SettingError, match="cannot be opened"):
        ArrowFolder("nowhere://folder")


def test_pictures_come_back_under_their_names(sources, tmp_path):
    compress(sources, JPEG, tmp_path / "stored")
    images, out = StoredImages(tmp_path / "stored"), tmp_path / "pictures"
    written = write_pictures(images, out, workers=1)
    assert [str(p.relative_to(out)) for p in written] == [f"{n}.png" for n in sources.file_names]
    for k, path in enumerate(written):
        assert np.array_equal(read_image(path), images[k])
    written[2].write_bytes(b"mine")
    with pytest.raises(SettingError, match=r"6 of 6 images exist already.*--overwrite"):
        write_pictures(images, out)
    done = []
    write_pictures(images, out, overwrite=True, on_image=done.append)
    assert done == [1, 2, 3, 4, 5, 6] and np.array_equal(read_image(written[2]), images[2])
