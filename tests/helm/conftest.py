import functools
from collections.abc import Iterator

import pytest
from kubernetes_validate import utils

pytest.register_assert_rewrite("tests.helm.invariants")


@pytest.fixture(scope="package", autouse=True)
def schemas_are_read_once() -> Iterator[None]:
    """Megabytes of Kubernetes' definitions, which the library would read again for each object."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))
        yield
