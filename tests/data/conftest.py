"""Small files of every format."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Encoded images of one colour."""

    def encode(colour: tuple[int, int, int], size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
        file = io.BytesIO()
        Image.fromarray(np.full((size[1], size[0], 3), colour, dtype=np.uint8)).save(file, kind)
        return file.getvalue()

    return encode
