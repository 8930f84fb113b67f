"""Converts scikit-learn's copy of the UCI digits to digits.safetensors.

    pip download --no-deps scikit-learn
    unzip -j scikit_learn-*.whl sklearn/datasets/data/digits.csv.gz
    python make_digits.py digits.csv.gz

The standard library is enough. The file holds `images` u8 [1797, 64] (grey values 0..16, rows of 8 pixels) and
`labels` u8 [1797].
"""

import gzip
import json
import pathlib
import struct
import sys

SOURCE = "scikit-learn, sklearn/datasets/data/digits.csv.gz (UCI optical recognition of handwritten digits, test part)"
LICENCE = "data CC BY 4.0 according to UCI (E. Alpaydin, C. Kaynak, UCI Machine Learning Repository)"


def main(source: str) -> None:
    with gzip.open(source, "rt") as f:
        rows = [[int(float(x)) for x in line.split(",")] for line in f if line.strip()]
    assert len(rows) == 1797 and all(len(r) == 65 for r in rows), "unexpected shape"
    images = bytes(x for r in rows for x in r[:64])
    labels = bytes(r[64] for r in rows)
    assert max(images) == 16 and max(labels) == 9, "unexpected values"
    header = {
        "__metadata__": {"licence": LICENCE, "source": SOURCE},
        "images": {"dtype": "U8", "shape": [len(rows), 64], "data_offsets": [0, len(images)]},
        "labels": {
            "dtype": "U8",
            "shape": [len(rows)],
            "data_offsets": [len(images), len(images) + len(labels)],
        },
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out = pathlib.Path(__file__).with_name("digits.safetensors")
    out.write_bytes(struct.pack("<Q", len(text)) + text + images + labels)
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
