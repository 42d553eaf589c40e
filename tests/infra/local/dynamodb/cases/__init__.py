"""A call to a database in a known state, and the answer that AWS documents, for each rule of DynamoDB."""

from __future__ import annotations

from tests.infra.local.dynamodb.cases.conditions import CONDITIONS
from tests.infra.local.dynamodb.cases.forms import Case
from tests.infra.local.dynamodb.cases.reads import READS
from tests.infra.local.dynamodb.cases.several import SEVERAL
from tests.infra.local.dynamodb.cases.updates import UPDATES
from tests.infra.local.dynamodb.cases.values import VALUES

GROUPS: dict[str, list[Case]] = {
    "conditions": CONDITIONS,
    "updates": UPDATES,
    "values": VALUES,
    "several": SEVERAL,
    "reads": READS,
}
