"""What ends a command: a sentence that says what to do, in the place of botocore's.

Exit codes: 2 where nothing in the account was touched and what was given has to change (stage, credentials, region,
account); 130 after Ctrl-C; 1 for all else.
"""

from __future__ import annotations

import re

import click
from botocore import exceptions as b

EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
UNKNOWN = {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}
THROTTLED = {"Throttling", "ThrottlingException", "RequestLimitExceeded", "SlowDown", "TooManyRequestsException"}
OVERTAKEN = {"InvalidChangeSetStatus", "ChangeSetNotFound", "OperationInProgressException"}

S3_ACTIONS = {
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListObjectsV2": "ListBucket",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
}
"""S3 does not always say which action it refused, and some have another name than their operation."""

LOG_IN = "`aws login`, `aws sso login`, or export AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN)"


class Stop(click.ClickException):
    exit_code = 1


class Misuse(Stop):
    exit_code = 2


class Interrupted(Stop):
    exit_code = 130


def explained(error: b.BotoCoreError | b.ClientError) -> Stop:
    """What an operator does about it."""
    if isinstance(error, b.ClientError):
        return _answered(error)
    if isinstance(error, b.NoCredentialsError | b.PartialCredentialsError):
        return Misuse(f"there are no AWS credentials here ({_said(error)}): {LOG_IN}; or AWS_PROFILE=name")
    if isinstance(error, b.ProfileNotFound):
        return Misuse(f"{_said(error)}: `aws configure list-profiles` shows which there are")
    if isinstance(error, b.NoRegionError):
        return Misuse("no region: export AWS_REGION=eu-central-1, or the one that Muster is to run in")
    if isinstance(error, b.SSOError | b.LoginError | b.TokenRetrievalError | b.CredentialRetrievalError):
        return Misuse(f"the AWS credentials could not be read ({_said(error)}): {LOG_IN}")
    if isinstance(error, b.HTTPClientError | b.ConnectionError):
        return Stop(f"AWS cannot be reached: {_said(error)}. Is the region's name right, and the network there?")
    return Stop(f"AWS was not asked: {_said(error)}")


def _answered(error: b.ClientError) -> Stop:
    code, said = error.response.get("Error", {}).get("Code", ""), _said(error)
    if code in EXPIRED:
        return Misuse(f"the AWS credentials have expired: {LOG_IN}")
    if code in UNKNOWN:
        return Misuse(f"AWS does not know these credentials ({code}): {LOG_IN}")
    if code in DENIED:
        return Stop(f"access denied for {denied_action(error)}: let whoever deploys have that action. {said}")
    if code in THROTTLED:
        return Stop("AWS goes on throttling these requests; run the same command again in some minutes")
    if code in OVERTAKEN or "_IN_PROGRESS state" in said:
        return Stop("another deploy came in between: wait until it has ended, then run the same command again")
    return Stop(said)


def denied_action(error: b.ClientError) -> str:
    named = re.search(r"not authorized to perform:? (\S+)", _said(error))
    return named[1] if named else f"s3:{S3_ACTIONS.get(error.operation_name, error.operation_name)}"


def advice(reason: str) -> str:
    """For what CloudFormation says about a resource."""
    if "UnreservedConcurrentExecution" in reason:
        return "the account's limit is too low to reserve concurrency: take that setting away, or ask AWS for more"
    if "not authorized to perform" in reason or "AccessDenied" in reason:
        return "let whoever deploys have that action, then run the same command again"
    if "already exists" in reason:
        return "it is there from before, and no stack has it: rename, import or delete it (docs/cloud.md)"
    return "mend that, then run the same command again"


def _said(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
