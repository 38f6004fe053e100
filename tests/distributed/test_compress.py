"""A cluster gives the files of one process, whatever dies on the way."""

import os
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs Ray: pip install 'salcompress[ray]'")

import ray

from salcompress.codecs import load_codec
from salcompress.codecs.classical import JpegCodec
from salcompress.codecs.compress import compress_images
from salcompress.codecs.stored_images import verify
from salcompress.data.shards import shard_name
from salcompress.data.sources import Sources
from salcompress.data.storage import LocalFolder
from salcompress.data.stored import StoredStreams
from salcompress.distributed.compress import compress_on_ray
from salcompress.errors import OutputError

JPEG = "jpeg:q=30"


@pytest.fixture
def sources(scenes):
    names = [f"images/{path.name}" for path in sorted((scenes.parent / "images").iterdir())]
    return Sources(LocalFolder(scenes.parent), names)


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("spec", [JPEG, "salient:q=0.3,saliency=uniform,device=cpu"])
def test_shards_are_those_of_one_process(two_nodes, sources, tmp_path, spec):
    """An image that cannot be read costs itself, in both."""
    sources = sources._replace(
        file_names=[*sources.file_names[:3], "images/gone.png"],
        problems={sources.file_names[1]: "it is not wanted"},
    )
    done = []
    here, there = LocalFolder(tmp_path / "here"), LocalFolder(tmp_path / "there")
    ours = compress_images(sources, load_codec(spec), here, 0, 1)
    theirs = compress_on_ray(sources, load_codec(spec), there, 1, on_image=done.append)
    assert theirs == ours and theirs.num_skipped == 2
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")
    assert done == [0, 1, 2, 3, 4]
    assert verify(tmp_path / "there", None).problems == ()
    assert compress_on_ray(sources, load_codec(spec), there, 1) == ours


class DiesOnce(JpegCodec):
    """Ends its process the first time that it encodes anywhere."""

    marker = ""

    def encode(self, image):
        if not Path(self.marker).exists():
            Path(self.marker).touch()
            os._exit(1)
        return super().encode(image)


def test_a_worker_that_dies_costs_its_task_alone(two_nodes, sources, tmp_path):
    import sys

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    codec = DiesOnce(q=30)
    codec.marker = str(tmp_path / "died")
    compress_on_ray(sources, codec, LocalFolder(tmp_path / "there"), 2)
    assert (tmp_path / "died").exists()
    compress_images(sources, load_codec(JPEG), LocalFolder(tmp_path / "here"), 0, 2)
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")


def test_a_full_disk_is_said_and_the_same_call_goes_on(two_nodes, sources, tmp_path):
    out = LocalFolder(tmp_path)
    (tmp_path / shard_name(1)).mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot write .*000001.tar"):
        compress_on_ray(sources, load_codec(JPEG), out, 3)
    (tmp_path / shard_name(1)).rmdir()
    compress_on_ray(sources, load_codec(JPEG), out, 3)
    assert len(StoredStreams(out)) == 6 and verify(out).problems == ()


def test_a_node_that_dies_costs_its_tasks_alone(two_nodes, sources, tmp_path):
    extra = two_nodes.add_node(num_cpus=1)
    two_nodes.wait_for_nodes()

    def removed(num_done):
        if num_done == 1:
            two_nodes.remove_node(extra, allow_graceful=False)

    compress_on_ray(sources, load_codec(JPEG), LocalFolder(tmp_path / "there"), 1, on_image=removed)
    compress_images(sources, load_codec(JPEG), LocalFolder(tmp_path / "here"), 0, 1)
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")
