"""Package of salcompress. Detectron2 is not on the package index: the README says how to install
it.
"""

from pathlib import Path

from setuptools import find_packages, setup

CODECS = [
    "imageio-ffmpeg>=0.8",  # its binary holds x265, VVenC and libjxl, and decodes VVC
    "pyjpegli>=0.3",
]

setup(
    name="salcompress",
    version="0.2.0",
    description="Saliency-driven learned image compression for detectors: AP against bits per "
    "pixel, in and out of Detectron2",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Graphics",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    project_urls={
        "Paper": "https://openaccess.thecvf.com/content/WACV2021/html/"
        "Patel_Saliency_Driven_Perceptual_Image_Compression_WACV_2021_paper.html",
        "Detectron2": "https://github.com/facebookresearch/detectron2",
    },
    python_requires=">=3.10",
    packages=find_packages(include=["salcompress", "salcompress.*"]),
    package_data={
        "salcompress": [
            "py.typed",
            "README.md",
            "CHANGELOG.md",
            "weights/*",
            "bitstream/*.npy",
            "reporting/page/*",
        ]
    },
    install_requires=[
        "torch>=2.5",  # AdamW in one pass on CPUs, too
        "torchvision>=0.20",
        "numpy",
        "opencv-python",
        "pillow>=11.3",  # the first whose wheels write AVIF
        "pycocotools",
        "fvcore",
        "tqdm",
        "plotly",
        "safetensors",
        # the range coder of the learned codec's streams; another version may round its tables
        # otherwise
        "constriction>=0.5,<0.6",
        "scipy",  # monotone (PCHIP) interpolation of BD-rate
    ],
    extras_require={
        "bench": [
            "compressai"
        ],  # learned codecs to compare with; wants numpy < 2, so give it an environment of its own
        "browser": ["playwright"],  # clicks through the report, in a Chromium that is there
        "codecs": CODECS,
        "ray": ["ray[data]"],  # data sets on several machines
        "train": [
            "cvvdp>=0.5",
            "piq",
            "pyjpegli>=0.3",  # an encoder whose versions are compared
            "ssimulacra2",
        ],  # published metrics that label the learned one's training data
        "test": [
            *CODECS,
            "pytest",
            "ruff==0.17.*",  # other versions format otherwise
            "mypy==2.*",
            "hypothesis",  # random sizes and contents
            "pytorch-msssim",  # second opinion on our MS-SSIM
        ],
    },
    entry_points={"console_scripts": ["salcompress=salcompress.__main__:main"]},
)
