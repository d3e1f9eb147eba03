import pytest

from service.errors import ConfigurationError
from service.settings import Settings, load


def test_a_flag_wins_over_its_variable() -> None:
    settings = load({"port": "9001"}, {"PATCHBAY_PORT": "9000", "PATCHBAY_MAX_IMAGES": "3"})
    assert (settings.port, settings.max_images) == (9001, 3)


def test_lists_are_written_with_commas_and_vllm_flags_as_for_a_shell() -> None:
    settings = load(
        {}, {"PATCHBAY_API_KEYS": "one, two,", "PATCHBAY_ENGINE_ARGS": "--max-num-seqs 8 --x 'a b'"}
    )
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two"]
    assert settings.engine_args == ("--max-num-seqs", "8", "--x", "a b")


def test_a_key_is_not_shown() -> None:
    assert "sesame" not in repr(load({"api_keys": "sesame"}, {}))


def test_an_unknown_variable_is_refused_with_the_name_that_was_meant() -> None:
    with pytest.raises(ConfigurationError, match="PATCHBAY_MAX_IMAGE .*Did you mean PATCHBAY_MAX_IMAGES"):
        load({}, {"PATCHBAY_MAX_IMAGE": "3"})


def test_other_programs_variables_are_left_alone() -> None:
    assert load({}, {"PORT": "1"}).port == Settings.model_fields["port"].default


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"port": "http"}, ["port", "'http'"]),
        ({"port": "70000"}, ["port", "65535"]),
        ({"device": "tpu"}, ["device", "cpu", "cuda"]),
        ({"max_image_bytes": 10**9}, ["max_image_bytes", "max_body_bytes"]),
        ({"max_request_image_bytes": 10**6}, ["max_image_bytes", "max_request_image_bytes", "1000000"]),
        ({"max_image_pixels": 10**9}, ["max_image_pixels (1000000000)", "max_request_image_pixels"]),
        ({"max_connections": 256, "max_inflight": 256}, ["max_connections (256)", "max_inflight (256)"]),
        ({"max_header_bytes": 1023}, ["max_header_bytes", "1024"]),
        ({"header_timeout": 0}, ["header_timeout"]),
        ({"write_timeout": 0}, ["write_timeout"]),
        ({"fetch_connect_timeout": 60}, ["fetch_connect_timeout", "fetch_timeout"]),
        ({"engine_url": "http://e", "engine_args": "--x"}, ["engine_args", "engine_url"]),
        ({"engine_url": "http://e", "engine_port": 1}, ["engine_port", "engine_url"]),
        ({"admin_port": 9000, "port": 9000}, ["admin_port", "port", "9000"]),
        ({"admin_port": 9000, "engine_port": 9000}, ["admin_port", "engine_port", "9000"]),
        ({"fetch_user_agent": "patchbay\r\nX-Admin: 1"}, ["fetch_user_agent"]),
        ({"fetch_user_agent": " patchbay"}, ["fetch_user_agent"]),
        ({"fetch_user_agent": "é"}, ["fetch_user_agent"]),
        ({"fetch_user_agent": "p" * 257}, ["fetch_user_agent"]),
        ({"fetch_user_agent": ""}, ["fetch_user_agent"]),
        ({"log_format": "xml"}, ["log_format", "json"]),
        ({"otlp_endpoint": "collector:4318"}, ["otlp_endpoint"]),
        ({"otlp_endpoint": "http://me:key@collector:4318"}, ["otlp_endpoint"]),
        ({"kernels": "triton", "device": "cpu"}, ["kernels=triton", "device=cpu"]),
        ({"encoder_body": "fused", "device": "cuda"}, ["encoder_body=fused", "device=cuda"]),
        ({"encoder_precision": "int8", "device": "cuda"}, ["encoder_precision=int8", "device=cuda"]),
        ({"encoder_precision": "fp8", "device": "cpu"}, ["encoder_precision=fp8", "device=cpu"]),
        ({"encoder_precision": "int4"}, ["encoder_precision", "int4", "int8"]),
        ({"encoder_copies": "staged", "device": "cpu"}, ["encoder_copies=staged", "device=cpu"]),
        ({"encoder_graph_bytes": "1", "device": "cpu"}, ["encoder_graph_bytes=1", "device=cpu"]),
        ({"encoder_attention": "flash", "device": "cpu"}, ["encoder_attention=flash", "device=cpu"]),
        ({"encoder_attention": "varlen", "device": "cpu"}, ["encoder_attention=varlen", "device=cpu"]),
        ({"encoder_body": "triton", "device": "cpu"}, ["encoder_body=triton", "device=cpu"]),
        ({"encoder_gpu": "own", "device": "cpu"}, ["encoder_gpu=own", "device=cpu"]),
        ({"tensor_parallel_size": 0}, ["tensor_parallel_size"]),
        ({"encoder_graph_bytes": "1", "encoder_copies": "plain"}, ["encoder_graph_bytes", "copies=plain"]),
    ],
)
def test_an_impossible_setting_is_refused_by_name(flags: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(flags, {})
    assert all(word in refused.value.message for word in words)


def test_every_setting_is_explained() -> None:
    assert all((info.description or "").endswith(".") for info in Settings.model_fields.values())


@pytest.mark.parametrize("origin", ["ui.example", "https://ui.example/", "https://a b", "null"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    assert load({"allowed_origins": "https://ui.example, *"}, {}).allowed_origins == (
        "https://ui.example",
        "*",
    )
    with pytest.raises(ConfigurationError, match="is no origin"):
        load({"allowed_origins": origin}, {})
