"""The gateway before the API's function: every route leads to it, and errors have the API's own shape."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app import app
from infra.cloud.api_gateway import responses, route_keys
from muster.api.errors import STATUS
from muster.api.resources import ErrorBody
from tests.infra.cloud.templates import of_type, template


def test_the_http_apis_routes_are_the_apps(packaged: Path) -> None:
    stack = template(packaged, "app")
    keys = [each["RouteKey"] for each in of_type(stack, "AWS::ApiGatewayV2::Route").values()]
    routes = [f"{method} {path}" for path, methods in app.routes.items() for method in methods]
    assert sorted(keys) == sorted([*routes, "$default"]) and route_keys(app) == sorted(routes)
    (integration,) = of_type(stack, "AWS::ApiGatewayV2::Integration").values()
    assert (integration["PayloadFormatVersion"], integration["IntegrationType"]) == ("2.0", "AWS_PROXY")
    (stage,) = of_type(stack, "AWS::ApiGatewayV2::Stage").values()
    assert (stage["StageName"], stage["AutoDeploy"]) == ("$default", True)
    assert not of_type(stack, "AWS::ApiGateway::RestApi")


def test_a_rest_api_has_every_route_and_api_in_its_url_once(packaged_rest: Path) -> None:
    stack = template(packaged_rest, "app")
    (api,) = of_type(stack, "AWS::ApiGateway::RestApi").values()
    assert api["Body"]["paths"].keys() == app.routes.keys()
    (stage,) = of_type(stack, "AWS::ApiGateway::Stage").values()
    assert stage["StageName"] == "muster"
    assert stack["Outputs"]["EndpointURL"]["Value"]["Fn::Sub"].endswith("/muster/")
    assert not of_type(stack, "AWS::ApiGatewayV2::Api")


def test_a_rest_api_says_everything_in_our_shape(packaged_rest: Path) -> None:
    (api,) = of_type(template(packaged_rest, "app"), "AWS::ApiGateway::RestApi").values()
    found = api["Body"]["x-amazon-apigateway-gateway-responses"]
    assert found == responses()["x-amazon-apigateway-gateway-responses"]
    assert {"DEFAULT_4XX", "DEFAULT_5XX", "MISSING_AUTHENTICATION_TOKEN"} <= found.keys()
    for each in found.values():
        said = msgspec.json.decode(each["responseTemplates"]["application/json"], type=ErrorBody)
        assert str(STATUS[said.error_code]) == each["statusCode"] and said.message


def test_whoever_is_throttled_is_told_when_to_try_again() -> None:
    found = responses()["x-amazon-apigateway-gateway-responses"]
    told = {kind for kind, each in found.items() if "gatewayresponse.header.Retry-After" in str(each)}
    assert told == {kind for kind, each in found.items() if each["statusCode"] == "503"} and "THROTTLED" in told


def test_only_this_api_may_call_the_function(packaged: Path, packaged_rest: Path) -> None:
    for folder, api in ((packaged, "HttpApi"), (packaged_rest, "RestApi")):
        permission = of_type(template(folder, "app"), "AWS::Lambda::Permission")[f"{api}Permission"]
        assert permission["Principal"] == "apigateway.amazonaws.com"
        assert permission["SourceArn"]["Fn::Sub"].endswith(f":${{{api}}}/*")
