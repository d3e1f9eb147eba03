from service.families.registry import FOLDERS
from tests.service.families.page import EXAMPLES, PAGE, page


def test_the_page_of_families_is_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


def test_examples_are_of_families_that_there_are() -> None:
    assert EXAMPLES.keys() <= FOLDERS.keys()
    for name, example in EXAMPLES.items():
        model_type, _, part = name.partition("+")
        assert example.config["model_type"] == model_type
        parts = [example.config.get(each) or {} for each in ("vision_config", "text_config")]
        assert not part or part in [each.get("model_type") for each in parts]
