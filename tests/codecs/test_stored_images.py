"""Laws of stored data sets: what is stored is what the codec gives, whatever happens on the way."""

import json
import multiprocessing
import pickle
import tarfile

import numpy as np
import pytest

from salcompress.codecs import load_codec
from salcompress.codecs.stored_images import Source, StoredImages, compress_images, verify
from salcompress.data.shards import index_path, shard_path
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
def sources(scene_dataset):
    return [Source(f"a/{image.file_name}", image.path) for image in scene_dataset.images]


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("spec", [JPEG, "none", "salient:q=0.3,saliency=uniform,device=cpu"])
def test_each_image_is_what_the_codec_gives(sources, tmp_path, spec):
    codec = load_codec(spec)
    sources = sources[:3]
    manifest = compress_images(sources, codec, tmp_path, workers=0, images_per_shard=2)
    images = StoredImages(tmp_path)
    assert len(images) == 3 and manifest.num_shards == 2
    for k, (source, stored) in enumerate(zip(sources, images.streams, strict=True)):
        picture = read_image(source.path)
        stream = source.path.read_bytes() if spec == "none" else codec.encode(picture)
        assert images.streams.stream(k) == stream and stored.file_name == source.file_name
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
    compress_images(sources, load_codec(JPEG), tmp_path, workers=0, images_per_shard=4)
    with tarfile.open(shard_path(tmp_path, 1)) as tar:
        assert tar.getnames() == [f"00000000{k}.{end}" for k in (4, 5) for end in ("jpg", "json")]
        about = json.load(tar.extractfile("000000004.json"))
    stored = StoredStreams(tmp_path)[4]
    assert about == {
        "file_name": "a/" + sources[4].path.name,
        "height": 240,
        "width": 320,
        "num_bits": 8 * stored.length,
        "checksum": stored.checksum,
    }


def test_workers_change_nothing(sources, tmp_path):
    for workers in (0, 2):
        compress_images(sources, load_codec(JPEG), tmp_path / str(workers), workers, 4)
    assert files_of(tmp_path / "0") == files_of(tmp_path / "2")


def test_a_killed_call_goes_on(sources, tmp_path):
    """What was finished is not done again, and the end is that of an unbroken call."""
    codec = load_codec(JPEG)
    compress_images(sources, codec, tmp_path / "unbroken", 0, 2)

    def killed(num_done):
        if num_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress_images(sources, codec, tmp_path / "killed", 0, 2, killed)
    with pytest.raises(SettingError, match="is not complete; run its salcompress compress"):
        StoredStreams(tmp_path / "killed")
    done = []
    compress_images(sources, codec, tmp_path / "killed", 0, 2, done.append)
    assert done == [2, 3, 4, 5, 6]
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "unbroken")
    compress_images(sources, codec, tmp_path / "killed", 0, 2, done.append)
    assert done[5:] == [6]


def test_another_codec_or_other_images_are_refused(sources, tmp_path):
    compress_images(sources, load_codec(JPEG), tmp_path, 0)
    before = files_of(tmp_path)
    with pytest.raises(SettingError, match=r"another codec: jpeg:q=30.* then, webp:q=10"):
        compress_images(sources, load_codec("webp:q=10"), tmp_path, 0)
    with pytest.raises(SettingError, match="another number of images: 6 then, 5 now"):
        compress_images(sources[1:], load_codec(JPEG), tmp_path, 0)
    with pytest.raises(SettingError, match="begun with other images"):
        compress_images(sources[::-1], load_codec(JPEG), tmp_path, 0)
    with pytest.raises(SettingError, match="images per shard: 1000 then, 2 now"):
        compress_images(sources, load_codec(JPEG), tmp_path, 0, images_per_shard=2)
    with pytest.raises(SettingError, match="there is no image"):
        compress_images([], load_codec(JPEG), tmp_path / "new", 0)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("workers", [0, 1])
