"""All planted bugs, by the part of the code that they are planted in."""

from tests.mutants.alarms import ALARMS
from tests.mutants.callers import CALLERS
from tests.mutants.captures import CAPTURED
from tests.mutants.deliveries import DELIVERIES
from tests.mutants.deposits import DEPOSITS
from tests.mutants.money_back import MONEY_BACK
from tests.mutants.operators import OPERATORS
from tests.mutants.outside import OUTSIDE
from tests.mutants.policy_refunds import POLICY_REFUNDS
from tests.mutants.refunds import DEBITS, REFUNDS
from tests.mutants.seam import SEAM
from tests.mutants.tenancy import TENANCY
from tests.mutants.webhooks import WEBHOOKS

MUTANTS = (
    *(*WEBHOOKS, *CALLERS, *DEPOSITS, *TENANCY, *OUTSIDE, *OPERATORS, *CAPTURED),
    *(*REFUNDS, *POLICY_REFUNDS, *MONEY_BACK, *DEBITS, *DELIVERIES, *SEAM, *ALARMS),
)
