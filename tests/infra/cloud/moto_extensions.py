"""Extensions of moto for the parts of CloudFormation that moto leaves out.

The templates are for AWS. What moto has behind an API of its own but does not make from a template (HTTP APIs, alarms,
a table's TTL and point-in-time recovery, a function's architecture) is made here, in those same backends, from the
properties that the template has. A type that is known to neither is refused, where moto would go on without it; a
protected table is not deleted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlparse

from moto.apigateway.models import APIGatewayBackend, RestAPI
from moto.apigatewayv2.models import apigatewayv2_backends
from moto.awslambda.models import LambdaFunction
from moto.cloudformation import parsing, responses
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import ChangeSet, CloudFormationBackend
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.iam.access_control import IAMPolicy
from moto.s3.models import FakeBucket, s3_backends


class Taught(CloudFormationModel):
    """A resource that moto's backend has. `id` is what Ref gives, `attributes` what Fn::GetAtt does."""

    def __init__(self, id: str, **attributes: str) -> None:
        self.physical_resource_id, self._attributes = id, attributes

    def get_cfn_attribute(self, name: str) -> str:
        return self._attributes[name]

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return ""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return True

    def is_created(self) -> bool:
        return True


def _camel(properties: dict[str, Any]) -> dict[str, Any]:
    return {name[0].lower() + name[1:]: value for name, value in properties.items()}


class Api(Taught):
    @classmethod
    def make(cls, p: dict[str, Any], account: str, region: str) -> Api:
        made = apigatewayv2_backends[account][region].create_api(
            api_key_selection_expression="",
            cors_configuration=p.get("CorsConfiguration"),  # type: ignore[arg-type]
            description=p.get("Description", ""),
            disable_schema_validation="",
            disable_execute_api_endpoint=p.get("DisableExecuteApiEndpoint", ""),
            name=p["Name"],
            protocol_type=p["ProtocolType"],
            route_selection_expression="",
            tags=p.get("Tags", {}),
            version="",
        )
        return cls(made.api_id, ApiEndpoint=made.api_endpoint, ApiId=made.api_id)

    def delete(self, account: str, region: str) -> None:
        apigatewayv2_backends[account][region].delete_api(self.physical_resource_id)


class Part(Taught):
    """Of an API, and gone with it."""

    def delete(self, account: str, region: str) -> None:
        pass


class Integration(Part):
    @classmethod
    def make(cls, p: dict[str, Any], account: str, region: str) -> Integration:
        api = apigatewayv2_backends[account][region].get_api(p["ApiId"])
        made = api.create_integration(
            connection_type="INTERNET",
            description="",
            integration_method=p.get("IntegrationMethod", ""),
            integration_type=p["IntegrationType"],
            integration_uri=p["IntegrationUri"],
            payload_format_version=p["PayloadFormatVersion"],
            timeout_in_millis=p.get("TimeoutInMillis"),
        )
        return cls(made.id)


class Route(Part):
    @classmethod
    def make(cls, p: dict[str, Any], account: str, region: str) -> Route:
        api = apigatewayv2_backends[account][region].get_api(p["ApiId"])
        return cls(api.create_route(False, [], p["RouteKey"], p["Target"], p.get("AuthorizationType", "NONE")).route_id)


class Stage(Part):
    @classmethod
    def make(cls, p: dict[str, Any], account: str, region: str) -> Stage:
        api = apigatewayv2_backends[account][region].get_api(p["ApiId"])
        return cls(api.create_stage(_camel(p)).name)


class Alarm(Taught):
    @classmethod
    def make(cls, p: dict[str, Any], account: str, region: str) -> Alarm:
        made = cloudwatch_backends[account][region].put_metric_alarm(
            name=p["AlarmName"],
            namespace=p["Namespace"],
            metric_name=p["MetricName"],
            comparison_operator=p["ComparisonOperator"],
            evaluation_periods=p["EvaluationPeriods"],
            period=p["Period"],
            threshold=p["Threshold"],
            statistic=p.get("Statistic", ""),
            extended_statistic=p.get("ExtendedStatistic"),
            description=p.get("AlarmDescription", ""),
            dimensions=p.get("Dimensions", []),
            alarm_actions=p.get("AlarmActions", []),
            treat_missing_data=p.get("TreatMissingData"),
        )
        return cls(made.name, Arn=made.alarm_arn)

    def delete(self, account: str, region: str) -> None:
        cloudwatch_backends[account][region].delete_alarms([self.physical_resource_id])


TYPES = {
    "AWS::ApiGatewayV2::Api": Api,
    "AWS::ApiGatewayV2::Integration": Integration,
    "AWS::ApiGatewayV2::Route": Route,
    "AWS::ApiGatewayV2::Stage": Stage,
    "AWS::CloudWatch::Alarm": Alarm,
}


