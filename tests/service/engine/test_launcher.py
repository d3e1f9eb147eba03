from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.domain import LanguageModel, LargeSteps
from service.engine.launcher import EngineSpec, HandlesSpec, describe, launch, tool_call_parser
from service.engine.plugin.contract import UNPROVED, PluginSettings, large_steps
from service.errors import ConfigurationError

HANDLES = HandlesSpec("/dev/shm/a.arena", 192, 160, "InternVLForConditionalGeneration")


def spec(**changes: Any) -> EngineSpec:
    fields: dict[str, Any] = {
        "model": "org/model",
        "served_model_name": "m",
        "port": 4321,
        "device": "cpu",
        "dtype": "float32",
        "max_model_len": 1024,
        "handles": HANDLES,
        "kv_cache_bytes": 2**28,
    }
    return EngineSpec(**{**fields, **changes})


def flags(made: EngineSpec) -> dict[str, str]:
    """Flags of the command line with their values; a switch has none."""
    words = launch(made, {}).argv[3:]
    pairs: dict[str, str] = {}
    for word in words:
        if word.startswith("--"):
            pairs[word] = ""
        else:
            pairs[list(pairs)[-1]] = word
    return pairs


def test_the_engine_listens_on_loopback_only() -> None:
    given = flags(spec())
    assert (given["--host"], given["--port"]) == ("127.0.0.1", "4321")
    assert spec().base_url == "http://127.0.0.1:4321"


def test_requests_are_scheduled_by_priority_where_callers_are_known() -> None:
    assert "--scheduling-policy" not in flags(spec())
    assert flags(spec(by_priority=True))["--scheduling-policy"] == "priority"


