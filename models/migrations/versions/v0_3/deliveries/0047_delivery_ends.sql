-- Who deletes an endpoint ends the deliveries that wait for it, in the same transaction.
grant delete on delivery_work to sluice_clerk;
grant update (attempts) on endpoint_deliveries to sluice_clerk;
grant insert (delivery_id, number, tenant_id, milliseconds, error) on delivery_attempts to sluice_clerk;

-- Housekeeping deletes ended deliveries after their time. The grant to update is what locking a row needs.
grant select (status), update (ended_at), delete on endpoint_deliveries to sluice_worker;
grant select (delivery_id), delete on delivery_attempts to sluice_worker;