def install() -> None:
    """Replace the functions of moto. Call it before the first template."""
    for kind in TYPES.values():
        _replace(kind, "create_from_cloudformation_json", classmethod(_make))
    _replace(parsing, "resource_class_from_type", _strictly(parsing.resource_class_from_type))
    _replace(responses, "get_stack_from_s3_url", _template_at)
    _replace(CloudFormationBackend, "create_change_set", _without_twins(CloudFormationBackend.create_change_set))
    _replace(ChangeSet, "apply", _with_outputs(ChangeSet.apply))
    _replace(FakeBucket, "get_permission", _permission)
    _extend_tables(Table.create_from_cloudformation_json, Table.delete_from_cloudformation_json)
    _extend_functions(LambdaFunction.create_from_cloudformation_json)
    _replace(APIGatewayBackend, "import_rest_api", _import_rest_api)
    _accept_swagger(APIGatewayBackend.put_rest_api)


def _replace(owner: Any, name: str, by: Any) -> None:
    assert hasattr(owner, name), f"moto has no {name} any more"
    setattr(owner, name, by)


def _make(cls: Any, /, name: str, template: dict[str, Any], account: str, region: str, **_: Any) -> Any:
    return cls.make(template["Properties"], account, region)


def _strictly(known: Callable[[str], Any]) -> Callable[[str], Any]:
    def resource_class(name: str) -> Any:
        found = TYPES.get(name) or known(name)
        if found is None:
            raise ValidationError(
                message=f"neither moto nor tests/infra/cloud/moto_extensions.py makes {name} from a template"
            )
        return found

    return resource_class


def _template_at(url: str, account_id: str, partition: str) -> str:
    """moto knows only S3's own hosts."""
    bucket, key = urlparse(url).path.lstrip("/").split("/", 1)
    found: Any = s3_backends[account_id][partition].get_object(bucket, key)
    return str(found.value.decode())


def _without_twins(create: Callable[..., Any]) -> Callable[..., Any]:
    def create_change_set(self: CloudFormationBackend, stack_name: str, **more: Any) -> Any:
        """moto makes another stack beside the one that an earlier change set announced."""
        for each in list(self.stacks.values()):
            if each.name == stack_name and each.status == "REVIEW_IN_PROGRESS":
                del self.stacks[each.stack_id]
        return create(self, stack_name=stack_name, **more)

    return create_change_set


def _with_outputs(apply: Callable[[ChangeSet], None]) -> Callable[[ChangeSet], None]:
    def applied(self: ChangeSet) -> None:
        """moto forgets what the template and its parameters say of the stack itself."""
        stack = self.stack
        stack.template_dict = self.template_dict
        apply(self)
        stack.parameters = dict(stack.resource_map.resolved_parameters)
        stack.output_map = stack._create_output_map()

    return applied


def _permission(self: FakeBucket, action: str, resource: str) -> Any:
    """moto applies a refusal also where its condition does not hold: here those have no say."""
    policy = json.loads(self.policy or b'{"Statement": []}')
    policy["Statement"] = [each for each in policy["Statement"] if "Condition" not in each]
    return IAMPolicy(json.dumps(policy)).is_action_permitted(action, resource)


def _extend_tables(create: Callable[..., Any], delete: Callable[..., Any]) -> None:
    def made(cls: Any, /, name: str, template: dict[str, Any], account: str, region: str, **more: Any) -> Any:
        table, properties = create(name, template, account, region, **more), template["Properties"]
        backend = dynamodb_backends[account][region]
        if ttl := properties.get("TimeToLiveSpecification"):
            backend.update_time_to_live(name, ttl)
        if recovery := properties.get("PointInTimeRecoverySpecification"):
            backend.update_continuous_backups(name, recovery)
        return table

    def deleted(cls: Any, /, name: str, template: dict[str, Any], account: str, region: str) -> None:
        if dynamodb_backends[account][region].get_table(name).deletion_protection_enabled:
            raise ValidationError(message=f"{name} is protected against deletion")
        delete(name, template, account, region)

    _replace(Table, "create_from_cloudformation_json", classmethod(made))
    _replace(Table, "delete_from_cloudformation_json", classmethod(deleted))


def _extend_functions(create: Callable[..., Any]) -> None:
    def made(cls: Any, /, name: str, template: dict[str, Any], account: str, region: str, **more: Any) -> Any:
        function = create(name, template, account, region, **more)
        function.architectures = template["Properties"].get("Architectures", ["x86_64"])
        return function

    _replace(LambdaFunction, "create_from_cloudformation_json", classmethod(made))


def _import_rest_api(backend: APIGatewayBackend, document: dict[str, Any], fail_on_warnings: bool) -> RestAPI:
    """moto's asks for a description."""
    api = backend.create_rest_api(name=document["info"]["title"], description="")
    return backend.put_rest_api(api.id, document, fail_on_warnings)


def _accept_swagger(put: Callable[..., RestAPI]) -> None:
    """moto refuses Swagger 2, of whose paths it would read the same, and leaves out the gateway's own responses."""

    def put_swagger(backend: APIGatewayBackend, id_: str, document: dict[str, Any], *rest: Any, **more: Any) -> RestAPI:
        api = put(backend, id_, {k: v for k, v in document.items() if k != "swagger"}, *rest, **more)
        for kind, said in document.get("x-amazon-apigateway-gateway-responses", {}).items():
            api.put_gateway_response(
                kind, said["statusCode"], said.get("responseParameters"), said["responseTemplates"]
            )
        return api

    _replace(APIGatewayBackend, "put_rest_api", put_swagger)
