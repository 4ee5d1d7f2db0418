-- Endpoints of webhooks and their secrets (docs/webhooks.md).

-- name: lock_app
-- scope: reference
-- Changes of one app's endpoints come one after the other.
select app_id from app where app_id = $1 for no key update;

-- name: count_webhooks
-- scope: reference
select count(*) from webhook_endpoint where app_id = $1 and deleted_at is null;

-- name: insert_webhook
-- scope: reference
-- Nothing happens if there was one with this id, which was deleted.
insert into webhook_endpoint (endpoint_id, app_id, url, events, description, made_as, retry_from, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $7, $7)
on conflict do nothing;

-- name: find_webhook
-- scope: reference
select * from webhook_endpoint where app_id = $1 and endpoint_id = $2 and deleted_at is null;

-- name: list_webhooks
-- scope: reference
select * from webhook_endpoint
where app_id = $1 and deleted_at is null and ($2::uuid is null or endpoint_id > $2)
order by endpoint_id limit $3;

-- name: put_webhook
-- scope: reference
-- What the app says of an endpoint. `resumed`: whatever we had against it is forgotten.
update webhook_endpoint set url = $3, events = $4, description = $5, enabled = $6, updated_at = $7,
    reason = case when $8 then null else reason end,
    paused_at = case when $8 then null else paused_at end,
    failures = case when $8 then 0 else failures end,
    failing_since = case when $8 then null else failing_since end,
    held_until = case when $8 then null else held_until end,
    retry_from = case when $8 then $7 else retry_from end
where app_id = $1 and endpoint_id = $2 and deleted_at is null
returning *;

-- name: delete_webhook
-- scope: reference
update webhook_endpoint set deleted_at = $3, enabled = false
where app_id = $1 and endpoint_id = $2 and deleted_at is null;

-- name: bump_webhooks
-- scope: reference
-- What endpoints want has changed: every batch that begins from now on reads it anew.
update installation set webhooks = webhooks + 1;

-- name: list_webhook_subscriptions
-- scope: reference
select app_id, endpoint_id, events from webhook_endpoint where enabled and deleted_at is null;

-- name: older_transactions
-- scope: reference
-- Whether a transaction of a node is still under way that had begun before this moment, and so may not have seen what was
-- committed before it.
select exists (
    select from pg_stat_activity
    where datname = current_database() and application_name = current_setting('application_name')
        and pid <> pg_backend_pid() and xact_start < $1
);

-- name: database_time
-- scope: reference
select clock_timestamp();

-- name: insert_webhook_secret
-- scope: reference
insert into webhook_secret (secret_id, endpoint_id, sealed, created_at) values ($1, $2, $3, $4);

-- name: retire_webhook_secrets
-- scope: reference
-- The ones before go on signing until then.
update webhook_secret set valid_until = least(valid_until, $3)
where endpoint_id = $1 and secret_id <> $2;

-- name: drop_webhook_secrets
-- scope: reference
-- Those that have run out, and the oldest beyond the newest few.
delete from webhook_secret s
where s.endpoint_id = $1 and (s.valid_until <= $2 or s.secret_id not in (
    select n.secret_id from webhook_secret n where n.endpoint_id = $1 order by n.secret_id desc limit $3
));

-- name: list_webhook_secrets
-- scope: reference
-- Newest first.
select sealed, valid_until from webhook_secret
where endpoint_id = $1 and (valid_until is null or valid_until > $2)
order by secret_id desc;

-- name: note_webhook_success
-- scope: reference
update webhook_endpoint set failures = 0, failing_since = null, held_until = null
where endpoint_id = $1 and failures > 0;

-- name: note_webhook_failure
-- scope: reference
-- One more failure. After `$4` of nothing else, and `$5` of them, it is paused, which `$6` says.
update webhook_endpoint set failures = failures + 1, failing_since = coalesce(failing_since, $2),
    held_until = greatest(held_until, $3),
    paused_at = case when paused_at is null and failing_since <= $4 and failures + 1 >= $5 then $2 else paused_at end,
    reason = case when paused_at is null and failing_since <= $4 and failures + 1 >= $5 then $6 else reason end
where endpoint_id = $1
returning paused_at;

-- name: disable_webhook
-- scope: reference
update webhook_endpoint set enabled = false, reason = $2 where endpoint_id = $1 and enabled;

-- name: list_deleted_webhooks
-- scope: reference
select endpoint_id from webhook_endpoint where deleted_at < $1;

-- name: forget_webhook
-- scope: reference
delete from webhook_endpoint where endpoint_id = $1 and deleted_at is not null;

-- name: list_webhook_ids
-- scope: reference
select endpoint_id from webhook_endpoint;
