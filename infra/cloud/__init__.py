"""The control plane in an AWS account: plain CloudFormation made from Chalice's plan of the app.

| module | what it owns |
|---|---|
| `deploy` | the commands deploy, destroy, and admin-key |
| `stage_data` | the data of a stage: its stack, its first key, and the wheels for hosts |
| `package` | a stage packaged offline |
| `application`, `data` | the templates of the two stacks |
| `api_gateway` | the API in front of the function |
| `access` | what each function may do |
| `alarms` | what somebody is notified of |
| `archive` | the functions' code |
| `artefacts` | the bucket that CloudFormation and Lambda read from |
| `stacks` | a stack brought to its template |
| `session` | account, region, and clients |
| `keys` | admin keys, written into the stage's table |
| `names` | what a stage's things are called |
| `wheel` | the wheel for hosts, built where it is missing |
| `restore` | a stage's tables as they were at a moment |
| `prices` | list prices |
| `errors` | failures as sentences that say what to do |

`deploy` and `package` import the others.
"""
