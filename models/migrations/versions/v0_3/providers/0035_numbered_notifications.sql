-- A notification that is written with its number holds it, which is once by its form: only numbers that are given later
-- need an index to be unique and to be found by their notifications. Those that exist count as given later.
alter table notifications add column number bigint;
comment on column notifications.number is 'Its number, where it was written with one; null where it was queued.';
-- Only a worker gives numbers.
revoke insert on notifications from sluice_web, sluice_clerk;
grant insert (id, tenant_id, user_id, payment_id, type, payload, at, about) on notifications to sluice_web, sluice_clerk;

alter table notification_numbers add column is_queued boolean not null default true;
comment on column notification_numbers.is_queued is 'False where the notification was written with its number.';
create unique index uq_notification_numbers_queued on notification_numbers (notification_id) where is_queued;
drop index uq_notification_numbers_notification;
-- Numbers of a month, with which its partition is dropped.
create index ix_notification_numbers_notification on notification_numbers using brin (notification_id);
-- The first range is made with the index, and every row of a young table would change its bounds.
select brin_desummarize_range('ix_notification_numbers_notification', 0);
