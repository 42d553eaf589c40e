"""The bucket that CloudFormation and Lambda read from: one for an account and region, shared by its stages.

What is in it has the digest of its content for a name. So the same content is the same name, and a second deploy finds
nothing to change; nothing is overwritten, and a roll-back finds what it had. That is about 1 MB for each version. The
wheels for hosts lie there too, below wheels/: a name of theirs always has the same content.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.routes.wheels import PREFIX, Wheel
from infra.cloud.errors import Stop
from infra.cloud.names import BUCKET
from infra.cloud.session import Account

DAYS_KEPT = 30
"""For what somebody deleted or overwrote by hand."""


class Bucket:
    def __init__(self, account: Account) -> None:
        self.name = f"{BUCKET}{account.number}-{account.region}"
        self._account, self._s3 = account, account.client("s3")
        self._ours: dict[str, Any] = {"Bucket": self.name, "ExpectedBucketOwner": account.number}

    def ensure(self) -> bool:
        """Private, encrypted, versioned; whether it was made. What it should be is set each time. Raises Stop."""
        made = self._create()
        block = dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        )
        self._s3.put_public_access_block(**self._ours, PublicAccessBlockConfiguration=block)
        encrypted = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        self._s3.put_bucket_encryption(**self._ours, ServerSideEncryptionConfiguration={"Rules": [encrypted]})
        self._s3.put_bucket_versioning(**self._ours, VersioningConfiguration={"Status": "Enabled"})
        self._s3.put_bucket_lifecycle_configuration(**self._ours, LifecycleConfiguration={"Rules": [_rule()]})
        self._s3.put_bucket_policy(**self._ours, Policy=json.dumps(self._policy()))
        return made

    def _create(self) -> bool:
        region = self._account.region
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            self._s3.head_bucket(**self._ours)
            return False
        except ClientError as error:
            if error.response["Error"]["Code"] in {"403", "AccessDenied"}:
                raise Stop(
                    f"access denied for s3:ListBucket on {self.name}: let whoever deploys have that action; "
                    f"or another account has a bucket of this name"
                ) from error
            if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
                raise
        try:
            self._s3.create_bucket(Bucket=self.name, **where)
        except ClientError as error:
            if error.response["Error"]["Code"] == "BucketAlreadyExists":
                raise Stop(
                    f"another account has a bucket named {self.name}: deploy to another region, or ask AWS whose it is"
                ) from error
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise
            return False  # another deploy made it at the same time
        return True

    def _policy(self) -> dict[str, Any]:
        """Nothing without TLS."""
        arn = f"arn:{self._s3.meta.partition}:s3:::{self.name}"
        statement: dict[str, Any] = {
            "Sid": "OnlyTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        return {"Version": "2012-10-17", "Statement": [statement]}

    def put_archive(self, stage: str, path: Path) -> str:
        """Its key. Raises ClientError."""
        return self._put(f"{stage}/{content_digest(path)}.zip", path.read_bytes())

    def put_template(self, stage: str, template: dict[str, Any]) -> str:
        """Its URL: a template in a request may have no more than 51,200 bytes. Raises ClientError."""
        body = json.dumps(template, indent=1, sort_keys=True).encode()
        key = self._put(f"{stage}/{hashlib.sha256(body).hexdigest()}.json", body)
        return f"{self._s3.meta.endpoint_url}/{self.name}/{key}"

    def put_wheels(self, folder: Path, wheels: Iterable[Wheel]) -> int:
        """Upload the wheels of a folder that the bucket lacks, and return their number. Raises ClientError, OSError."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(**self._ours, Prefix=PREFIX)
        there = {stored["Key"] for page in pages for stored in page.get("Contents", [])}
        lacking = [wheel for wheel in wheels if wheel.key not in there]
        for wheel in lacking:
            self._s3.put_object(**self._ours, Key=wheel.key, Body=(folder / wheel.file).read_bytes())
        return len(lacking)

    def _put(self, key: str, body: bytes) -> str:
        try:
            self._s3.head_object(**self._ours, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"404", "NoSuchKey"}:
                raise
            self._s3.put_object(**self._ours, Key=key, Body=body)
        return key


def content_digest(path: Path) -> str:
    """Of the names and the bytes in an archive: two of the same content differ in their times."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(path) as archive:
        for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
            digest.update(f"{entry.filename}\0{entry.external_attr}\0{entry.file_size}\0".encode())
            digest.update(archive.read(entry))
    return digest.hexdigest()


def with_code(template: dict[str, Any], bucket: str, key: str) -> dict[str, Any]:
    """The template, with the archive's place in S3 wherever a function's code is a file beside it."""

    def with_place(resource: dict[str, Any]) -> dict[str, Any]:
        if "Properties" not in resource:
            return resource
        return resource | {"Properties": placed(resource["Type"], resource["Properties"])}

    def placed(kind: str, properties: dict[str, Any]) -> dict[str, Any]:
        if kind == "AWS::Serverless::Function" and isinstance(properties.get("CodeUri"), str):
            return properties | {"CodeUri": {"Bucket": bucket, "Key": key}}
        if kind == "AWS::Lambda::Function" and isinstance(properties.get("Code"), str):
            return properties | {"Code": {"S3Bucket": bucket, "S3Key": key}}
        return properties

    return template | {"Resources": {name: with_place(resource) for name, resource in template["Resources"].items()}}


def _rule() -> dict[str, Any]:
    return {
        "ID": "forget what was replaced or not finished",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": DAYS_KEPT},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }
