"""The Job that fills the model claim: one for all replicas, and the program that it and the waiting pods run."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.helm.api_server import REFUSALS
from tests.helm.charts import Object, objects, pod, server, variables

FOLDER = "/models/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB: dict[str, Any] = {
    "model": {"name": FOLDER},
    "modelCache": {"enabled": True, "accessModes": ["ReadWriteMany"]},
    "modelDownload": {"enabled": True, "hub": "someone/tiny", "revision": COMMIT},
}


def with_download(**changed: Any) -> dict[str, Any]:
    return {**HUB, "modelDownload": {**HUB["modelDownload"], **changed}}


def job(values: dict[str, Any]) -> Object:
    return objects(values)["model-download.yaml"]


def spec(values: dict[str, Any]) -> Any:
    return job(values)["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", ["1.30", "1.34", "1.37"])
def test_kubernetes_takes_it(version: str) -> None:
    made = objects({**HUB, "replicas": 3})
    for name in ("model-download.yaml", "deployment.yaml"):
        assert kubernetes_validate.validate(dict(made[name]), version, strict=True) == version
    for refusal in REFUSALS:
        refusal(made)


def test_one_downloads_and_all_wait_for_the_same() -> None:
    made = objects({**HUB, "replicas": 3})
    assert (
        made["model-download.yaml"]["spec"]["parallelism"],
        made["deployment.yaml"]["spec"]["replicas"],
    ) == (1, 3)
    (fetching,) = spec(HUB)["containers"]
    (waiting,) = pod(made)["initContainers"]
    assert fetching["args"][0] == waiting["args"][0]
    assert (fetching["args"][1], waiting["args"][1]) == ("fetch", "wait")
    assert fetching["args"][2:] == waiting["args"][2:]
    assert fetching["args"][2] == variables(server(made))["PATCHBAY_MODEL"] == FOLDER
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in [*pod(made)["volumes"], *spec(HUB)["volumes"]]
        if volume["name"] == "models"
    ]
    assert claims == ["shop-patchbay", "shop-patchbay"]


def test_no_service_leads_to_it_and_no_policy_holds_it() -> None:
    labels = job(HUB)["spec"]["template"]["metadata"]["labels"]
    assert not objects(HUB)["service.yaml"]["spec"]["selector"].items() <= labels.items()
    assert spec(HUB)["automountServiceAccountToken"] is False
    assert spec(HUB)["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


def test_another_checkpoint_is_another_job_and_another_version_is_not() -> None:
    def name(values: dict[str, Any]) -> str:
        found: str = job(values)["metadata"]["name"]
        return found

    assert name(HUB) != name(with_download(revision="main"))
    assert name(HUB) == name({**HUB, "replicas": 7, "settings": {"max_images": 3}})
    assert len(name({**HUB, "fullnameOverride": "a" * 80})) <= 63


def test_a_claim_of_one_node_is_filled_on_the_servers_node() -> None:
    values = {
        **HUB,
        "modelCache": {"enabled": True},
        "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
    }
    made = objects(values)
    (term,) = spec(values)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    labels = made["deployment.yaml"]["spec"]["template"]["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()
    assert "affinity" not in spec(HUB)


def test_a_rollout_has_the_time_that_the_job_has() -> None:
    without = objects({**HUB, "modelDownload": {"enabled": False}})["deployment.yaml"]
    longer = objects(with_download(timeoutSeconds=7200))
    assert longer["model-download.yaml"]["spec"]["activeDeadlineSeconds"] == 7200
    assert (
        longer["deployment.yaml"]["spec"]["progressDeadlineSeconds"]
        == without["spec"]["progressDeadlineSeconds"] + 7200
    )


def test_tokens_come_from_secrets() -> None:
    values = {**HUB, "huggingFace": {"existingSecret": {"name": "hub"}}}
    (container,) = spec(values)["containers"]
    (token,) = [entry for entry in container["env"] if entry["name"] == "HF_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "token"}
    authorized = {"url": "https://a.example/m.tar", "sha256": "0" * 64, "hub": "", "revision": ""}
    secret = {"existingSecret": {"name": "bucket"}}
    (container,) = spec(with_download(**authorized, authorization=secret))["containers"]
    (header,) = [entry for entry in container["env"] if entry["name"] == "AUTHORIZATION"]
    assert header["valueFrom"]["secretKeyRef"] == {"name": "bucket", "key": "authorization"}


def test_the_server_may_only_read_what_the_job_writes() -> None:
    values = {**HUB, "modelCache": {**HUB["modelCache"], "readOnly": True}}
    made = objects(values)
    (mount,) = [entry for entry in server(made)["volumeMounts"] if entry["name"] == "models"]
    assert mount["readOnly"] is True
    (claim,) = [entry for entry in pod(made)["volumes"] if entry["name"] == "models"]
    assert "readOnly" not in claim["persistentVolumeClaim"]
    (mount,) = [entry for entry in spec(values)["containers"][0]["volumeMounts"] if entry["name"] == "models"]
    assert "readOnly" not in mount


@dataclass
class Site:
    """A host with an archive, and the parts of a hub that a download asks for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    seen: list[tuple[str, str, str | None]] = field(default_factory=list)
    elsewhere: str = ""


