"""What every family reads from a checkpoint's files: JSON objects, the image processor, tokens by their names.

Takes the configuration of both generations: preprocessor_config.json, and transformers 5's processor_config.json with
an `image_processor` inside, which wins. Knows no family. Standard library only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from service.errors import ConfigurationError

LANCZOS, BILINEAR, BICUBIC = 1, 2, 3
"""Pillow's numbers of filters, as `resample` has them."""
Normalisation = tuple[Sequence[float], Sequence[float]]
"""Mean and deviation of each colour, for pixels from 0 to 1."""
CLIP: Normalisation = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
STANDARD: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def read_json(file: Path) -> dict[str, Any]:
    """Raises ConfigurationError if the file is missing or does not contain a JSON object."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"model: {file.parent} has no {file.name}") from None
    except ValueError:
        raise ConfigurationError(f"model: {file} is not JSON") from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"model: {file} holds no JSON object")
    return value


def read_object(of: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    """The object `name` in the contents of `file`. Raises ConfigurationError if there is none."""
    if not isinstance(value := of.get(name), dict):
        raise ConfigurationError(f"model: {file} has no {name}")
    return value


def read_image_processor(folder: Path) -> tuple[dict[str, Any], Path]:
    """The image processor's fields and their file; searched in transformers' order.

    Raises ConfigurationError when no file has any.
    """
    nested, plain = folder / "processor_config.json", folder / "preprocessor_config.json"
    if nested.is_file() and isinstance(found := read_json(nested).get("image_processor"), dict):
        return found, nested
    if plain.is_file():
        return read_json(plain), plain
    raise ConfigurationError(
        f"model: {folder} has neither {plain.name} nor an image_processor in {nested.name}"
    )


def read_normalisation(folder: Path, default: Normalisation = CLIP) -> Normalisation:
    """What the image processor normalises with; `default` is its class's, for what the file does not specify.

    Raises ConfigurationError when there is no image processor.
    """
    processor, _ = read_image_processor(folder)
    return processor.get("image_mean", default[0]), processor.get("image_std", default[1])


def must_process_as_we_do(
    processor: Mapping[str, Any],
    file: Path,
    *,
    resamples: Collection[int] = (BICUBIC,),
    ignored: Collection[str] = (),
) -> None:
    """Our views resize with one of `resamples`, and the towers' first kernel scales and normalises bytes.

    A family whose views crop or pad as its processor does names these fields in `ignored`. Raises ConfigurationError
    naming the field that asks for something else.
    """
    expected: dict[str, Collection[Any]] = {
        "resample": resamples,
        "do_resize": (True,),
        "do_rescale": (True,),
        "do_normalize": (True,),
        "do_convert_rgb": (True, None),
        "do_center_crop": (False, None),
        "do_pad": (False, None),
    }
    for name, allowed in expected.items():
        if name not in ignored and name in processor and processor[name] not in allowed:
            said = " or ".join(repr(value) for value in allowed if value is not None)
            raise ConfigurationError(
                f"model: {file} has {name} = {processor[name]!r}; only {said} is supported"
            )
    if not math.isclose(processor.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-4):
        raise ConfigurationError(
            f"model: {file} has rescale_factor = {processor['rescale_factor']!r}; only 1/255 is supported"
        )


def read_tokens(
    folder: Path, defaults: Mapping[str, str], required: Collection[str]
) -> tuple[dict[str, str], dict[str, int]]:
    """Texts and ids of tokens by the tokenizer's names for them; `defaults` are the texts where it names none.

    A token that tokenizer.json does not have is left out of the ids. Raises ConfigurationError when it is `required`.
    """
    settings = folder / "tokenizer_config.json"
    given = read_json(settings) if settings.is_file() else {}
    if isinstance(named := given.get("extra_special_tokens"), dict):  # a list of them has no names
        given = {**given, **named}
    names = {name: _text(given.get(name), default) for name, default in defaults.items()}
    file = folder / "tokenizer.json"
    tokenizer = read_json(file)
    vocabulary = dict(read_object(tokenizer, "model", file).get("vocab") or {})
    vocabulary |= {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
    ids = {name: vocabulary[text] for name, text in names.items() if text in vocabulary}
    for name in required:
        if name not in ids:
            raise ConfigurationError(f"model: {file} has no token {names[name]!r} ({name})")
    return names, ids


def must_name_image_token(folder: Path, config: Mapping[str, Any], text: str, token: int) -> None:
    """Raises ConfigurationError when config.json has another id for it than tokenizer.json."""
    for name in ("image_token_id", "image_token_index"):
        if config.get(name, token) != token:
            raise ConfigurationError(
                f"model: {folder / 'config.json'} has {name} {config[name]} and tokenizer.json gives {text!r} the id "
                f"{token}"
            )


def is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _text(token: Any, default: str) -> str:
    """A token's text; older tokenizers save it as an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else default
