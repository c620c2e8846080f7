"""What the tests of several rooms share; importing tiny_models works from all of them."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from monosemy.errors import InputError


@pytest.fixture
def says() -> Callable[..., AbstractContextManager[None]]:
    """``with says("value", ...)``: InputError in one sentence that names every given text."""

    @contextmanager
    def check(*named: object) -> Iterator[None]:
        with pytest.raises(InputError) as caught:
            yield
        message = str(caught.value)
        assert message.endswith("."), message
        assert not re.search(r"[.!?]\s+[A-Z]", message), f"more than one sentence: {message}"
        assert "\n" not in message, message
        for text in named:
            assert str(text) in message, f"{text!r} is not named in: {message}"

    return check