def test_traces_go_over_http_under_a_name_of_their_own_and_only_when_asked() -> None:
    url = "http://collector:4318/v1/traces"
    assert flags(spec(otlp_traces_url=url))["--otlp-traces-endpoint"] == url
    environment = launch(spec(otlp_traces_url=url), {}).environment
    assert environment["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "http/protobuf"
    assert environment["OTEL_SERVICE_NAME"] == "patchbay-engine"
    assert (
        launch(spec(otlp_traces_url=url), {"OTEL_SERVICE_NAME": "mine"}).environment["OTEL_SERVICE_NAME"]
        == "mine"
    )
    assert not [
        word for word in [*launch(spec(), {}).argv, *launch(spec(), {}).environment] if "OTEL" in word.upper()
    ]
    assert "--otlp-traces-endpoint" not in flags(spec())


def test_only_passthrough_lets_requests_steer_the_engines_own_processor() -> None:
    assert "--trust-request-mm-kwargs" in flags(spec(handles=None, tower="present"))
    assert "--trust-request-mm-kwargs" not in flags(spec())


def test_handles_need_the_connector_and_no_tower() -> None:
    given = flags(spec())
    assert json.loads(given["--ec-transfer-config"]) == {
        "ec_connector": "ArenaConnector",
        "ec_role": "ec_consumer",
        "ec_connector_module_path": "service.engine.plugin.connector",
        "ec_connector_extra_config": {"arena": "/dev/shm/a.arena", "width": 192},
    }
    assert "--enable-mm-embeds" in given
    # the files that the encoder reads, and not Mistral's own beside them
    formats = {"--config-format": "hf", "--tokenizer-mode": "hf", "--load-format": "safetensors"}
    assert formats.items() <= given.items()
    # one modality left out, and vLLM loads the tower
    assert json.loads(given["--limit-mm-per-prompt"]) == {"image": 0, "video": 0, "audio": 0}


def test_the_plugin_understands_what_the_launcher_tells_it() -> None:
    text = launch(spec(), {}).environment["PATCHBAY_PLUGIN"]
    assert PluginSettings.from_json(text) == PluginSettings("InternVLForConditionalGeneration", 160)


def test_the_plugin_is_told_of_a_language_model_that_vllm_has_no_whole_class_for() -> None:
    part = LanguageModel("MistralForCausalLM", "model.text_model.", "<image>")
    made = spec(handles=replace(HANDLES, language=part))
    assert PluginSettings.from_json(launch(made, {}).environment["PATCHBAY_PLUGIN"]).language == part


def test_pass_through_has_the_tower_and_nothing_of_handles() -> None:
    made = spec(handles=None, tower="present")
    ours = {"--ec-transfer-config", "--enable-mm-embeds", "--limit-mm-per-prompt", "--config-format"}
    assert not ours & flags(made).keys()
    assert "PATCHBAY_PLUGIN" not in launch(made, {}).environment


def test_answers_in_json_end_unless_the_operator_says_otherwise() -> None:
    given = flags(spec())["--structured-outputs-config"]
    assert json.loads(given) == {"backend": "xgrammar", "disable_any_whitespace": True}
    for own in (("--structured-outputs-config", "{}"), ("--structured-outputs-config.backend=guidance",)):
        words = launch(spec(extra_args=own), {}).argv
        assert [word for word in words if word.startswith("--structured-outputs-config")] == [own[0]]


def test_a_model_is_divided_among_ranks_where_that_was_asked() -> None:
    assert not [name for name in flags(spec()) if "parallel" in name]
    given = flags(spec(tensor_parallel_size=4, pipeline_parallel_size=2))
    assert (given["--tensor-parallel-size"], given["--pipeline-parallel-size"]) == ("4", "2")


def test_a_cpu_engine_is_compiled_where_that_was_asked() -> None:
    given = flags(spec(compiled=True))
    assert "--enforce-eager" not in given and given["--optimization-level"] == "1"
    own = flags(spec(compiled=True, extra_args=("--optimization-level", "2")))
    assert own["--optimization-level"] == "2"
    assert "TORCH_COMPILE_DISABLE" not in launch(spec(compiled=True), {}).environment


def test_ranks_on_a_cpu_are_bound_to_no_cores_unless_the_operator_does_it() -> None:
    name = "VLLM_CPU_OMP_THREADS_BIND"
    two = spec(tensor_parallel_size=2)
    assert launch(two, {}).environment[name] == "nobind"
    assert launch(two, {name: "0|1"}).environment[name] == "0|1"
    assert name not in launch(spec(), {}).environment
    on_gpu = spec(device="cuda", gpu_memory_utilization=0.5, tensor_parallel_size=2)
    assert name not in launch(on_gpu, {}).environment


@pytest.mark.parametrize(
    ("changes", "seen", "visible"),
    [
        ({}, None, None),
        ({}, "3,4", "3,4"),
        ({"first_gpu": 1}, None, "1"),
        ({"first_gpu": 1, "tensor_parallel_size": 2}, None, "1,2"),
        ({"first_gpu": 1, "tensor_parallel_size": 2}, "5, 3,4,7", "3,4"),
        ({"first_gpu": 1}, "GPU-aa,GPU-bb", "GPU-bb"),
    ],
)
def test_an_engine_does_not_see_the_encoders_own_gpu(
    changes: dict[str, Any], seen: str | None, visible: str | None
) -> None:
    made = spec(device="cuda", gpu_memory_utilization=0.5, **changes)
    inherited = {} if seen is None else {"CUDA_VISIBLE_DEVICES": seen}
    assert launch(made, inherited).environment.get("CUDA_VISIBLE_DEVICES") == visible


def test_handles_beside_the_engines_own_tower() -> None:
    given = flags(spec(tower="present"))
    assert "--ec-transfer-config" in given and "--limit-mm-per-prompt" not in given


def test_a_tower_that_is_only_loaded_encodes_nothing_at_the_start_either() -> None:
    given = flags(spec(tower="loaded"))
    # images are handles alone, as without a tower; the modality that is allowed loads it
    assert json.loads(given["--limit-mm-per-prompt"]) == {"image": 0, "video": 1, "audio": 0}
    assert "--skip-mm-profiling" in given and "--skip-mm-profiling" not in flags(spec(tower="present"))
    with pytest.raises(ConfigurationError, match="images=passthrough requires the engine's own vision tower"):
        spec(handles=None, tower="loaded")


def test_a_cpu_engine() -> None:
    made = spec(cpu_threads=3, max_batched_tokens=2048, revision="abc")
    given, environment = flags(made), launch(made, {}).environment
    assert (given["--block-size"], given["--kv-cache-memory-bytes"]) == ("32", str(2**28))
    assert (given["--max-num-batched-tokens"], given["--revision"]) == ("2048", "abc")
    assert "--enforce-eager" in given and environment["TORCH_COMPILE_DISABLE"] == "1"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert "--gpu-memory-utilization" not in given


def test_large_steps_have_threads_of_their_own_unless_the_operator_says_how_many() -> None:
    made = spec(large_steps=LargeSteps(tokens=64, threads=2))
    told = launch(made, {"PATCHBAY_LARGE_STEPS": "somebody's"}).environment["PATCHBAY_LARGE_STEPS"]
    assert large_steps({"PATCHBAY_LARGE_STEPS": told}) == made.large_steps
    assert "PATCHBAY_LARGE_STEPS" not in launch(made, {"OMP_NUM_THREADS": "2"}).environment
    assert "PATCHBAY_LARGE_STEPS" not in launch(spec(), {}).environment
    assert large_steps({}) is None


def test_a_gpu_engine() -> None:
    made = spec(device="cuda", gpu_memory_utilization=0.85, compiled=True)
    given, environment = flags(made), launch(made, {}).environment
    assert given["--gpu-memory-utilization"] == "0.85"
    assert not {"--block-size", "--kv-cache-memory-bytes", "--enforce-eager"} & given.keys()
    assert (
        not {"OMP_NUM_THREADS", "TORCH_COMPILE_DISABLE", "VLLM_ENABLE_V1_MULTIPROCESSING"}
        & environment.keys()
    )


def test_a_gpu_engine_that_is_not_compiled_captures_no_graphs() -> None:
    made = spec(device="cuda", gpu_memory_utilization=0.85)
    assert "--enforce-eager" in flags(made)
    assert "TORCH_COMPILE_DISABLE" not in launch(made, {}).environment, "its sampler may be compiled"


@pytest.mark.parametrize("word", ["--no-enforce-eager", "-O2", "-cc.mode=3", "--optimization-level=2"])
def test_compilation_on_a_cpu_is_the_operators_choice(word: str) -> None:
    made = spec(extra_args=(word,))
    assert "--enforce-eager" not in flags(made)
    assert "TORCH_COMPILE_DISABLE" not in launch(made, {}).environment


def test_the_operators_flags_come_last_and_unchanged() -> None:
    extra = ("--max-num-seqs", "8", "--chat-template", "a b.jinja")
    assert launch(spec(extra_args=extra), {}).argv[-4:] == extra


def test_the_operators_environment_wins_over_defaults_but_not_over_the_contract() -> None:
    inherited = {
        "PATH": "/bin",
        "OMP_NUM_THREADS": "7",
        "VLLM_NO_USAGE_STATS": "0",
        "VLLM_USE_RUST_FRONTEND": "1",
        "PATCHBAY_PLUGIN": "{}",
        UNPROVED: "1",
    }
    environment = launch(spec(), inherited).environment
    assert environment["VLLM_USE_RUST_FRONTEND"] == "0"
    assert environment[UNPROVED] == "1"
    assert (environment["PATH"], environment["OMP_NUM_THREADS"]) == ("/bin", "7")
    assert environment["VLLM_NO_USAGE_STATS"] == "1"
    assert json.loads(environment["PATCHBAY_PLUGIN"])["max_tokens"] == 160


def test_secrets_do_not_reach_the_engine() -> None:
    inherited = {"PATCHBAY_API_KEYS": "secret", "VLLM_API_KEY": "secret"}
    assert "secret" not in launch(spec(), inherited).environment.values()


def test_a_local_model_needs_no_network(tmp_path: Path) -> None:
    assert launch(spec(model=str(tmp_path)), {}).environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in launch(spec(model="org/model"), {}).environment


def test_the_tool_call_parser_can_be_the_operators() -> None:
    assert flags(spec(tool_call_parser="hermes"))["--tool-call-parser"] == "hermes"
    assert "--enable-auto-tool-choice" in flags(spec(tool_call_parser="hermes"))
    theirs = spec(tool_call_parser="hermes", extra_args=("--tool-call-parser=pythonic",))
    assert "hermes" not in launch(theirs, {}).argv


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        (None, "hermes"),
        ("{{ messages }}", "hermes"),
        ("{% if tools %}<tool_call>{% endif %}", "hermes"),
        ("{% if tools %}<tool_call>{{ '<function=' + name + '>' }}{% endif %}", "qwen3_coder"),
        ("{% if tools %}<tool_call>{{ name }}<arg_key>{{ key }}</arg_key>{% endif %}", "glm45"),
        ("{% if tools %}{{ '<function=' + name + '>' }}{% endif %}", None),
        ("{% if tools %}<|python_tag|>{% endif %}", None),
    ],
)
def test_the_parser_is_read_from_the_template(template: str | None, parser: str | None) -> None:
    assert tool_call_parser(template) == parser


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"handles": None}, "images=passthrough requires the engine's own vision tower"),
        ({"device": "cuda"}, "gpu_memory_utilization"),
        ({"kv_cache_bytes": None}, "kv_cache_bytes"),
        ({"cpu_threads": 0}, "cpu_threads is 0"),
        ({"extra_args": ("--port", "1")}, "--port is not allowed"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        spec(**changes)


def test_the_description_is_a_command_that_a_shell_takes() -> None:
    made = spec(extra_args=("--chat-template", "a b.jinja"))
    words = shlex.split(describe(made))
    assert words[0] == "env" and "OMP_NUM_THREADS=1" in words
    assert tuple(words[-len(launch(made, {}).argv) :]) == launch(made, {}).argv


def test_the_arena_is_what_a_killed_gateway_leaves() -> None:
    assert launch(spec(), {}).leftovers == ("/dev/shm/a.arena",)
    assert launch(spec(handles=None, tower="present"), {}).leftovers == ()
