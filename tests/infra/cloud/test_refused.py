"""What goes wrong between whoever deploys and AWS: a sentence that says what to do, and the exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.fixtures import ROOT
from tests.fixtures.signals import with_interrupts_ignored
from tests.fixtures.waiting import PATIENCE, deadline
from tests.infra.cloud.minimal_stage import build
from tests.infra.cloud.moto_account import NUMBER, REGION, Account, NewAccount
from tests.infra.cloud.refusing_proxy import Refusal, Refusing, refusing

BUCKET = f"/muster-artefacts-{NUMBER}-{REGION}"
NOT_AUTHORIZED = "User: arn:aws:iam::123456789012:user/ci is not authorized to perform: {} on resource: *"
DEPLOY = ("deploy", "--stage", "refused")


@pytest.fixture(scope="module")
def behind(new_account: NewAccount) -> Account:
    return new_account(build)


@pytest.fixture
def proxy(behind: Account) -> Iterator[Refusing]:
    with refusing(behind.environment["AWS_ENDPOINT_URL"]) as proxy:
        yield proxy


def refused(behind: Account, proxy: Refusing, *words: str, **variables: str | None) -> tuple[int, str]:
    """The exit code and what was said."""
    wanted = {"AWS_ENDPOINT_URL": proxy.url, "AWS_MAX_ATTEMPTS": "2", "AWS_RETRY_MODE": "standard"}
    done = behind.run(*words, variables={**wanted, **variables})
    assert done.stdout == ""
    return done.returncode, " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "there are no AWS credentials here"),
        ({"AWS_SECRET_ACCESS_KEY": None}, "there are no AWS credentials here"),
        ({"AWS_PROFILE": "nobody"}, "`aws configure list-profiles` shows which there are"),
        ({"AWS_REGION": None}, "no region: export AWS_REGION=eu-central-1"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}, "AWS cannot be reached"),
    ],
)
def test_what_is_missing_here_is_named_before_aws_is_touched(
    behind: Account, proxy: Refusing, environment: dict[str, str | None], sentence: str
) -> None:
    code, said = refused(behind, proxy, *DEPLOY, **environment)
    assert sentence in said
    assert code == (1 if "reached" in sentence else 2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("deploy", "--stage", "local"), "local is `make serve`"),
        (("deploy", "--stage", ""), "make deploy STAGE=prod"),
        (("destroy", "--stage", "Prod"), "make deploy STAGE=prod"),
        (("admin-key", "--stage", "a_b"), "make deploy STAGE=prod"),
        ((*DEPLOY, "--account", "210987654321"), f"of account {NUMBER}, not of 210987654321: nothing was touched"),
        (("admin-key", "--stage", "other"), "there is no stage other in this account and region"),
    ],
)
def test_a_wrong_stage_or_account_is_a_misuse_that_says_what_to_do(
    behind: Account, proxy: Refusing, words: tuple[str, ...], sentence: str
) -> None:
    code, said = refused(behind, proxy, *words)
    assert sentence in said.replace("│ ", "") and code == 2


@pytest.mark.parametrize(
    ("refusal", "code", "sentence"),
    [
        (Refusal("GetCallerIdentity", 403, "ExpiredToken"), 2, "the AWS credentials have expired: `aws login`"),
        (Refusal("GetCallerIdentity", 403, "InvalidClientTokenId"), 2, "AWS does not know these credentials"),
        (
            Refusal("DescribeStacks", 403, "AccessDenied", NOT_AUTHORIZED.format("cloudformation:DescribeStacks")),
            1,
            "access denied for cloudformation:DescribeStacks: let whoever deploys have that action",
        ),
        (Refusal(f"PUT {BUCKET}", 403, "AccessDenied", "Access Denied"), 1, "access denied for s3:CreateBucket"),
        (Refusal(f"HEAD {BUCKET}", 403, "AccessDenied"), 1, "another account has a bucket of this name"),
        (Refusal(f"PUT {BUCKET}", 409, "BucketAlreadyExists"), 1, f"another account has a bucket named {BUCKET[1:]}"),
        (
            Refusal("DescribeStacks", 400, "Throttling", "Rate exceeded"),
            1,
            "run the same command again in some minutes",
        ),
    ],
    ids=lambda each: each.code if isinstance(each, Refusal) else "",
)
def test_what_aws_refuses_is_a_sentence_that_says_what_to_do(
    behind: Account, proxy: Refusing, refusal: Refusal, code: int, sentence: str
) -> None:
    proxy.refusals.append(refusal)
    if refusal.operation.startswith("PUT"):
        proxy.refusals.append(Refusal(f"HEAD {BUCKET}", 404, "NoSuchBucket"))
    got, said = refused(behind, proxy, *DEPLOY)
    assert sentence in said and got == code


def test_a_throttled_request_is_made_again(behind: Account, proxy: Refusing) -> None:
    proxy.refusals.append(Refusal("DescribeStacks", 400, "Throttling", "Rate exceeded", times=3))
    code, said = refused(behind, proxy, "admin-key", "--stage", "other", AWS_MAX_ATTEMPTS=None, AWS_RETRY_MODE=None)
    assert "there is no stage other" in said and code == 2
    assert proxy.refusals[0].times == 0


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (
            Refusal("CreateChangeSet", 403, "AccessDenied", NOT_AUTHORIZED.format("cloudformation:CreateChangeSet")),
            "access denied for cloudformation:CreateChangeSet",
        ),
        (Refusal("ExecuteChangeSet", 400, "InvalidChangeSetStatus"), "another deploy came in between"),
        (
            Refusal("TransactWriteItems", 400, "AccessDeniedException", NOT_AUTHORIZED.format("dynamodb:PutItem")),
            "access denied for dynamodb:PutItem",
        ),
    ],
    ids=lambda each: each.operation if isinstance(each, Refusal) else "",
)
def test_what_aws_refuses_on_the_way_ends_the_command_with_its_reason(
    behind: Account, proxy: Refusing, refusal: Refusal, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy.refusals.append(refusal)
    code, said = refused(behind, proxy, "deploy", "--stage", f"no-{refusal.operation.lower()[:16]}")
    assert sentence in said + capfd.readouterr().err and code == 1  # what makes the key speaks for itself


def test_ctrl_c_leaves_the_stack_going_on_also_where_the_parent_ignores_sigint(
    behind: Account, proxy: Refusing
) -> None:
    proxy.hold = "DescribeStackEvents"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.infra.cloud.minimal_stage", "deploy", "--stage", "interrupted"],
        cwd=ROOT,
        env=behind.environment | {"AWS_ENDPOINT_URL": proxy.url},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=with_interrupts_ignored,
    )
    try:
        assert proxy.held.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        with deadline(process):
            _, said = process.communicate()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and "run the same command again" in said and "Traceback" not in said
