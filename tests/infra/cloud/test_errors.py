"""Each of botocore's own errors, before AWS was reached, as a sentence with what to do."""

from __future__ import annotations

import botocore.exceptions as b
import pytest

from infra.cloud.errors import explained


@pytest.mark.parametrize(
    ("error", "sentence", "code"),
    [
        (b.NoCredentialsError(), "there are no AWS credentials here", 2),
        (b.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), "no AWS credentials here", 2),
        (b.UnauthorizedSSOTokenError(), "aws sso login", 2),
        (b.SSOTokenLoadError(error_msg="no token"), "aws sso login", 2),
        (b.LoginRefreshRequired(), "aws login", 2),
        (b.TokenRetrievalError(provider="sso", error_msg="expired"), "aws sso login", 2),
        (b.CredentialRetrievalError(provider="process", error_msg="it failed"), "could not be read", 2),
        (b.ProfileNotFound(profile="nobody"), "aws configure list-profiles", 2),
        (b.NoRegionError(), "export AWS_REGION=", 2),
        (b.ReadTimeoutError(endpoint_url="https://x"), "AWS cannot be reached", 1),
        (b.EndpointConnectionError(endpoint_url="https://x"), "AWS cannot be reached", 1),
        (b.ParamValidationError(report="Bucket is too long"), "AWS was not asked: .*Bucket is too long", 1),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else "",
)
def test_what_botocore_says(error: b.BotoCoreError, sentence: str, code: int) -> None:
    stop = explained(error)
    assert stop.exit_code == code
    with pytest.raises(type(stop), match=sentence):
        raise stop
