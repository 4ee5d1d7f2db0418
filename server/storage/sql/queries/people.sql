-- End users and their devices.

-- name: ensure_user
-- scope: user
-- Make a user not seen before; what a verified token says of a known one is taken over, the rest is left alone.
insert into end_user as u (app_id, user_id, external_id, name, email, locale, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $7)
on conflict (app_id, user_id) do update set
    name = coalesce(excluded.name, u.name), email = coalesce(excluded.email, u.email),
    locale = coalesce(excluded.locale, u.locale), updated_at = excluded.updated_at
where (excluded.name is not null and excluded.name is distinct from u.name)
    or (excluded.email is not null and excluded.email is distinct from u.email)
    or (excluded.locale is not null and excluded.locale is distinct from u.locale);

-- name: find_user
-- scope: user
select u.* from end_user u where u.app_id = $1 and u.user_id = $2;

-- name: find_users
-- scope: user
select u.app_id, u.user_id, u.external_id
from end_user u join unnest($1::uuid[], $2::uuid[]) as want (app_id, user_id)
    on u.app_id = want.app_id and u.user_id = want.user_id;

-- name: ensure_users
-- scope: user
-- Users that transactions are about, made in ascending order so that two calls cannot deadlock.
insert into end_user (app_id, user_id, external_id, created_at, updated_at)
select $1, user_id, external_id, $4, $4
from unnest($2::uuid[], $3::text[]) as given (user_id, external_id)
order by user_id
on conflict (app_id, user_id) do nothing;

-- name: lock_user
-- scope: user
select user_id from end_user where app_id = $1 and user_id = $2 for update;

-- name: put_user
-- scope: user
-- Facts from the app's server. A null field of the call is left alone; the service merges `properties`.
insert into end_user as u (app_id, user_id, external_id, name, email, phone, locale, properties, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
on conflict (app_id, user_id) do update set
    name = excluded.name, email = excluded.email, phone = excluded.phone, locale = excluded.locale,
    properties = excluded.properties, updated_at = excluded.updated_at
returning u.*;

-- name: meet_device
-- scope: directory
-- A device not seen before gets its row, so that there is something to lock.
insert into device_directory (app_id, device_id, user_id) values ($1, $2, $3) on conflict do nothing;

-- name: lock_device_owner
-- scope: directory
-- Users who say hello with one device at the same moment come one after the other: each must see whom it takes it from,
-- and whether a newer hello was there before.
select user_id, epoch, attempt from device_directory where app_id = $1 and device_id = $2 for update;

-- name: note_attempt
-- scope: directory
-- The newest hello of the device. The row is locked, and this one was found to be newer.
update device_directory set attempt = $3 where app_id = $1 and device_id = $2;

-- name: own_device
-- scope: directory
-- Give a device to a user. Returns its owner epoch, which grows when it changes hands.
insert into device_directory as d (app_id, device_id, user_id) values ($1, $2, $3)
on conflict (app_id, device_id) do update set
    epoch = d.epoch + (d.user_id <> excluded.user_id)::integer, user_id = excluded.user_id
returning epoch;

-- name: put_device
-- scope: user
insert into device as d (app_id, user_id, device_id, epoch, platform, sdk, app_version, locale, foreground_until,
    created_at, last_seen_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
on conflict (app_id, user_id, device_id) do update set
    platform = excluded.platform, sdk = excluded.sdk, app_version = excluded.app_version, locale = excluded.locale,
    foreground_until = excluded.foreground_until, last_seen_at = excluded.last_seen_at,
    push_token = case when d.epoch = excluded.epoch then d.push_token end,
    push_provider = case when d.epoch = excluded.epoch then d.push_provider end,
    generation = d.generation + 1, epoch = excluded.epoch
returning generation;

-- name: drop_device
-- scope: user
delete from device where app_id = $1 and user_id = $2 and device_id = $3;

-- name: set_foreground
-- scope: user
-- Only by the device's newest socket: one that ends late must not speak for the one that replaced it.
update device set foreground_until = $5
where app_id = $1 and user_id = $2 and device_id = $3 and generation = $4;

-- name: extend_foreground
-- scope: user
-- The foreground leases of all devices that a node holds, in one statement.
update device d set foreground_until = $4
from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as held (app_id, user_id, device_id)
where d.app_id = held.app_id and d.user_id = held.user_id and d.device_id = held.device_id;

-- name: put_acks
-- scope: user
-- What devices say they have stored, gathered over a moment.
update device d set acked_usn = greatest(d.acked_usn, given.usn)
from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[]) as given (app_id, user_id, device_id, usn)
where d.app_id = given.app_id and d.user_id = given.user_id and d.device_id = given.device_id;

-- name: lock_push_token
-- scope: reference
-- Those who register one token come one after the other. There is no row to lock: the token may be new.
select pg_advisory_xact_lock(hashtextextended(concat_ws(':', app_id, $2::text, $3::text), 0))
from (values ($1::uuid)) as given (app_id);

-- name: lock_token_devices
-- scope: app
-- Who has the token and who gets it, locked in one order, so that two devices that exchange theirs do not deadlock.
select device_id from device
where app_id = $1 and (push_provider = $2 and push_token = $3 or user_id = $4 and device_id = $5)
order by user_id, device_id for update;

-- name: strip_push_token
-- scope: app
-- A token has one owner: before a device registers it, whoever had it loses it. (A separate statement: in one
-- statement with the registration both rows would be seen as they were before.)
update device set push_provider = null, push_token = null, push_token_at = null
where app_id = $1 and push_provider = $2 and push_token = $3 and not (user_id = $4 and device_id = $5);

-- name: put_push_token
-- scope: user
update device set push_provider = $4, push_token = $5, push_token_at = $6
where app_id = $1 and user_id = $2 and device_id = $3;

-- name: log_out_device
-- scope: user
-- The push tokens go in the same transaction in which the device says goodbye.
update device set push_provider = null, push_token = null, push_token_at = null, foreground_until = null
where app_id = $1 and user_id = $2 and device_id = $3;

-- name: drop_push_states_of_device
-- scope: user
delete from push_state where app_id = $1 and user_id = $2 and device_id = $3;

-- name: revoke_tokens
-- scope: user
-- Every token issued before now is void, and every open socket (S5).
update end_user set auth_gen = auth_gen + 1, tokens_from = $3 where app_id = $1 and user_id = $2 returning auth_gen;

-- name: sweep_conversations
-- scope: user
-- The newest event of watched conversations.
select c.conversation_id, c.seq
from conversation c
join unnest($1::uuid[], $2::uuid[], $3::uuid[]) as held (app_id, user_id, conversation_id)
    on c.app_id = held.app_id and c.user_id = held.user_id and c.conversation_id = held.conversation_id;

-- name: sweep_users
-- scope: user
-- Where the logs of connected users stand: a lost wake-up, or a revocation, costs at most one sweep (S5).
select u.app_id, u.user_id, u.usn, u.auth_gen, u.incarnation
from end_user u join unnest($1::uuid[], $2::uuid[]) as held (app_id, user_id)
    on u.app_id = held.app_id and u.user_id = held.user_id;
