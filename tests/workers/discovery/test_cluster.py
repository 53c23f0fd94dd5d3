"""The way into a cluster: which one is taken, and what is said when there is none."""

import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.workers.discovery.cluster import access
from app.workers.discovery.source import DiscoveryError
from tests.certificates import Certificates


def _written(tmp_path: Path, **user: Any) -> dict[str, str]:
    """The environment with a kubeconfig whose user has these keys."""
    path = tmp_path / "kubeconfig"
    contexts = [
        {"name": "other", "context": {"cluster": "none", "user": "none"}},
        {"name": "mine", "context": {"cluster": "c", "user": "u"}},
    ]
    clusters = [{"name": "c", "cluster": {"server": "https://api.example:6443"}}]
    users = [{"name": "u", "user": user}]
    config = {"current-context": "mine", "contexts": contexts, "clusters": clusters, "users": users}
    path.write_text(yaml.safe_dump(config))
    return {"KUBECONFIG": str(path), "KUBERNETES_SERVICE_HOST": "10.96.0.1"}


def _refused(environ: dict[str, str], **more: Path) -> str:
    with pytest.raises(DiscoveryError) as caught:
        access(environ, **more)
    return str(caught.value)


def test_a_kubeconfig_goes_before_the_pods_own_account(tmp_path: Path):
    way = access(_written(tmp_path, token="abc"))
    assert (way.server, way.headers) == ("https://api.example:6443", {"Authorization": "Bearer abc"})


def test_a_token_file_stands_beside_the_kubeconfig_and_is_read_every_time(tmp_path: Path):
    environ = _written(tmp_path, tokenFile="token")
    for token in ("first", "second"):
        (tmp_path / "token").write_text(f"{token}\n")
        assert access(environ).headers == {"Authorization": f"Bearer {token}"}


def test_outside_of_a_pod_one_is_told_to_name_a_cluster():
    assert _refused({}) == "the gateway runs in no pod: set KUBECONFIG to a file that names the cluster"


def test_a_pod_without_a_service_account_is_told_which_file_is_missing(tmp_path: Path):
    told = _refused({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, account=tmp_path)
    assert told == f"{tmp_path}/token: No such file or directory"


def test_a_user_who_logs_in_with_a_program_is_refused(tmp_path: Path):
    assert "the user u needs a program to log in: give it a token" in _refused(
        _written(tmp_path, exec={"command": "x"})
    )


@pytest.mark.parametrize(
    "written", ["", "[]", "hush", "current-context: hush", "'hush", "current-context: a\ncontexts: [{name: hush}]"]
)
def test_what_is_no_kubeconfig_is_named_and_not_shown(tmp_path: Path, written: str):
    path = tmp_path / "kubeconfig"
    path.write_text(written)
    told = _refused({"KUBECONFIG": str(path)})
    assert told.startswith(f"{path} is no kubeconfig")
    assert "hush" not in told


@pytest.mark.parametrize("token", ["hush\nhush", "hüsh", "hush\x00"])
def test_a_token_that_no_header_could_carry_is_not_shown(tmp_path: Path, token: str):
    told = _refused(_written(tmp_path, token=token))
    assert told == "the token for the API server holds characters that no token has"


@pytest.mark.parametrize("key", ["client-certificate-data", "client-certificate"])
def test_a_certificate_that_is_none_is_an_error_without_its_text(tmp_path: Path, key: str):
    (tmp_path / "aHVzaA==").write_text("hush")
    told = _refused(_written(tmp_path, **{key: "aHVzaA=="}))
    assert "hush" not in told
    assert str(tmp_path) in told


@pytest.mark.parametrize("kind", ["pod", "kubeconfig"])
def test_an_authority_without_key_identifiers_is_taken_and_all_else_is_verified(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, kind: str
):
    make_context = ssl.create_default_context

    def as_newer_pythons_do(*args: Any, **options: Any) -> ssl.SSLContext:
        context = make_context(*args, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    # Up to Python 3.12 the flags have to be asked for; the image has a newer one.
    monkeypatch.setattr(ssl, "create_default_context", as_newer_pythons_do)
    if kind == "pod":
        (tmp_path / "token").write_text("abc")
        (tmp_path / "ca.crt").write_bytes(certificates.authority.read_bytes())
        tls = access({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, account=tmp_path).tls
    else:
        environ = _written(tmp_path, token="abc")
        written = yaml.safe_load(Path(environ["KUBECONFIG"]).read_text())
        authority = b64encode(certificates.authority.read_bytes()).decode()
        written["clusters"][0]["cluster"]["certificate-authority-data"] = authority
        Path(environ["KUBECONFIG"]).write_text(yaml.safe_dump(written))
        tls = access(environ).tls
    assert not tls.verify_flags & ssl.VERIFY_X509_STRICT
    assert tls.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(tls.get_ca_certs()) == 1