def test_what_cannot_be_read_is_listed(sources, tmp_path, workers):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(sources[0].path.read_bytes()[:2000])
    mixed = [
        sources[0],
        Source("damaged.png", damaged),
        Source("gone.png", tmp_path / "gone.png"),
        Source("small.png", sources[1].path, "it has another size than the annotations say"),
        sources[2],
    ]
    manifest = compress_images(mixed, load_codec(JPEG), tmp_path / "out", workers, 2)
    assert (manifest.num_stored, manifest.num_skipped) == (2, 3)
    images = StoredImages(tmp_path / "out")
    assert [s.file_name for s in images.streams] == [mixed[0].file_name, mixed[4].file_name]
    assert np.array_equal(images[1], load_codec(JPEG).decode(images.streams.stream(1)))
    skipped = images.streams.skipped
    assert list(skipped) == ["damaged.png", "gone.png", "small.png"]
    assert "No such file" in skipped["gone.png"] and "another size" in skipped["small.png"]


def test_every_damage_is_found(sources, tmp_path):
    compress_images(sources, load_codec(JPEG), tmp_path, 0, 3)
    whole = shard_path(tmp_path, 1).read_bytes()
    stored = StoredStreams(tmp_path)[4]
    assert verify(tmp_path, None) == (6, 6, ())
    flipped = bytearray(whole)
    flipped[stored.offset + stored.length // 2] ^= 1
    shard_path(tmp_path, 1).write_bytes(flipped)
    with pytest.raises(CorruptError, match="000005.png does not match its checksum"):
        StoredImages(tmp_path)[4]
    found = verify(tmp_path, 0)
    assert found.num_streams == 6 and found.num_decoded == 0 and len(found.problems) == 1
    shard_path(tmp_path, 1).write_bytes(whole[:-1000])
    with pytest.raises(DataError, match="not the .* of its index: it is cut short"):
        StoredStreams(tmp_path)[4]
    shard_path(tmp_path, 1).write_bytes(whole)
    index_path(tmp_path, 1).unlink()
    with pytest.raises(DataError, match=r"index.json is missing; make the indices again"):
        StoredStreams(tmp_path)[4]
    assert verify(tmp_path, None, rebuild_indices=True) == (6, 6, ())
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="manifest.json is damaged"):
        StoredStreams(tmp_path)
    with pytest.raises(SettingError, match="holds no stored data set; make one with"):
        StoredStreams(tmp_path / "nothing")


def test_indices_are_made_again_as_they_were(sources, tmp_path):
    gone = Source("gone.png", tmp_path / "gone.png")
    compress_images([*sources[:2], gone, *sources[2:]], load_codec(JPEG), tmp_path / "out", 0, 4)
    before, manifest = files_of(tmp_path / "out"), read_manifest(tmp_path / "out")
    assert verify(tmp_path / "out", 1, rebuild_indices=True).problems == ()
    assert read_manifest(tmp_path / "out") == manifest
    after = files_of(tmp_path / "out")
    assert [name for name in before if before[name] != after[name]] == ["000000.index.json"]
    assert "number 000000002" in StoredStreams(tmp_path / "out").skipped


def test_a_full_disk_leaves_what_is_finished(sources, tmp_path):
    """The second shard cannot be written; a later call makes it, and the first stays as it is."""
    codec = load_codec(JPEG)
    folder = tmp_path / "out"
    compress_images(sources, codec, tmp_path / "unbroken", 0, 3)

    def occupied(num_done):
        if num_done == 4:
            shard_path(folder, 1).mkdir()

    with pytest.raises(OutputError, match="000001.tar"):
        compress_images(sources, codec, folder, 0, 3, occupied)
    shard_path(folder, 1).rmdir()
    compress_images(sources, codec, folder, 0, 3)
    assert files_of(folder) == files_of(tmp_path / "unbroken")


def _picture(images, k):
    return images[k]


def test_loader_workers_read_it(sources, tmp_path):
    compress_images(sources, load_codec(JPEG), tmp_path, 0, 2)
    images = StoredImages(tmp_path)
    copied = pickle.loads(pickle.dumps(images))
    assert np.array_equal(copied[3], images[3])
    from torch.utils.data import DataLoader

    loader = DataLoader(images, batch_size=None, num_workers=2)
    for k, picture in enumerate(loader):
        assert np.array_equal(picture.numpy(), images[k])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(_picture, (images, 5)), images[5])


def test_another_version_of_the_codec_does_not_decode(sources, tmp_path):
    compress_images(sources[:1], load_codec(JPEG), tmp_path, 0)
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "fingerprint": "jpeg of long ago"}))
    with pytest.raises(ModelMismatchError, match="with fingerprint jpeg of long ago"):
        StoredImages(tmp_path)
    assert issubclass(ModelMismatchError, BitstreamError)
