"""The application stack: chalice's plan of the app, written as plain CloudFormation.

chalice itself writes SAM, which CloudFormation turns into resources that nobody sees before they are there, and knows
REST APIs only. From it come the functions, their schedule and the REST API's document. Names, roles, logs, alarms and
the HTTP API are added here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chalice.app import Chalice
from chalice.config import Config
from chalice.deploy import models
from chalice.deploy.appgraph import ApplicationGraphBuilder, DependencyBuilder
from chalice.deploy.deployer import BuildStage, DeploymentPackager, InjectDefaults, SwaggerBuilder
from chalice.deploy.swagger import CFNSwaggerGenerator
from chalice.package import ResourceBuilder
from chalice.utils import to_cfn_resource_name

from infra.cloud import access, alarms, api_gateway
from infra.cloud.archive import Archiver, Runtime
from infra.cloud.names import prefix

Json = dict[str, Any]

PARAMETERS: Json = {
    "CodeBucket": {"Type": "String", "Description": "Where the functions' archive and the wheels for hosts are"},
    "CodeKey": {"Type": "String", "Description": "Its key there"},
    "TablePrefix": {"Type": "String", "Description": "What the tables' names begin with: the data stack's output"},
}
LOG_DAYS = 30


class Planned(Config):
    """chalice's configuration, for a Python of our choice: chalice takes the one that packages."""

    @property
    def lambda_python_version(self) -> str:
        return str(self._chain_lookup("lambda_python_version"))


def plan(app: Chalice, stage: str, project: Path, archive: Path, runtime: Runtime) -> list[models.Model]:
    """chalice's resources for the stage. Writes the archive. Raises NotPackaged."""
    given = {
        "chalice_app": app,
        "project_dir": str(project),
        "lambda_python_version": runtime.python,
        "lambda_architecture": runtime.architecture,
    }
    written = json.loads((project / ".chalice" / "config.json").read_text())
    config = Planned(stage, user_provided_params=given, config_from_disk=written)
    steps = [InjectDefaults(), DeploymentPackager(Archiver(archive, runtime)), SwaggerBuilder(CFNSwaggerGenerator())]
    builder = ResourceBuilder(ApplicationGraphBuilder(), DependencyBuilder(), BuildStage(steps))
    resources: list[models.Model] = builder.construct_resources(config, stage)
    return resources


def template(app: Chalice, stage: str, planned: list[models.Model], rest: bool) -> Json:
    resources: Json = {}
    for model in planned:
        if isinstance(model, models.LambdaFunction):
            resources |= _function(model)
        elif isinstance(model, models.ScheduledEvent):
            resources |= _schedule(model)
    api = next(model for model in planned if isinstance(model, models.RestAPI))
    name = prefix(stage).rstrip("-")
    resources |= api_gateway.rest_api(name, api) if rest else api_gateway.http_api(name, app)
    url = api_gateway.rest_url(api.api_gateway_stage) if rest else api_gateway.http_url()
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Muster, stage {stage}: its application. The data is a stack of its own.",
        "Parameters": PARAMETERS | alarms.TOPIC,
        "Conditions": alarms.CONDITIONS,
        "Resources": resources,
        "Outputs": {"EndpointURL": {"Description": "Where the control plane is", "Value": url}},
    }


def _function(function: models.LambdaFunction) -> Json:
    """With its role and its log group, which is there before Lambda would make one that keeps all for ever."""
    name, lambda_name = _resource(function), function.function_name
    variables: Json = function.environment_variables | {"MUSTER_TABLE_PREFIX": {"Ref": "TablePrefix"}}
    if function.resource_name == "api_handler":
        variables |= {"MUSTER_WHEEL_BUCKET": {"Ref": "CodeBucket"}}
    properties: Json = {
        "FunctionName": lambda_name,
        "Runtime": function.runtime,
        "Architectures": [function.architecture],
        "Handler": function.handler,
        "Code": {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}},
        "MemorySize": function.memory_size,
        "Timeout": function.timeout,
        "Environment": {"Variables": variables},
        "Role": {"Fn::GetAtt": [f"{name}Role", "Arn"]},
    }
    policy = access.policy(function.resource_name, lambda_name)
    role: Json = {
        "AssumeRolePolicyDocument": _trust(function),
        "Policies": [{"PolicyName": "what-it-does", "PolicyDocument": policy}],
    }
    logs = {"LogGroupName": f"/aws/lambda/{lambda_name}", "RetentionInDays": LOG_DAYS}
    return {
        f"{name}Logs": {
            "Type": "AWS::Logs::LogGroup",
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": logs,
        },
        f"{name}Role": {"Type": "AWS::IAM::Role", "Properties": role},
        name: {"Type": "AWS::Lambda::Function", "DependsOn": [f"{name}Logs"], "Properties": properties},
        **alarms.of_function(name, lambda_name, function.timeout),
    }


def _trust(function: models.LambdaFunction) -> Json:
    """chalice's, whose Sid is empty, which IAM takes and its linters do not."""
    assert isinstance(function.role, models.ManagedIAMRole)
    trusted: Json = function.role.trust_policy
    return trusted | {
        "Statement": [{k: v for k, v in statement.items() if k != "Sid"} for statement in trusted["Statement"]],
    }


def _schedule(event: models.ScheduledEvent) -> Json:
    name = _resource(event.lambda_function)
    rule = {
        "Name": event.rule_name,
        "ScheduleExpression": event.schedule_expression,
        "State": "ENABLED",
        "Targets": [{"Id": name, "Arn": {"Fn::GetAtt": [name, "Arn"]}}],
    }
    allowed = {
        "FunctionName": {"Ref": name},
        "Action": "lambda:InvokeFunction",
        "Principal": "events.amazonaws.com",
        "SourceArn": {"Fn::GetAtt": [f"{name}Rule", "Arn"]},
    }
    return {
        f"{name}Rule": {"Type": "AWS::Events::Rule", "Properties": rule},
        f"{name}Permission": {"Type": "AWS::Lambda::Permission", "Properties": allowed},
        **alarms.of_schedule(name, event.lambda_function.function_name),
    }


def _resource(function: models.LambdaFunction) -> str:
    """The REST API's document, which chalice writes, has this name for its function."""
    handler = function.resource_name == "api_handler"
    return api_gateway.FUNCTION if handler else str(to_cfn_resource_name(function.resource_name))
