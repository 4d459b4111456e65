-- What a provider takes back is booked always.
comment on column tenants.negative_policy is
    'Whether refunds and debits of ours may take a wallet below zero; what a provider takes back is always booked.';
