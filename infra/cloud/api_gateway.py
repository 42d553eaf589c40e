"""The gateway before the API's function: an HTTP API, or a REST API, whose requests cost 3.5 times as much.

An HTTP API has its routes from the app's own; its $default route leads what is none of them to the function as well,
for an error in Muster's shape. A REST API answers that itself, and is told our shape for all that it answers itself.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
from chalice.app import Chalice
from chalice.deploy import models

from muster.api.errors import STATUS
from muster.api.resources import ErrorBody

Json = dict[str, Any]

FUNCTION = "APIHandler"
INTEGRATION_SECONDS = 29
"""Longer than any answer takes, and the most that a REST API waits."""
GATEWAY_ERRORS: dict[str, tuple[str, str]] = {
    "DEFAULT_4XX": ("INVALID_REQUEST", "the gateway does not understand this request"),
    "DEFAULT_5XX": ("INTERNAL_ERROR", "something went wrong in the gateway, not with the request"),
    "MISSING_AUTHENTICATION_TOKEN": (
        "ROUTE_NOT_FOUND",
        "there is no such route, or not with this method; a proxy before this API must not decode %2F in paths",
    ),
    "RESOURCE_NOT_FOUND": ("ROUTE_NOT_FOUND", "there is no such route"),
    "REQUEST_TOO_LARGE": ("PAYLOAD_TOO_LARGE", "the gateway takes at most 10 MB"),
    "THROTTLED": ("UNAVAILABLE", "the gateway has too many requests; try again"),
    "QUOTA_EXCEEDED": ("UNAVAILABLE", "the gateway has too many requests; try again"),
    "INTEGRATION_FAILURE": ("UNAVAILABLE", "the function cannot be reached; try again"),
    "INTEGRATION_TIMEOUT": ("UNAVAILABLE", "the function took too long; try again"),
}
"""What a REST API says of itself, in our words. The API's keys are no business of the gateway's."""


def http_api(name: str, app: Chalice) -> Json:
    """Its resources."""
    resources: Json = {
        "HttpApi": {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Name": name, "ProtocolType": "HTTP"}},
        "HttpApiIntegration": {
            "Type": "AWS::ApiGatewayV2::Integration",
            "Properties": {
                "ApiId": {"Ref": "HttpApi"},
                "IntegrationType": "AWS_PROXY",
                "IntegrationUri": {"Fn::GetAtt": [FUNCTION, "Arn"]},
                "PayloadFormatVersion": "2.0",
                "TimeoutInMillis": INTEGRATION_SECONDS * 1000,
            },
        },
        "HttpApiStage": {
            "Type": "AWS::ApiGatewayV2::Stage",
            "Properties": {"ApiId": {"Ref": "HttpApi"}, "StageName": "$default", "AutoDeploy": True},
        },
    }
    for key in ["$default", *route_keys(app)]:
        resources["HttpApiRoute" + _digest(key)] = {
            "Type": "AWS::ApiGatewayV2::Route",
            "Properties": {
                "ApiId": {"Ref": "HttpApi"},
                "RouteKey": key,
                "Target": {"Fn::Sub": "integrations/${HttpApiIntegration}"},
            },
        }
    return resources | {"HttpApiPermission": _permission("HttpApi")}


def route_keys(app: Chalice) -> list[str]:
    return sorted(f"{method} {path}" for path, methods in app.routes.items() for method in methods)


def rest_api(name: str, api: models.RestAPI) -> Json:
    """Its resources. A deployment is a picture of the API, so another API is another deployment."""
    body: Json = json.loads(json.dumps(api.swagger_doc))
    body["info"]["title"] = name
    body |= responses()
    deployment = "RestApiDeployment" + _digest(json.dumps(body, sort_keys=True))
    return {
        "RestApi": {
            "Type": "AWS::ApiGateway::RestApi",
            "Properties": {"Name": name, "Body": body, "EndpointConfiguration": {"Types": [api.endpoint_type]}},
        },
        deployment: {"Type": "AWS::ApiGateway::Deployment", "Properties": {"RestApiId": {"Ref": "RestApi"}}},
        "RestApiStage": {
            "Type": "AWS::ApiGateway::Stage",
            "Properties": {
                "RestApiId": {"Ref": "RestApi"},
                "DeploymentId": {"Ref": deployment},
                "StageName": api.api_gateway_stage,
            },
        },
        "RestApiPermission": _permission("RestApi"),
    }


def responses() -> Json:
    """Of a REST API's document: what the gateway says by itself (x-amazon-apigateway-gateway-responses)."""
    return {"x-amazon-apigateway-gateway-responses": {kind: _response(*said) for kind, said in GATEWAY_ERRORS.items()}}


def http_url() -> Json:
    return {"Fn::GetAtt": ["HttpApi", "ApiEndpoint"]}


def rest_url(stage: str) -> Json:
    return {"Fn::Sub": f"https://${{RestApi}}.execute-api.${{AWS::Region}}.${{AWS::URLSuffix}}/{stage}/"}


def _response(error_code: str, message: str) -> Json:
    status = STATUS[error_code]
    response: Json = {
        "statusCode": str(status),
        "responseTemplates": {"application/json": msgspec.json.encode(ErrorBody(error_code, message)).decode()},
    }
    if status == STATUS["UNAVAILABLE"]:
        response["responseParameters"] = {"gatewayresponse.header.Retry-After": "'2'"}
    return response


def _permission(api: str) -> Json:
    arn = "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}"
    return {
        "Type": "AWS::Lambda::Permission",
        "Properties": {
            "FunctionName": {"Ref": FUNCTION},
            "Action": "lambda:InvokeFunction",
            "Principal": "apigateway.amazonaws.com",
            "SourceArn": {"Fn::Sub": f"{arn}:${{{api}}}/*"},
        },
    }


def _digest(text: str) -> str:
    """Names of resources have letters and digits only."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]
