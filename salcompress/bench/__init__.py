"""Speed and memory on this machine: of codecs, and of Detectron2 with a codec in it."""
