"""What tests of whole evaluations share."""

from salcompress.evaluation.evaluate import evaluate


class Named:
    """A function as a detector."""

    def __init__(self, detect, label="blobs", fingerprint="1"):
        self.detect, self.label, self.fingerprint = detect, label, fingerprint

    def __call__(self, image):
        return self.detect(image)


class Sized(Named):
    """A detector that resizes images to 100 rows, and says so."""

    def input_size(self, height, width):
        return 100, round(100 * width / height)


def run(dataset, detector, codecs, out, **options):
    return evaluate(dataset, Named(detector), codecs, out, **options)


def timeless(rows):
    """Rows without what no two runs share."""
    return [row._replace(encode_s=None, decode_s=None) for row in rows]


class Stops:
    """A detector that fails, as a killed process would, after a number of images."""

    def __init__(self, detector, after):
        self.detector, self.left = detector, after

    def __call__(self, image):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return self.detector(image)
