"""Tables, sessions and migrations. Knows nothing of app, tasks or sandbox."""

from models.database import ByKeys, Database, single
from models.partitions import DroppedPartition
from models.statements import Row, buffer, prepared, read
from models.tables.declaration import Model, new_id
from models.tables.notifications import Notification, NotificationCounter, NotificationNumber, NotificationWork
from models.tables.operations import (
    Alert,
    AuditLog,
    DeadLetter,
    Heartbeat,
    ProcessKey,
    ProviderBreaker,
    ProviderTrouble,
)
from models.tables.payments import PaymentCount, PaymentCountDelta, PaymentTransaction, PaymentWork, WaitingReversal
from models.tables.seals import AuditSeal, AuditWork, VerificationPlace, VerificationRun
from models.tables.tenants import ApiKey, ClientToken, PaymentProvider, ProviderSecret, SocketTicket, Tenant
from models.tables.wallets import Wallet, WalletTempLog, WalletTransaction
from models.tables.webhooks import PaymentWebhook, WebhookKey, WebhookRefusal, WebhookWork
from models.trouble import Trouble, classify_sqlstate, find_trouble, read_sqlstate

__all__ = [
    "Alert",
    "ApiKey",
    "AuditLog",
    "AuditSeal",
    "AuditWork",
    "ByKeys",
    "ClientToken",
    "Database",
    "DeadLetter",
    "DroppedPartition",
    "Heartbeat",
    "Model",
    "Notification",
    "NotificationCounter",
    "NotificationNumber",
    "NotificationWork",
    "PaymentCount",
    "PaymentCountDelta",
    "PaymentProvider",
    "PaymentTransaction",
    "PaymentWebhook",
    "PaymentWork",
    "ProcessKey",
    "ProviderBreaker",
    "ProviderSecret",
    "ProviderTrouble",
    "Row",
    "SocketTicket",
    "Tenant",
    "Trouble",
    "VerificationPlace",
    "VerificationRun",
    "WaitingReversal",
    "Wallet",
    "WalletTempLog",
    "WalletTransaction",
    "WebhookKey",
    "WebhookRefusal",
    "WebhookWork",
    "buffer",
    "classify_sqlstate",
    "find_trouble",
    "new_id",
    "prepared",
    "read",
    "read_sqlstate",
    "single",
]
