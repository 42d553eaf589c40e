"""What the Docker daemon says, as error codes. The texts are those of engines 20.10 to 29."""

from __future__ import annotations

import pytest

from muster.diagnostics.docker import MOST_CHARACTERS, read

RUNC = "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process"


@pytest.mark.parametrize(
    ("prose", "code"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "GPU_UNAVAILABLE"),
        ("nvidia-container-cli: initialization error: nvml error: driver not loaded", "GPU_UNAVAILABLE"),
        ("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8, please update", "DRIVER_TOO_OLD"),
        ("No such image: registry.example/nvidia/vllm:25.01", "IMAGE_NOT_FOUND"),
        ("Bind for 127.0.0.1:20000 failed: port is already allocated", "PORT_IN_USE"),
        ("listen tcp4 127.0.0.1:20000: bind: address already in use", "PORT_IN_USE"),
        ("listen tcp4 203.0.113.9:1: bind: cannot assign requested address", "ADDRESS_MISSING"),
        (f'{RUNC}: exec: "vllm": executable file not found in $PATH: unknown', "IMAGE_UNSUITABLE"),
        (f'{RUNC}: exec: "/vllm": stat /vllm: no such file or directory: unknown', "IMAGE_UNSUITABLE"),
        (f'{RUNC}: exec: "/vllm": permission denied: unknown', "IMAGE_UNSUITABLE"),
        (f'{RUNC}: exec: "/vllm": is a directory: unknown', "IMAGE_UNSUITABLE"),
        ("crun: executable file `vllm` not found in $PATH: No such file or directory", "IMAGE_UNSUITABLE"),
        ("crun: open executable: Permission denied: OCI permission denied", "IMAGE_UNSUITABLE"),
        ("starting container process caused: exec format error: unknown", "IMAGE_UNSUITABLE"),
        (
            'failed to start shim: exec: "containerd-shim-runc-v2": executable file not found in $PATH',
            "CONTAINER_FAILED",
        ),
        ('exec: "runc": executable file not found in $PATH: <nil>', "CONTAINER_FAILED"),
        ("fork/exec /usr/bin/runc: resource temporarily unavailable", "HOST_LIMIT"),
        ("write /var/lib/docker/tmp/x: no space left on device", "DISK_FULL"),
        ("manifest for vllm/vllm-openai:none not found: manifest unknown: manifest unknown", "IMAGE_NOT_FOUND"),
        ("pull access denied for x/y, repository does not exist or may require 'docker login'", "IMAGE_NOT_FOUND"),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "IMAGE_UNSUITABLE"),
        ("Get https://registry.example/v2/: no basic auth credentials", "REGISTRY_UNAUTHORIZED"),
        ("unauthorized: authentication required", "REGISTRY_UNREACHABLE"),
        ("dial tcp 127.0.0.1:5000: connect: connection refused", "REGISTRY_UNREACHABLE"),
        ("dial tcp: lookup registry.example: no such host", "REGISTRY_UNREACHABLE"),
        ("toomanyrequests: You have reached your pull rate limit", "REGISTRY_RATE_LIMITED"),
        ("net/http: request canceled (Client.Timeout exceeded while awaiting headers)", "REGISTRY_UNREACHABLE"),
        ("unable to delete 0 (cannot be forced) - image is being used by running container 1", "IMAGE_IN_USE"),
        ("mkdir /sys/fs/cgroup/memory/docker/7e2e: no space left on device: unknown", "HOST_LIMIT"),
        (f"{RUNC}: unable to apply apparmor profile: write /proc/self/attr/apparmor/exec: no such", "CONTAINER_FAILED"),
        ("fork/exec /usr/bin/runc: cannot allocate memory", "HOST_OUT_OF_MEMORY"),
        (
            f'{RUNC}: error mounting "/usr/lib/libnvidia-ml.so" to rootfs at "/usr/lib/libnvidia-ml.so"',
            "GPU_UNAVAILABLE",
        ),
        ("dial unix /run/containerd/containerd.sock: connect: connection refused", "CONTAINER_FAILED"),
        ("failed to register layer: rename /var/lib/docker/a /var/lib/docker/b: file exists", "DISK_FAILED"),
        ("failed to register layer: Error processing tar file(exit status 1): unexpected EOF", "REGISTRY_UNREACHABLE"),
        ("failed to register layer: write /opt/x: no space left on device", "DISK_FULL"),
        ('Get "https://registry.example/v2/": Proxy Authentication Required', "REGISTRY_UNREACHABLE"),
        ('failed to resolve reference "x/y:1": x/y:1: not found', "IMAGE_NOT_FOUND"),
        ("no match for platform in manifest: not found", "IMAGE_UNSUITABLE"),
        ("something new", "OTHERWISE"),
    ],
)
def test_dockers_prose_has_the_error_code_of_its_cause(prose: str, code: str) -> None:
    found = read(prose, "OTHERWISE")
    assert found.error_code == code
    assert found.message.endswith(prose)


def test_the_advice_names_the_registry() -> None:
    said = read("Get https://registry.example/v2/: no basic auth credentials", "OTHERWISE", "registry.example").message
    assert "docker login registry.example" in said


def test_a_token_that_ran_out_amid_a_pull_is_told_from_a_login_that_is_missing() -> None:
    prose = "unauthorized: authentication required"
    amid, before = read(prose, "OTHERWISE"), read(prose, "OTHERWISE", begun=False)
    assert (amid.error_code, amid.permanent) == ("REGISTRY_UNREACHABLE", False)
    assert (before.error_code, before.permanent) == ("REGISTRY_UNAUTHORIZED", True)


def test_what_is_wrong_with_a_gpu_says_what_to_do() -> None:
    missing = read('could not select device driver "" with capabilities: [[gpu]]', "OTHERWISE").message
    assert "apt-get install -y nvidia-container-toolkit" in missing
    old = read("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8", "OTHERWISE").message
    assert "update the driver" in old


def test_what_no_rule_knows_is_told_in_dockers_own_words_and_bounded() -> None:
    found = read("odd " * 2000, "OTHERWISE")
    assert (found.error_code, found.permanent, len(found.message)) == ("OTHERWISE", False, MOST_CHARACTERS)
