"""Small files of every format, and what every complaint about a bad one must look like."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
from PIL import Image

from monosemy import InputError

Refuses = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def refuses() -> Refuses:
    """``with refuses("value", ...)``: InputError in one sentence that names every given text."""

    @contextmanager
    def check(*named: object) -> Iterator[None]:
        with pytest.raises(InputError) as caught:
            yield
        message = str(caught.value)
        assert message.endswith("."), message
        assert "\n" not in message, message
        assert not re.search(r"[.!?]\s+\S", message), f"more than one sentence: {message}"
        for text in named:
            assert str(text) in message, f"{text!r} is not named in: {message}"

    return check


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Encoded images of one colour."""

    def encode(colour: tuple[int, int, int], size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
        file = io.BytesIO()
        Image.fromarray(np.full((size[1], size[0], 3), colour, dtype=np.uint8)).save(file, kind)
        return file.getvalue()

    return encode