def serving(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            site.seen.append((self.command, self.path, self.headers["authorization"]))
            if site.elsewhere:
                self.send_response(302)
                self.send_header("location", site.elsewhere + self.path)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            name = self.path.rpartition("/")[2]
            if "/tree/" in self.path:
                tree = [
                    {
                        "type": "file",
                        "path": name,
                        "size": len(content),
                        "oid": hashlib.sha1(content).hexdigest(),
                    }
                    for name, content in site.files.items()
                ]
                content = json.dumps(tree).encode()
            elif self.path.startswith("/api/models/"):
                siblings = [{"rfilename": name} for name in site.files]
                content = json.dumps({"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}).encode()
            elif name in site.files:
                content = site.files[name]
            else:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("x-repo-commit", COMMIT)
            self.send_header("etag", '"' + hashlib.sha1(content).hexdigest() + '"')
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        site.url = f"http://127.0.0.1:{server.server_port}"
        yield site
        server.shutdown()
        thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    yield from serving(Site(files={"config.json": b"{}", "model.safetensors": b"weights"}))


@pytest.fixture
def other() -> Iterator[Site]:
    yield from serving(Site())


def archive(site: Site, inside: str = "", bad: str = "") -> dict[str, Any]:
    """A source that is an archive of the site's files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in site.files.items():
            member = tarfile.TarInfo(inside + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if bad:
            tar.addfile(tarfile.TarInfo(bad))
    site.files = {"tiny.tar.gz": packed.getvalue()}
    return {
        "url": f"{site.url}/tiny.tar.gz",
        "sha256": hashlib.sha256(packed.getvalue()).hexdigest(),
        "files": {},
    }


def start(verb: str, folder: Path, source: dict[str, Any], **environment: str) -> subprocess.Popen[str]:
    """The program as it stands in the rendered Job, for a folder of this machine."""
    program = spec(HUB)["containers"][0]["args"][0]
    return subprocess.Popen(
        [sys.executable, "-c", program, verb, str(folder), json.dumps(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": "", "HOME": str(folder.parent), "HF_HOME": str(folder.parent / "hf"), **environment},
    )


def run(verb: str, folder: Path, source: dict[str, Any], **environment: str) -> tuple[int, str, str]:
    with start(verb, folder, source, **environment) as process:
        out, err = process.communicate()
        return process.returncode, out, err


def hub(**files: str) -> dict[str, Any]:
    return {"hub": "someone/tiny", "revision": COMMIT, "files": files}


def test_a_checkpoint_comes_from_the_hub(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"
    sums = {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    source = {**hub(), "files": sums}
    told = run("fetch", folder, source, HF_ENDPOINT=site.url, HF_TOKEN="secret", HF_HUB_DISABLE_XET="1")
    assert told[0] == 0, told
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert {authorization for _, path, authorization in site.seen if "/resolve/" in path} == {"Bearer secret"}
    assert all(COMMIT in path for _, path, _ in site.seen if "/resolve/" in path)
    asked = len(site.seen)
    code, out, _ = run("fetch", folder, source, HF_ENDPOINT=site.url)
    assert (code, len(site.seen)) == (0, asked) and "is there already" in out
    assert run("wait", folder, source)[0] == 0


def test_wrong_weights_are_not_used(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    source = {**hub(), "files": {"model.safetensors": "0" * 64}}
    code, _, err = run("fetch", folder, source, HF_ENDPOINT=site.url, HF_HUB_DISABLE_XET="1")
    assert code == 1 and f"model.safetensors: its SHA-256 is {hashlib.sha256(b'weights').hexdigest()}" in err
    assert not folder.exists()


@pytest.mark.parametrize("inside", ["", "tiny-1.0/"])
def test_a_checkpoint_comes_from_an_archive(inside: str, site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    assert run("fetch", folder, archive(site, inside))[0] == 0
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny"]


def test_the_header_is_for_the_first_host_alone(site: Site, other: Site, tmp_path: Path) -> None:
    source = archive(site)
    other.files, site.elsewhere = site.files, other.url
    assert run("fetch", tmp_path / "tiny", source, AUTHORIZATION="Bearer secret")[0] == 0
    assert [authorization for _, _, authorization in site.seen] == ["Bearer secret"]
    assert [authorization for _, _, authorization in other.seen] == [None]


def test_an_archive_that_was_changed_is_not_unpacked(site: Site, tmp_path: Path) -> None:
    source = {**archive(site), "sha256": "1" * 64}
    code, _, err = run("fetch", tmp_path / "tiny", source)
    assert code == 1 and f"and {'1' * 64} was wanted" in err
    assert not (tmp_path / "tiny").exists()


def test_an_archive_that_leads_out_is_refused(site: Site, tmp_path: Path) -> None:
    code, _, err = run("fetch", tmp_path / "in" / "tiny", archive(site, bad="../../outside"))
    assert code == 1 and "OutsideDestinationError" in err
    assert not (tmp_path / "outside").exists() and not (tmp_path / "in" / "tiny").exists()


def test_what_is_no_checkpoint_is_refused(site: Site, tmp_path: Path) -> None:
    site.files = {"readme": b"x"}
    code, _, err = run("fetch", tmp_path / "tiny", archive(site))
    assert code == 1 and "there is no config.json in it" in err


def test_a_folder_of_something_else_is_left_alone(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("mine")
    code, _, err = run("fetch", folder, archive(site))
    assert code == 1 and "choose another folder in model.name" in err
    assert (folder / "config.json").read_text() == "mine" and not site.seen


def test_who_waits_goes_on_when_it_is_there(site: Site, tmp_path: Path) -> None:
    folder, source = tmp_path / "tiny", archive(site)
    with start("wait", folder, source) as waiting:
        assert waiting.stdout is not None
        assert f"waiting for {folder}" in waiting.stdout.readline()
        assert waiting.poll() is None
        assert run("fetch", folder, source)[0] == 0
        assert waiting.wait() == 0
